"""Promises of gateway/api/proxy.py: a header names what a conversation is for."""

from __future__ import annotations

import pytest

from features import snapshot
from features.catalog import PROXY_FEATURES
from gateway.audit.models import InferenceRecord
from tests.factories import make_api_key, make_group
from tests.gateway.api.conftest import USER_TOKEN, post, send

MESSAGES = "anthropic/v1/messages"
ASKED = {"model": "claude", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi."}]}


class TestHeader:
    @pytest.mark.parametrize(
        ("unit", "detail"),
        [
            (None, "Missing x-gitlab-unit-primitive header"),
            ("", "Missing x-gitlab-unit-primitive header"),
            ("zzz", "Unknown unit primitive header zzz"),
            ("z" * 200, f"Unknown unit primitive header {'z' * 100}"),
            ("complete_code", "This endpoint cannot be used for complete_code purpose"),
        ],
    )
    @pytest.mark.parametrize("path", [MESSAGES, "openai/v1/responses", "openai/v1/nope"])
    def test_is_refused_in_gitlabs_words(self, proxied, backend, path, unit, detail):
        answer = proxied(path, ASKED, unit=unit)

        assert (answer.status, answer.json) == (400, {"detail": detail})
        assert not backend.calls

    def test_must_be_in_the_tokens_scopes(self, proxied, trusted):
        headers = {
            **trusted.headers(trusted.named_token("only_duo_chat")),
            "X-Gitlab-Unit-Primitive": "ai_gateway_model_provider_proxy",
        }

        answer = post(f"/v1/proxy/{MESSAGES}", ASKED, headers=headers)

        detail = "Unauthorized to access ai_gateway_model_provider_proxy"
        assert (answer.status, answer.json) == (403, {"detail": detail})

    def test_comes_after_the_credentials(self, proxied):
        answer = send("POST", f"/v1/proxy/{MESSAGES}")

        assert (answer.status, list(answer.json)) == (401, ["error"])

    @pytest.mark.parametrize("unit", sorted(set(PROXY_FEATURES) - {"description_composer"}))
    def test_decides_whose_rules_hold(self, proxied, unit):
        proxied.use(feature=PROXY_FEATURES[unit])

        assert proxied(MESSAGES, ASKED, unit=unit).status == 200
        assert InferenceRecord.objects.get().feature == PROXY_FEATURES[unit]

    def test_names_the_description_composer(self, proxied, trusted):
        proxied.use(feature="description_composer")
        token = trusted.token(scopes=["description_composer"])
        headers = {**trusted.headers(token), "X-Gitlab-Unit-Primitive": "description_composer"}

        answer = post(f"/v1/proxy/{MESSAGES}", ASKED, headers=headers)

        assert answer.json["content"][0]["text"]


class TestCaller:
    def test_may_be_an_agent_with_a_token_of_ours(self, proxied, trusted, signing_key):
        proxied.use()
        token = post(USER_TOKEN, {}, headers=trusted.headers()).json["token"]
        headers = {**proxied.headers(), "Authorization": f"Bearer {token}"}

        answer = post(f"/v1/proxy/{MESSAGES}", ASKED, headers=headers)

        assert answer.status == 200
        assert InferenceRecord.objects.get().caller_kind == "user"

    def test_may_be_an_api_key(self, proxied):
        proxied.use()
        _, text = make_api_key(make_group())
        snapshot.refresh()
        headers = {
            "Authorization": f"Bearer {text}",
            "Content-Type": "application/json",
            "X-Gitlab-Unit-Primitive": "ai_gateway_model_provider_proxy",
        }

        assert post(f"/v1/proxy/{MESSAGES}", ASKED, headers=headers).status == 200


class TestUnknownProxy:
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
    @pytest.mark.parametrize(
        "path",
        ["anthropic/v1/complete", "anthropic/", "openai/v1/chat/completions/", "openai/v1/files"],
    )
    def test_is_not_found_in_the_vendors_shape(self, proxied, method, path):
        answer = send(method, f"/v1/proxy/{path}", headers=proxied.headers())

        assert answer.status == 404
        kinds = {"anthropic": "not_found_error", "openai": "invalid_request_error"}
        assert answer.json["error"]["type"] == kinds[path.partition("/")[0]]
        assert answer.json["error"]["message"] == "Not Found"

    def test_of_another_vendor_is_a_path_like_any_other(self, proxied):
        answer = proxied("somebody/v1/messages", ASKED)

        assert (answer.status, answer.json) == (404, {"detail": "Not Found"})

    def test_has_a_query_that_nobody_reads(self, proxied):
        proxied.use()

        assert proxied(f"{MESSAGES}?beta=true", ASKED).status == 200
