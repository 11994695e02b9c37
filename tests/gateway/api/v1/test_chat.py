"""Promises of POST /v1/chat/<unit>: the conversation that GitLab wrote, answered as it is."""

import json
import time
from contextlib import closing

import pytest

from features import catalog, snapshot
from gateway.api.v1.chat import UNITS
from gateway.audit.models import ContentKind, InferenceContent, InferenceRecord
from gateway.errors import StreamBroken
from tests.factories import make_model, make_rule
from tests.gateway.api.conftest import post, send, start
from tests.gateway.conftest import answer_on_record, closed_record
from tests.rig.backend import TEXT, TOKENS

AGENT = "/v1/chat/agent"
MESSAGES = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]


@pytest.fixture
def chat_is_on(embedded):
    """Every feature of chat for everyone, and no model assigned."""
    for feature in catalog.FEATURES.values():
        if "duo_chat" in (feature.slug, feature.parent):
            make_rule(feature=feature.slug)
    snapshot.refresh()


@pytest.fixture
def body(backend):
    """A function that returns a body as GitLab 17 sends it; None takes a field out of it."""

    def of(behavior="stub", /, *, stream=False, **changes):
        usual = {
            "content": MESSAGES,
            "provider": "litellm",
            "model": "mistral",
            "model_endpoint": backend.endpoint,
            "model_api_key": "sk-canary-key",
            "model_identifier": f"custom_openai/{behavior}",
        }
        payload = {key: value for key, value in {**usual, **changes}.items() if value is not None}
        metadata = {"source": "GitLab EE", "version": "17.9.0"}
        component = {"type": "prompt", "metadata": metadata, "payload": payload}
        return {"prompt_components": [component], "stream": stream}

    return of


@pytest.fixture
def chat(trusted, chat_is_on, body):
    """A function that sends a conversation as GitLab does and returns the answer."""

    def ask(*behavior, path=AGENT, headers=None, **changes):
        return post(path, body(*behavior, **changes), headers=headers or trusted.headers())

    return ask


