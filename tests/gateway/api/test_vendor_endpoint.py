"""Promises of gateway/api/vendor_endpoint.py: a vendor's API, errors included, on the same line."""

from __future__ import annotations

import json

import pytest

from features import snapshot
from gateway.api import vendor_endpoint
from gateway.audit import store
from gateway.audit.models import InferenceRecord
from gateway.errors import StreamBroken
from tests.factories import make_rule
from tests.gateway.api.conftest import send
from tests.gateway.audit.test_writer import BrokenStore
from tests.rig.backend import TEXT

USER = {"role": "user", "content": "Hi."}
ASKED = {
    "anthropic/v1/messages": {"model": "claude", "max_tokens": 50, "messages": [USER]},
    "openai/v1/chat/completions": {"model": "gpt-5", "messages": [USER]},
    "openai/v1/responses": {"model": "gpt-5", "input": "Hi."},
}
TEXT_OF = {
    "anthropic/v1/messages": lambda answer: answer["content"][0]["text"],
    "openai/v1/chat/completions": lambda answer: answer["choices"][0]["message"]["content"],
    "openai/v1/responses": lambda answer: answer["output"][0]["content"][0]["text"],
}
every_vendor = pytest.mark.parametrize("path", ASKED)
# Depth and size that a reader must survive.
DEEP = "[" * 100_000
WRONG_BYTES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"5",
    b'"text"',
    b"\xff\xfe",
    b'{"model": "x", "messages": [{"role": "user", "content": "\\ud83d"}]}',
    DEEP.encode(),
    b'{"model": "x", "messages": ' + DEEP.encode(),
    b'{"model": "x", "input": NaN, "messages": Infinity}',
    b'{"model": "x", "messages": [], "input": []}',
    b'{"model": ["x"], "messages": {"a": 1}, "input": {"a": 1}}',
]
WRONG_FIELDS = [
    {"model": None},
    {"stream": "maybe"},
    {"temperature": "warm"},
    {"top_p": 5},
    {"tools": "all"},
    {"tool_choice": 5},
    {"messages": [[[[]]]], "input": [[[[]]]]},
    {"messages": [{"role": "x" * 10_000}], "input": [{"type": "x" * 10_000}]},
]


def error_of(answer):
    """Return type and words of an error, which must be in the vendor's shape."""
    body = answer.json
    if body.get("type") == "error":
        assert set(body) == {"type", "error"}
        assert set(body["error"]) == {"type", "message"}
    else:
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
    return body["error"]["type"], body["error"]["message"]


@every_vendor
class TestPost:
    def test_asks_the_model_that_policy_names(self, proxied, backend, path):
        proxied.use("house")

        answer = proxied(path, ASKED[path])

        assert answer.status == 200
        assert answer.json["model"] == ASKED[path]["model"]
        assert [call.model for call in backend.calls] == ["house"]
        assert TEXT_OF[path](answer.json) == TEXT

    def test_is_on_record(self, proxied, path):
        proxied.use()

        proxied(path, ASKED[path])

        row = InferenceRecord.objects.get()
        assert (row.state, row.feature) == ("answered", "model_provider_proxy")
        assert (row.endpoint, row.prompt_version) == (f"/v1/proxy/{path}", "caller's own")

    def test_streams_events(self, proxied, path):
        proxied.use()

        answer = proxied(path, {**ASKED[path], "stream": True})

        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.body.endswith(b"\n\n")
        assert InferenceRecord.objects.get().state == "answered"

    def test_pings_while_a_model_is_silent(self, proxied, path, monkeypatch):
        monkeypatch.setattr(vendor_endpoint, "HEARTBEAT_S", 0.1)
        proxied.use("stall-2")

        answer = proxied(path, {**ASKED[path], "stream": True})

        assert answer.body.count(b"ping") >= 2

    def test_costs_no_query(self, proxied, path, django_assert_num_queries):
        proxied.use()
        proxied(path, ASKED[path])

        with django_assert_num_queries(0):
            proxied(path, ASKED[path])

    def test_waits_longer_than_gitlab(self, proxied, path, settings):
        settings.GATEWAY_CONVERSATION_DEADLINE_S = 600.0
        proxied.use()

        proxied(path, ASKED[path])

        row = InferenceRecord.objects.get()
        assert (row.deadline_at - row.opened_at).total_seconds() == 600


