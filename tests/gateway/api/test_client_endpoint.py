"""Promises of gateway/api/client_endpoint.py: a key, its group's rules, and a vendor's shape."""

from __future__ import annotations

import pytest

from features import snapshot
from gateway.audit.models import InferenceRecord
from tests.factories import make_api_key, make_model, make_rule, open_vendor_route
from tests.gateway.api.conftest import USER_TOKEN, post, send
from tests.gateway.api.test_vendor_endpoint import TEXT_OF, error_of
from tests.gateway.conftest import record
from tests.rig.backend import TEXT

USER = {"role": "user", "content": "Hi."}
ASKED = {
    "anthropic/v1/messages": {"model": "claude", "max_tokens": 50, "messages": [USER]},
    "openai/v1/chat/completions": {"model": "gpt-5", "messages": [USER]},
    "openai/v1/completions": {"model": "gpt-5", "prompt": "Hi."},
    "openai/v1/responses": {"model": "gpt-5", "input": "Hi."},
}
TEXT_IN = {**TEXT_OF, "openai/v1/completions": lambda answer: answer["choices"][0]["text"]}
EVERYTHING = {
    **ASKED,
    "anthropic/v1/messages/count_tokens": ASKED["anthropic/v1/messages"],
    "openai/v1/embeddings": {"model": "gpt-5", "input": "Hi."},
}
LISTS = ("anthropic/v1/models", "openai/v1/models")
every_conversation = pytest.mark.parametrize("path", ASKED)
every_route = pytest.mark.parametrize("path", EVERYTHING)


def kinds(path, anthropic, openai):
    """Return what an error is called on a route."""
    return anthropic if path.startswith("anthropic") else openai


@every_conversation
class TestConversation:
    def test_is_answered_by_the_model_of_the_keys_group(self, client, backend, path):
        client.use("served")

        answer = client(path, ASKED[path])

        assert answer.status == 200
        assert TEXT_IN[path](answer.json) == TEXT
        assert [call.model for call in backend.calls] == ["served"]

    @pytest.mark.parametrize("is_streamed", [False, True])
    def test_says_which_model_answered(self, client, path, is_streamed):
        client.use()

        answer = client(path, {**ASKED[path], "stream": is_streamed})

        assert b'"model":"house"' in answer.body
        assert ASKED[path]["model"].encode() not in answer.body

    def test_is_answered_by_the_model_that_it_names(self, client, backend, path):
        client.use()
        client.use("coder", feature="code_completions", name="Codestral 22B")

        answer = client(path, {**ASKED[path], "model": "Codestral 22B"})

        assert answer.json["model"] == "Codestral 22B"
        assert [call.model for call in backend.calls] == ["coder"]

    def test_is_on_record_with_its_key_and_group(self, client, path):
        client.use()

        client(path, ASKED[path])

        row = record()
        assert (row.state, row.feature, row.endpoint) == ("answered", "own_clients", f"/{path}")
        assert (row.caller_kind, row.api_key_name) == ("api_key", client.key.name)
        assert (row.group_path, row.model_name) == (client.group.path, "house")
        asked = ASKED[path]["model"]
        assert row.policy == f"group '{client.group.path}': on; the client asks for model '{asked}'"

    def test_costs_no_query(self, client, path, django_assert_num_queries):
        client.use()
        client(path, ASKED[path])

        with django_assert_num_queries(0):
            client(path, {**ASKED[path], "model": "house"})

    def test_finds_no_model_of_an_unknown_name_if_names_must_be_listed(
        self, client, backend, path, settings
    ):
        settings.GATEWAY_CLIENT_MODEL_NAMES = "listed"
        client.use()

        answer = client(path, ASKED[path])

        assert answer.status == 404
        assert error_of(answer)[0] == kinds(path, "not_found_error", "invalid_request_error")
        assert answer.json["error"].get("code", "model_not_found") == "model_not_found"
        assert (record().state, record().error_code) == ("refused", "model_not_found")
        assert not backend.calls

    def test_never_leaves_for_the_vendor(self, client, path, backend, settings):
        settings.GATEWAY_VENDOR_ROUTE_URL = backend.url
        open_vendor_route()
        make_rule(client.group, feature="own_clients")
        snapshot.refresh()

        answer = client(path, ASKED[path])

        assert answer.status == 503
        assert error_of(answer)[0] == kinds(path, "api_error", "server_error")
        assert not backend.calls

    @pytest.mark.parametrize(
        ("behavior", "status", "anthropic", "openai"),
        [
            ("err-429", 429, "rate_limit_error", "rate_limit_error"),
            ("err-500", 503, "api_error", "server_error"),
            ("err-401", 503, "api_error", "server_error"),
            ("err-400", 400, "invalid_request_error", "invalid_request_error"),
        ],
    )
    def test_fails_in_the_vendors_shape(self, client, path, behavior, status, anthropic, openai):
        client.use(behavior)

        answer = client(path, ASKED[path])

        assert answer.status == status
        assert error_of(answer)[0] == kinds(path, anthropic, openai)
        assert ("retry-after" in answer.headers) is (status != 400)