class TestAnswer:
    def test_is_the_text_and_the_model_that_was_named(self, chat):
        reply = chat()

        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        at = reply.json["metadata"]["timestamp"]
        assert reply.json == {
            "response": TEXT,
            "metadata": {"provider": "litellm", "model": "mistral", "timestamp": at},
        }
        assert abs(time.time() - at) < 5

    @pytest.mark.parametrize("unit", UNITS)
    def test_is_given_for_every_unit_and_recorded_under_its_feature(self, chat, unit):
        reply = chat(path=f"/v1/chat/{unit}")

        row = InferenceRecord.objects.get()
        assert (reply.status, reply.json["response"]) == (200, TEXT)
        assert (row.state, row.feature) == ("answered", UNITS[unit].feature)
        assert row.prompt_version == "built-in/chat_v1/default@1.0.0"
        assert row.feature in catalog.FEATURES

    def test_holds_no_reasoning(self, chat):
        assert chat("think").json["response"] == TEXT

    def test_is_raw_text_where_a_stream_is_asked_for(self, chat):
        reply = chat("slow-5ms", stream=True)

        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reply.body.decode() == TEXT == answer_on_record()

    def test_that_breaks_off_is_cut(self, trusted, chat_is_on, body):
        value = body("cut-midstream", stream=True)
        started = start("POST", AGENT, value=value, headers=trusted.headers())
        got = []

        with closing(started.pieces), pytest.raises(StreamBroken):
            got.extend(started.pieces)

        assert b"".join(got).decode() == "".join(TOKENS[:8]) == answer_on_record()

    @pytest.mark.parametrize(
        ("behavior", "status", "code"),
        [("err-401", 503, "backend_auth"), ("err-429", 429, "backend_rate_limited")],
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_of_a_model_that_fails_is_an_ordinary_error(self, chat, behavior, status, code, stream):
        reply = chat(behavior, stream=stream)

        assert (reply.status, reply.json["code"]) == (status, code)
        assert closed_record().error_code == code


class TestConversation:
    def test_is_sent_as_it_is(self, chat, backend):
        said = [*MESSAGES, {"role": "assistant", "content": "Yes?"}, MESSAGES[1]]

        chat(content=said, model="general")

        assert backend.calls[0].body == {
            "model": "stub",
            "messages": said,
            "max_tokens": 4096,
            "temperature": 0.0,
        }

    def test_of_one_text_is_one_question(self, chat, backend):
        chat(content="Hi")

        assert backend.calls[0].body["messages"] == [MESSAGES[1]]

    def test_has_the_parameters_that_gitlab_wants(self, chat, backend):
        # What GitLab 17 sends; the stop word keeps a model from making up what a tool found.
        stop = ["\n\nHuman", "Observation:"]
        chat(params={"temperature": 0.7, "max_tokens_to_sample": 100, "stop_sequences": stop})

        sent = backend.calls[0].body
        assert (sent["temperature"], sent["max_tokens"], sent["stop"]) == (0.7, 100, stop)

    def test_has_the_references_parameters_where_gitlab_wants_none_in_particular(
        self, chat, backend
    ):
        chat(params={})

        sent = backend.calls[0].body
        assert (sent["temperature"], sent["max_tokens"]) == (0.2, 8192)
        assert "stop" not in sent

    def test_is_on_record_with_its_parameters(self, chat):
        chat(params={"max_tokens_to_sample": 100})

        content = InferenceContent.objects.get(kind=ContentKind.REQUEST)
        prompt = json.loads(content.body)["prompt"]
        assert (prompt["messages"], prompt["max_tokens"]) == (MESSAGES, 100)


class TestModel:
    def test_is_the_one_that_is_named(self, chat, backend):
        chat("mine")

        (call,) = backend.calls
        assert (call.model, call.headers["authorization"]) == ("mine", "Bearer sk-canary-key")

    @pytest.mark.parametrize(
        "named",
        [
            {"provider": "anthropic", "model": "claude-3-5-sonnet-20240620"},
            {"provider": None, "model": None},
            {"model_endpoint": None},
        ],
        ids=str,
    )
    def test_is_the_assigned_one_where_none_is_named(self, trusted, embedded, body, backend, named):
        house = make_model(endpoint=backend.endpoint, identifier="house", family="codestral")
        make_rule(feature="duo_chat", model=house)
        snapshot.refresh()

        reply = post(AGENT, body(**named), headers=trusted.headers())

        assert backend.calls[0].model == "house"
        metadata = reply.json["metadata"]
        assert metadata["provider"] == (named.get("provider") or "litellm")
        wanted = named.get("model", "mistral")
        assert metadata["model"] == (wanted or "codestral")


class TestAuthorization:
    def test_needs_credentials_before_anything_else(self, embedded):
        assert post("/v1/chat/nope", "x").status == 401

    @pytest.mark.parametrize("unit", UNITS)
    def test_needs_the_scope_of_the_unit(self, chat, trusted, unit):
        scope = UNITS[unit].scope
        without = trusted.headers(trusted.token(scopes=["complete_code"]))
        only = trusted.headers(trusted.token(scopes=[scope]))

        refused = chat(path=f"/v1/chat/{unit}", headers=without)

        assert (refused.status, refused.json) == (
            403,
            {"detail": f"Unauthorized to access {scope}"},
        )
        assert chat(path=f"/v1/chat/{unit}", headers=only).status == 200

    def test_follows_the_rules_of_the_units_feature(self, embedded, trusted, body):
        make_rule(feature="duo_chat_explain_code")
        snapshot.refresh()

        statuses = [
            post(f"/v1/chat/{unit}", body(), headers=trusted.headers()).status
            for unit in ("explain_code", "agent")
        ]

        assert statuses == [200, 403]


class TestBodies:
    @pytest.mark.parametrize("unit", ["nope", "agent%2Fx", "Agent", "fix_code"])
    def test_of_a_unit_that_there_is_not_are_not_read(self, trusted, unit):
        reply = send("POST", f"/v1/chat/{unit}", body=b"{", headers=trusted.headers())

        assert (reply.status, reply.json) == (404, {"detail": "Not Found"})

    @pytest.mark.parametrize(
        "changes",
        [
            {"content": []},
            {"content": MESSAGES * 51},
            {"content": "x" * 400_001},
            {"content": None},
            {"content": 7},
            {"content": {"role": "user", "content": "Hi"}},
            {"content": [{"role": "tool", "content": "Hi"}]},
            {"content": [{"role": "user", "content": None}]},
            {"content": [{"content": "Hi"}]},
            {"provider": "openai"},
            {"provider": 7},
            {"model": "nope"},
            {"model": 7},
            {"model_endpoint": "x"},
            {"model_endpoint": ""},
            {"model_endpoint": "http://h/" + "x" * 255},
            {"model_api_key": "x" * 2001},
            {"model_identifier": "x" * 1001},
            {"params": []},
            {"params": {"temperature": 1.1}},
            {"params": {"temperature": "hot"}},
            {"params": {"max_tokens_to_sample": 0}},
            {"params": {"max_tokens_to_sample": 8193}},
            {"params": {"stop_sequences": []}},
            {"params": {"stop_sequences": ["x"] * 11}},
            {"params": {"stop_sequences": ["x" * 226]}},
            {"params": {"stop_sequences": [""]}},
            {"params": {"stop_sequences": "x"}},
            {"stream": "maybe"},
        ],
        ids=lambda changes: str(changes)[:60],
    )
    def test_that_do_not_fit_are_refused(self, chat, backend, changes):
        reply = chat(**changes)

        assert (reply.status, reply.json) == (422, {"detail": "Validation error"})
        assert not backend.calls

    @pytest.mark.parametrize(
        "value",
        [
            {},
            [],
            "x",
            {"prompt_components": []},
            {"prompt_components": [{}]},
            {"prompt_components": [{"type": "prompt"}]},
            {"prompt_components": {}},
        ],
        ids=str,
    )
    def test_that_hold_no_conversation_are_refused(self, trusted, embedded, value):
        reply = post(AGENT, value, headers=trusted.headers())

        assert (reply.status, reply.json) == (422, {"detail": "Validation error"})

    def test_with_two_conversations_are_refused(self, trusted, embedded, body):
        value = body()
        value["prompt_components"] *= 2

        assert post(AGENT, value, headers=trusted.headers()).status == 422