@every_vendor
class TestBadBody:
    @pytest.mark.parametrize("body", WRONG_BYTES, ids=lambda body: body[:30].decode("latin-1"))
    def test_is_400(self, proxied, backend, path, body):
        answer = send("POST", f"/v1/proxy/{path}", body=body, headers=proxied.headers())

        assert answer.status == 400
        kind, words = error_of(answer)
        assert kind == "invalid_request_error"
        assert 0 < len(words) <= vendor_endpoint.WORDS_MAX
        assert not backend.calls

    @pytest.mark.parametrize("changes", WRONG_FIELDS, ids=lambda changes: str(changes)[:30])
    def test_says_where_and_repeats_nothing_at_length(self, proxied, path, changes):
        answer = proxied(path, {**ASKED[path], **changes})

        assert answer.status == 400
        assert error_of(answer)[1].startswith(tuple(changes))
        assert len(answer.body) < 1_000

    def test_is_one_of_another_content_type(self, proxied, path):
        headers = {**proxied.headers(), "Content-Type": "text/plain"}

        answer = send("POST", f"/v1/proxy/{path}", value=ASKED[path], headers=headers)

        assert answer.status == 400
        assert error_of(answer)[1] == "Content-Type must be application/json"


@every_vendor
class TestFailure:
    @pytest.mark.parametrize(
        ("behavior", "status", "words"),
        [
            ("err-400", 400, "The model server refused the request (HTTP 400)."),
            ("toolong", 400, "The prompt is too long for the model."),
            ("err-401", 503, "The model server refused our API key (HTTP 401)."),
            ("err-429", 429, "The model server is over its rate limit."),
            ("err-500", 503, "The model server failed (HTTP 500)."),
            ("garbage", 503, "The "),
        ],
    )
    @pytest.mark.parametrize("is_streamed", [True, False])
    def test_of_a_model_is_said_in_the_vendors_shape(
        self, proxied, path, behavior, status, words, is_streamed
    ):
        proxied.use(behavior)

        answer = proxied(path, {**ASKED[path], "stream": is_streamed})

        assert answer.status == status
        kind, said = error_of(answer)
        assert kind in ("invalid_request_error", "api_error", "server_error", "rate_limit_error")
        assert said.startswith(words)
        assert ("retry-after" in answer.headers) == (status != 400)

    def test_of_a_rate_limit_says_when_to_ask_again(self, proxied, path):
        proxied.use("err-429")

        assert proxied(path, ASKED[path]).headers["retry-after"] == "7"

    def test_of_policy_names_the_rule(self, proxied, path, backend):
        make_rule(feature="model_provider_proxy", state="off")
        snapshot.refresh()

        answer = proxied(path, ASKED[path])

        assert answer.status == 403
        assert error_of(answer) == ("permission_error", "instance: off")
        assert InferenceRecord.objects.get().state == "refused"

    def test_of_the_window_is_one_of_the_body(self, proxied, path, backend):
        proxied.use(context_window=100)
        long = {"messages": [{"role": "user", "content": "x" * 5_000}], "input": "x" * 5_000}

        answer = proxied(path, {**ASKED[path], **long})

        assert answer.status == 400
        assert error_of(answer)[1] == "The conversation is too long for the model."
        assert not backend.calls

    def test_of_the_log_keeps_the_model_from_being_asked(self, proxied, path, backend, monkeypatch):
        proxied.use()
        monkeypatch.setattr(store, "for_connection", BrokenStore)

        answer = proxied(path, ASKED[path])

        assert answer.status == 503
        error_of(answer)
        assert not backend.calls

    def test_in_the_middle_of_a_stream_is_an_event_and_an_abort(self, proxied, path):
        proxied.use("err-midstream")
        begun = proxied.start(path, {**ASKED[path], "stream": True})
        told = []

        with pytest.raises(StreamBroken):
            list(map(told.append, begun.pieces))

        begun.pieces.close()
        last = b"".join(told).split(b"\n\n")[-2]
        failure = json.loads(last.rpartition(b"data: ")[2])
        assert "error" in (failure.get("response") or failure)
        assert InferenceRecord.objects.get().state == "failed"

    def test_of_the_method_says_which_there_is(self, proxied, path):
        answer = send("GET", f"/v1/proxy/{path}", headers=proxied.headers())

        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        error_of(answer)