@every_route
class TestRoute:
    def test_is_closed_where_the_feature_is_off(self, client, backend, path):
        client.use()
        client.use(feature="own_clients_embeddings", name="vectors", family="embedding")
        client.group.rules.filter(feature="own_clients").update(state="off")
        client.group.rules.filter(feature="own_clients_embeddings").delete()
        snapshot.refresh()

        answer = client(path, EVERYTHING[path])

        assert answer.status == 403
        assert error_of(answer) == ("permission_error", f"group '{client.group.path}': off")
        assert not backend.calls

    @pytest.mark.parametrize(
        ("headers", "words"),
        [
            ({}, "Send an API key of Enclave (it begins with enc_)."),
            ({"Authorization": "Bearer sk-1"}, "this is none"),
            ({"Authorization": "Basic enc_x"}, "Send an API key"),
            ({"X-Api-Key": "enc_x"}, "The API key is unknown, revoked or expired."),
        ],
    )
    def test_refuses_bad_keys_in_the_vendors_shape(self, client, path, headers, words):
        client.use()

        answer = client(path, EVERYTHING[path], headers={"Content-Type": "a", **headers})

        assert answer.status == 401
        kind, message = error_of(answer)
        assert (kind, words in message) == ("authentication_error", True)
        assert not InferenceRecord.objects.exists()

    def test_refuses_the_tokens_of_gitlab(self, client, path, trusted, signing_key):
        client.use()
        own = post(USER_TOKEN, {}, headers=trusted.headers()).json["token"]

        for headers in (
            trusted.headers(),
            {**trusted.headers(), "Authorization": f"Bearer {own}"},
        ):
            assert client(path, EVERYTHING[path], headers=headers).status == 401

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    def test_knows_only_post(self, client, path, method):
        answer = send(method, f"/{path}", headers=client.headers)

        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert error_of(answer)[1] == "Method Not Allowed"

    def test_refuses_a_body_that_does_not_fit(self, client, path):
        client.use()

        answer = client(path, {"model": ["x"]})

        assert answer.status == 400
        assert error_of(answer)[0] == "invalid_request_error"

    def test_may_be_called_by_a_page(self, client, path):
        asked = {
            "Origin": "https://ide.example.com",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-api-key",
        }

        answer = send("OPTIONS", f"/{path}", headers=asked)

        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert answer.headers["access-control-allow-headers"] == "x-api-key"


@pytest.mark.parametrize("path", LISTS)
class TestModels:
    def names(self, client, path):
        return [model["id"] for model in client.get(path).json["data"]]

    def test_are_those_that_the_group_may_use(self, client, path):
        client.use()
        client.use(feature="duo_chat", name="Llama 70B")
        make_model(name="unused")

        assert self.names(client, path) == ["house", "Llama 70B"]

    def test_can_be_asked_for_one_by_one(self, client, path):
        client.use(name="team/Llama 70B")

        listed = client.get(path).json["data"]

        for name in ("team/Llama%2070B", "team%2FLlama%2070B"):
            assert client.get(f"{path}/{name}").json == listed[0]

    def test_are_not_found_by_another_name(self, client, path):
        client.use()
        make_model(name="unused")

        for name in ("unused", "nothing"):
            answer = client.get(f"{path}/{name}")
            assert answer.status == 404
            assert "There is no model of this name" in error_of(answer)[1]

    def test_are_not_told_where_the_feature_is_off(self, client, path):
        client.use(feature="duo_chat")

        answer = client.get(path)

        assert answer.status == 403
        assert error_of(answer) == ("permission_error", "nothing configured: off")

    def test_are_not_told_to_strangers(self, client, path):
        client.use()

        assert send("GET", f"/{path}").status == 401

    def test_are_those_of_the_instance_for_a_key_without_a_group(self, client, path):
        client.use()
        make_rule(feature="own_clients", model=make_model(name="everybody's"))
        _, text = make_api_key()
        snapshot.refresh()
        client.headers["Authorization"] = f"Bearer {text}"

        assert self.names(client, path) == ["everybody's"]

    def test_cost_no_query(self, client, path, django_assert_num_queries):
        client.use()

        with django_assert_num_queries(0):
            client.get(path)


class TestUnknownPath:
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
    @pytest.mark.parametrize(
        "path", ["anthropic/v1/complete", "anthropic/", "openai/v1/files", "openai/v1/models/"]
    )
    def test_is_not_found_in_the_vendors_shape(self, client, method, path):
        client.use()

        answer = send(method, f"/{path}", headers=client.headers)

        assert answer.status == 404
        kind = kinds(path, "not_found_error", "invalid_request_error")
        assert error_of(answer) == (kind, "Not Found")

    def test_is_a_secret_without_a_key(self, client):
        assert send("GET", "/openai/v1/files").status == 401
