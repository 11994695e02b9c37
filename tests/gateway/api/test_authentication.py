"""Promises of gateway/api/authentication.py: who calls, and what of that is believed."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.utils import timezone

from features import snapshot
from gateway.api import tokens
from gateway.api.authentication import authenticate, authenticate_client
from gateway.api.errors import Unauthenticated
from gateway.audit.models import CallerKind
from tests.factories import make_api_key, make_group
from tests.gateway.api.conftest import COMPLETIONS, CONNECTION_TEST, USER_TOKEN, environ_of, post
from tests.rig.gitlab import INSTANCE_ID, SERVICE, USER_ID

REALM = "X-Gitlab-Realm"
INSTANCE = "X-Gitlab-Instance-Id"
USER = "X-Gitlab-Global-User-Id"
BAD = "Forbidden by auth provider"


def caller_of(headers):
    return authenticate(environ_of("POST", "/", headers=headers))


def refusal_of(headers):
    with pytest.raises(Unauthenticated) as refused:
        caller_of(headers)
    return refused.value


def without(headers, *names):
    return {name: value for name, value in headers.items() if name not in names}


@pytest.fixture
def user_headers(trusted, signing_key):
    """The headers of an editor that calls directly, as GitLab told it to send them."""
    instance = caller_of(trusted.headers())
    token, _ = tokens.issue_user_token(instance)
    return trusted.headers(token)


@pytest.fixture
def api_key(db):
    """A function that returns the text of a new API key and its row."""

    def make(**facts):
        row, text = make_api_key(**facts)
        snapshot.refresh()
        return row, text

    return make


class TestUserOfAnEditor:
    def test_is_known_by_both_ids_although_its_token_is_all_that_it_has(self, trusted, signing_key):
        instance = caller_of(trusted.headers(x_gitlab_user_id="42"))
        token, _ = tokens.issue_user_token(instance)

        caller = caller_of(trusted.headers(token, x_gitlab_user_id="1"))

        assert (caller.user_id, caller.global_user_id) == ("42", USER_ID)

    def test_has_no_numeric_id_where_gitlab_gave_none(self, user_headers):
        assert caller_of({**user_headers, "X-Gitlab-User-Id": "1"}).user_id == ""


class TestRefusals:
    """The texts are GitLab's: operators and runbooks look for them (gateway-api.md 2.4)."""

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"authorization": None}, "No authorization header presented"),
            ({"authorization": ""}, "No authorization header presented"),
            ({"authorization": "abc"}, "Invalid authorization header"),
            ({"authorization": "Basic eDp5"}, "Invalid authorization header"),
            ({"authorization": "Bearerx y"}, "Invalid authorization header"),
            (
                {"x_gitlab_authentication_type": None},
                "Invalid authentication token type - only OIDC is supported",
            ),
            (
                {"x_gitlab_authentication_type": "OIDC"},
                "Invalid authentication token type - only OIDC is supported",
            ),
            ({"authorization": "Bearer "}, BAD),
            ({"authorization": "Bearer not.a.jwt"}, BAD),
            ({"x_gitlab_realm": "saas"}, f"Header mismatch '{REALM}'"),
            ({"x_gitlab_realm": None}, f"Header mismatch '{REALM}'"),
            ({"x_gitlab_instance_id": "other"}, f"Header mismatch '{INSTANCE}'"),
            ({"x_gitlab_instance_id": None}, f"Header mismatch '{INSTANCE}'"),
        ],
    )
    def test_say_what_the_reference_says(self, trusted, changes, message):
        refusal = refusal_of(trusted.headers(**changes))

        assert str(refusal) == message

    @pytest.mark.parametrize(
        "name",
        ["expired", "wrong_aud", "wrong_key", "future_nbf", "tampered", "alg_none", "no_aud"],
    )
    def test_tell_the_caller_nothing_about_a_bad_token(self, trusted, name):
        refusal = refusal_of(trusted.headers(trusted.named_token(name)))

        assert str(refusal) == BAD
        assert refusal.reason != BAD

    def test_come_in_the_reference_s_order(self, trusted):
        every = {"x_gitlab_realm": "a", "x_gitlab_instance_id": "b", "x_gitlab_global_user_id": "c"}
        token = trusted.token(gitlab_instance_id="another", iss=SERVICE, sub=USER_ID)
        right_instance = {**every, "x_gitlab_realm": "self-managed"}
        right_both = {**right_instance, "x_gitlab_instance_id": "another"}

        said = [str(refusal_of(trusted.headers(token, **c))) for c in (every, right_instance)]
        last = str(refusal_of(trusted.headers(token, **right_both)))

        assert [*said, last] == [f"Header mismatch '{name}'" for name in (REALM, INSTANCE, USER)]

    def test_name_the_cause_and_the_fix_for_an_empty_token(self, trusted):
        refusal = refusal_of(trusted.headers(authorization="Bearer "))

        assert "GitLab had no token to send" in refusal.reason
        assert "Assign a self-hosted model to Code Completion" in refusal.reason

    def test_treat_two_authorization_headers_as_one_bad_token(self, trusted):
        twice = ",".join([trusted.headers()["Authorization"]] * 2)

        assert str(refusal_of(trusted.headers(authorization=twice))) == BAD

    def test_are_answered_with_401_and_logged_with_their_reason(self, trusted, caplog):
        answer = post(COMPLETIONS, {}, headers=trusted.headers(authorization="Bearer "))

        assert (answer.status, answer.json) == (401, {"error": BAD})
        (line,) = [record for record in caplog.records if record.message == "auth.refused"]
        assert "Assign a self-hosted model" in line.reason

    @pytest.mark.parametrize(
        "hostile",
        ["' OR 1=1 --", "\x80\xff", "%s%n{0}{{7*7}}", "a" * 8_000, "${jndi:ldap://x}", "\t"],
        ids=["sql", "latin-1", "formats", "long", "jndi", "tab"],
    )
    @pytest.mark.parametrize(
        "header",
        ["Authorization", REALM, INSTANCE, USER, "X-Gitlab-User-Id", "X-Gitlab-Namespace-Id"],
    )
    def test_whatever_a_header_holds_is_no_error_of_ours(self, trusted, header, hostile):
        headers = {**trusted.headers(), header: hostile}

        answer = post(CONNECTION_TEST, [], headers=headers)

        assert answer.status in (401, 422)


