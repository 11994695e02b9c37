"""Promises of POST /v1/code/user_access_token."""

from __future__ import annotations

import base64
import json
import time

import pytest

from features import snapshot
from tests.factories import make_api_key
from tests.gateway.api.conftest import COMPLETIONS, USER_TOKEN, send
from tests.rig.gitlab import INSTANCE_ID, SERVICE, USER_ID


@pytest.fixture
def ask(trusted, signing_key):
    """A function that asks for a token as GitLab does."""

    def send_request(*, headers=None, body=b""):
        return send("POST", USER_TOKEN, body=body, headers=headers or trusted.headers())

    return send_request


def claims_of(answer):
    payload = answer.json["token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


class TestAnswer:
    def test_is_the_token_and_when_it_ends(self, ask):
        answer = ask()

        assert answer.status == 200
        assert list(answer.json) == ["token", "expires_at"]
        assert abs(answer.json["expires_at"] - time.time() - 3600) < 5

    def test_stands_for_the_user_whom_gitlab_names(self, ask, trusted):
        token = trusted.token(duo_seat_count=50, scopes=["complete_code", "duo_chat"])

        claims = claims_of(ask(headers=trusted.headers(token)))

        assert (claims["iss"], claims["aud"], claims["sub"]) == (SERVICE, SERVICE, USER_ID)
        assert claims["gitlab_realm"] == "self-managed"
        assert claims["gitlab_instance_uid"] == INSTANCE_ID
        assert claims["duo_seat_count"] == 50
        assert claims["scopes"] == ["complete_code"]

    def test_names_nobody_where_gitlab_names_nobody(self, ask, trusted):
        claims = claims_of(ask(headers=trusted.headers(x_gitlab_global_user_id=None)))

        assert claims["sub"] is None

    @pytest.mark.parametrize("body", [b"", b"{}", b"no json", b"\xff"])
    def test_needs_no_body(self, ask, body):
        assert ask(body=body).status == 200

    def test_is_a_token_of_its_own_each_time(self, ask):
        assert ask().json["token"] != ask().json["token"]

    @pytest.mark.parametrize("scope", ["complete_code", "ai_gateway_model_provider_proxy"])
    def test_needs_one_scope_of_two(self, ask, trusted, scope):
        assert ask(headers=trusted.headers(trusted.token(scopes=[scope]))).status == 200


class TestRefusals:
    REFUSAL = (403, {"detail": "Unauthorized to create user access token"})

    @pytest.mark.parametrize("name", ["no_scopes", "only_duo_chat", "scopes_string"])
    def test_without_the_scope_there_is_no_token(self, ask, trusted, name):
        answer = ask(headers=trusted.headers(trusted.named_token(name)))

        assert (answer.status, answer.json) == self.REFUSAL

    def test_an_editor_cannot_prolong_its_own(self, ask, trusted):
        token = ask().json["token"]

        answer = ask(headers=trusted.headers(token))

        assert (answer.status, answer.json) == self.REFUSAL

    def test_a_token_in_our_name_that_gitlab_signed_counts_as_an_editor_s(self, ask, trusted):
        answer = ask(headers=trusted.headers(trusted.named_token("self_iss")))

        assert (answer.status, answer.json) == self.REFUSAL

    def test_an_api_key_gets_none(self, ask, db):
        _, text = make_api_key()
        snapshot.refresh()

        answer = ask(headers={"Authorization": f"Bearer {text}"})

        assert (answer.status, answer.json) == self.REFUSAL

    def test_a_get_is_405(self, trusted):
        assert send("GET", USER_TOKEN, headers=trusted.headers()).status == 405


class TestSigningKey:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (None, "GATEWAY_SIGNING_KEY_FILE is not set"),
            (b"", "GATEWAY_SIGNING_KEY_FILE holds no readable private key"),
        ],
    )
    def test_that_is_missing_is_said_to_the_operator(
        self, trusted, settings, tmp_path, caplog, content, reason
    ):
        path = tmp_path / "key.pem"
        path.write_bytes(content or b"")
        settings.GATEWAY_SIGNING_KEY_FILE = "" if content is None else str(path)

        answer = send("POST", USER_TOKEN, headers=trusted.headers())

        assert (answer.status, answer.json) == (503, {"detail": "Failed to generate JWT"})
        (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert line.reason == reason

    def test_that_is_missing_lets_everything_else_work(self, trusted, settings):
        settings.GATEWAY_SIGNING_KEY_FILE = ""

        assert send("POST", COMPLETIONS, body=b"{}", headers=trusted.headers()).status == 422