class TestInstance:
    def test_is_who_gitlab_s_token_names(self, trusted):
        caller = caller_of(
            trusted.headers(
                trusted.token(scopes=["complete_code", "duo_chat"]),
                x_gitlab_user_id="42",
                x_gitlab_namespace_id="7",
                x_gitlab_root_namespace_id="3",
            )
        )

        assert caller.kind == CallerKind.INSTANCE
        assert caller.scopes == {"complete_code", "duo_chat"}
        assert caller.instance_id == INSTANCE_ID
        assert caller.realm == "self-managed"
        assert (caller.user_id, caller.global_user_id) == ("42", USER_ID)
        assert caller.namespace_ids == (7, 3)

    @pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
    def test_may_write_bearer_as_it_likes(self, trusted, scheme):
        caller = caller_of(trusted.headers(authorization=f"{scheme} {trusted.token()}"))

        assert caller.kind == CallerKind.INSTANCE

    @pytest.mark.parametrize("claim", ["gitlab_realm", "sub"])
    @pytest.mark.parametrize("value", [None, ""])
    def test_is_not_compared_with_a_claim_that_is_empty(self, trusted, claim, value):
        token = trusted.token(**{claim: value})
        headers = trusted.headers(token, x_gitlab_realm=None, x_gitlab_instance_id=None)
        kept = {"gitlab_realm": INSTANCE, "sub": REALM}[claim]
        headers[kept] = trusted.headers()[kept]

        assert caller_of(headers).kind == CallerKind.INSTANCE

    def test_may_leave_out_the_user(self, trusted):
        assert caller_of(trusted.headers(x_gitlab_global_user_id=None)).global_user_id == ""

    @pytest.mark.parametrize("value", ["", "abc", "-1", "1.5", "9" * 30, "٤٢", "1,2", " 7"])
    def test_names_no_namespace_with_what_is_no_number(self, trusted, value):
        assert caller_of(trusted.headers(x_gitlab_namespace_id=value)).namespace_ids == ()

    @pytest.mark.parametrize("scopes", ["complete_code", 7, {"complete_code": 1}, [7, None]])
    def test_has_no_scopes_where_the_token_lists_none(self, trusted, scopes):
        assert caller_of(trusted.headers(trusted.token(scopes=scopes))).scopes == frozenset()

    @pytest.mark.parametrize("claim", [7, ["self-managed"], {"a": 1}, True])
    def test_does_not_match_a_claim_of_another_type(self, trusted, claim):
        refusal = refusal_of(trusted.headers(trusted.token(gitlab_realm=claim)))

        assert str(refusal) == f"Header mismatch '{REALM}'"


class TestPipelineToken:
    """A CI job's token is signed by the same GitLab, with an audience that its author chooses."""

    FILE = {"file_name": "a.py", "content_above_cursor": "", "content_below_cursor": ""}

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            (COMPLETIONS, {"prompt_version": 1, "current_file": FILE}),
            (CONNECTION_TEST, {"inputs": {}}),
            (USER_TOKEN, {}),
        ],
    )
    def test_allows_nothing(self, trusted, path, body):
        subject = "project_path:group/app:ref_type:branch:ref:main"
        token = trusted.token(
            sub=subject, aud=SERVICE, gitlab_realm=None, scopes=None, gitlab_instance_uid=None
        )

        answer = post(path, body, headers=trusted.headers(token, x_gitlab_instance_id=subject))

        assert answer.status == 403


class TestUser:
    """An editor that calls with the token that we issued."""

    def test_is_the_user_whom_the_token_names(self, user_headers):
        caller = caller_of(user_headers)

        assert caller.kind == CallerKind.USER
        assert caller.global_user_id == USER_ID
        assert caller.instance_id == INSTANCE_ID
        assert caller.scopes == {"complete_code", "ai_gateway_model_provider_proxy"}

    @pytest.mark.parametrize("other", ["somebody else", "", None])
    def test_cannot_be_another_user(self, user_headers, other):
        headers = {**without(user_headers, USER), **({USER: other} if other is not None else {})}

        assert str(refusal_of(headers)) == f"Header mismatch '{USER}'"

    def test_is_not_believed_what_it_says_of_itself(self, user_headers):
        caller = caller_of(
            {
                **user_headers,
                "X-Gitlab-User-Id": "1",
                "X-Gitlab-Namespace-Id": "7",
                "X-Gitlab-Root-Namespace-Id": "3",
                INSTANCE: "another instance",
            }
        )

        assert (caller.user_id, caller.namespace_ids) == ("", ())
        assert caller.instance_id == INSTANCE_ID

    def test_is_nobody_where_the_token_names_nobody(self, trusted, signing_key):
        instance = caller_of(trusted.headers(x_gitlab_global_user_id=None))
        token, _ = tokens.issue_user_token(instance)

        caller = caller_of(trusted.headers(token, x_gitlab_global_user_id="somebody"))

        assert caller.global_user_id == ""

    def test_is_compared_with_the_realm(self, user_headers):
        assert str(refusal_of({**user_headers, REALM: "saas"})) == f"Header mismatch '{REALM}'"


class TestApiKey:
    def test_stands_for_its_group_and_needs_no_other_header(self, api_key):
        group = make_group()
        row, text = api_key(group=group)

        caller = caller_of({"Authorization": f"Bearer {text}"})

        assert caller.kind == CallerKind.API_KEY
        assert (caller.api_key_id, caller.api_key_name) == (row.pk, row.name)
        assert caller.api_key_group_id == group.pk

    def test_is_not_believed_what_it_says_of_itself(self, api_key, gitlab):
        _, text = api_key()

        caller = caller_of(gitlab.headers(text, x_gitlab_user_id="1", x_gitlab_namespace_id="7"))

        assert (caller.user_id, caller.global_user_id, caller.instance_id) == ("", "", "")
        assert caller.namespace_ids == ()

    def test_may_use_what_its_group_may(self, api_key):
        _, text = api_key()

        assert caller_of({"Authorization": f"Bearer {text}"}).can(("complete_code",))

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text[:-1] + ("a" if text[-1] != "a" else "b"),
            lambda text: text + "a",
            lambda text: text[:-1],
            lambda text: text[:16],
            lambda text: f"enc_{'0' * 12}{text[16:]}",
            lambda text: "enc_",
            lambda text: f"enc_{'é' * 20}",
        ],
        ids=["last letter", "longer", "shorter", "no secret", "other id", "empty", "latin-1"],
    )
    def test_is_right_to_the_letter(self, api_key, change):
        _, text = api_key()

        refusal = refusal_of({"Authorization": f"Bearer {change(text)}"})

        assert (str(refusal), refusal.reason) == (BAD, "unknown API key")

    @pytest.mark.parametrize(
        "facts",
        [{"is_active": False}, {"expires_at": timezone.now() - timedelta(seconds=1)}],
        ids=["revoked", "expired"],
    )
    def test_ends_when_it_is_revoked_or_expires(self, api_key, facts):
        _, text = api_key(**facts)

        refusal = refusal_of({"Authorization": f"Bearer {text}"})

        assert (str(refusal), refusal.reason) == (BAD, "the API key is revoked or expired")

    def test_lives_until_it_expires(self, api_key):
        _, text = api_key(expires_at=timezone.now() + timedelta(hours=1))

        assert caller_of({"Authorization": f"Bearer {text}"}).kind == CallerKind.API_KEY

    def test_in_the_address_is_no_key(self, api_key):
        _, text = api_key()

        answer = post(f"{COMPLETIONS}?api_key={text}&authorization=Bearer%20{text}", {})

        assert answer.status == 401

    def test_stands_in_no_log_line(self, api_key, caplog):
        _, text = api_key()
        _, revoked = api_key(is_active=False)
        caplog.set_level(logging.DEBUG)

        post(COMPLETIONS, {}, headers={"Authorization": f"Bearer {text}"})
        post(COMPLETIONS, {}, headers={"Authorization": f"Bearer {revoked}"})
        post(COMPLETIONS, {}, headers={"Authorization": f"Bearer {text}x"})

        seen = "".join(str(vars(record)) for record in caplog.records)
        assert text[16:] not in seen
        assert revoked[16:] not in seen


class TestClient:
    """A program that speaks a vendor's API."""

    def client_of(self, headers):
        return authenticate_client(environ_of("POST", "/", headers=headers))

    @pytest.mark.parametrize(
        "headers",
        [
            {"Authorization": "Bearer {key}"},
            {"Authorization": "bearer  {key}"},
            {"X-Api-Key": "{key}"},
            {"X-Api-Key": "{key}", "Authorization": "Bearer sk-ant-1"},
            {"X-Api-Key": "sk-ant-1", "Authorization": "Bearer {key}"},
        ],
    )
    def test_may_send_its_key_in_either_header(self, api_key, headers):
        key, text = api_key()

        caller = self.client_of({name: value.format(key=text) for name, value in headers.items()})

        assert (caller.kind, caller.api_key_id) == (CallerKind.API_KEY, key.pk)

    @pytest.mark.parametrize(
        ("headers", "words"),
        [
            ({}, "Send an API key of Enclave (it begins with enc_)."),
            ({"Authorization": "", "X-Api-Key": " "}, "Send an API key of Enclave"),
            ({"X-Api-Key": "sk-ant-1"}, "this is none"),
            ({"Authorization": "Basic enc_1"}, "Send an API key of Enclave"),
            ({"X-Api-Key": "enc_1"}, "The API key is unknown, revoked or expired."),
        ],
    )
    def test_is_told_what_to_send(self, db, headers, words):
        with pytest.raises(Unauthenticated) as refused:
            self.client_of(headers)

        assert words in str(refused.value)

    def test_is_not_told_why_a_key_is_refused(self, api_key):
        _, text = api_key(is_active=False)

        with pytest.raises(Unauthenticated, match="unknown, revoked or expired") as refused:
            self.client_of({"X-Api-Key": text})
        assert refused.value.reason == "the API key is revoked or expired"

    def test_is_not_gitlab(self, trusted, user_headers):
        for headers in (trusted.headers(), user_headers):
            with pytest.raises(Unauthenticated):
                self.client_of(headers)


class TestScopes:
    @pytest.mark.parametrize(
        ("name", "path", "status"),
        [
            ("only_complete_code", CONNECTION_TEST, 422),
            ("only_duo_chat", CONNECTION_TEST, 403),
            ("no_scopes", CONNECTION_TEST, 403),
            ("scopes_string", CONNECTION_TEST, 403),
            ("code_suggestions_legacy", CONNECTION_TEST, 403),
        ],
    )
    def test_decide_after_the_body_was_read(self, trusted, name, path, status):
        body = {"inputs": {}} if status == 403 else {}

        answer = post(path, body, headers=trusted.headers(trusted.named_token(name)))

        assert answer.status == status
