"""What every wire format has in common: statuses, ends of streams, untrusted JSON."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from models_registry.egress import Cancellation, Limits
from models_registry.errors import (
    AnswerTooLarge,
    BackendAuthFailed,
    BackendFailed,
    BackendNotFound,
    BackendRateLimited,
    BackendRejected,
    BackendTimedOut,
    BackendUnreachable,
    BatchTooLarge,
    ContextTooLong,
    InferenceCancelled,
    MalformedReply,
    ModelError,
    ModelMisconfigured,
)
from models_registry.providers import PROVIDERS, choices, get_provider
from models_registry.providers.base import TOOL_CALLS_MAX, Provider, parse_retry_after
from models_registry.providers.embedding import Embedding, Texts
from models_registry.providers.openai_compatible import OpenAICompatible
from models_registry.providers.types import (
    Completion,
    Delta,
    Message,
    ModelConfig,
    Prompt,
    ToolCall,
)
from tests.models_registry import RawServer, Visitor, answering, chunked, sending

PROVIDER = get_provider("openai_compatible")
PROMPT = Prompt(messages=(Message(role="user", content="Say hello."),))
KEY = "sk-canary-7f3a"
FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def model(endpoint: str, **fields: Any) -> ModelConfig:
    facts: dict[str, Any] = {
        "revision_id": 1,
        "model_id": 1,
        "name": "house",
        "family": "general",
        "provider": "openai_compatible",
        "endpoint": endpoint,
        "identifier": "custom_openai/house",
        "api_key": KEY,
    }
    return ModelConfig(**(facts | fields))


def limits(*, whole_s: float = 5, max_bytes: int = 1_000_000) -> Limits:
    return Limits(
        deadline_at=time.monotonic() + whole_s, first_byte_s=5, idle_s=5, max_bytes=max_bytes
    )


def complete(url: str, **options: Any) -> Completion:
    return PROVIDER.complete(PROMPT, model(url), **({"limits": limits()} | options))


def stream(url: str, **options: Any) -> list[Delta]:
    return list(PROVIDER.stream(PROMPT, model(url), **({"limits": limits()} | options)))


def reply(
    body: bytes, *, status: bytes = b"200 OK", media: bytes = b"application/json", more: bytes = b""
) -> bytes:
    """Return a whole answer with this body."""
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n"
    return head % (status, media, len(body), more) + body


def text_event(text: str) -> bytes:
    chunk = {"choices": [{"delta": {"content": text}, "finish_reason": None}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def answer_json(content: str = "Hello.", **fields: Any) -> bytes:
    choice = {"message": {"content": content}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], **fields}).encode()


def names(url: str) -> tuple[str, ...] | None:
    return OpenAICompatible().list_models(model(url), limits=limits(), correlation_id="list")


class TestListModels:
    def test_returns_the_names_that_are_names(self):
        listed = (
            b'{"data": [{"id": "house"}, {"id": "<b>"}, {"id": 7}, {"id": "a\\nb"}, {"id": ""}]}'
        )
        with RawServer(answering(reply(listed))) as server:
            assert names(server.url) == ("house", "<b>")

        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"GET /models HTTP/1.1\r\n")
        assert f"Authorization: Bearer {KEY}".encode() in head
        assert b"X-Request-ID: list" in head
        assert b"Content-Type" not in head
        assert body == b""

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (reply(b"{}", status=b"401 No"), BackendAuthFailed),
            (reply(b"{}", status=b"404 No"), BackendNotFound),
            (reply(b"{}", status=b"503 No"), BackendFailed),
            (reply(b"{}", status=b"302 Found"), BackendRejected),
            (reply(b"<html>", media=b"text/html"), MalformedReply),
            (reply(b"nonsense"), MalformedReply),
            (reply(b"[]"), MalformedReply),
            (reply(b'{"data": [1]}'), MalformedReply),
        ],
    )
    def test_keeps_the_status_of_what_is_no_list(self, answer, error):
        with RawServer(answering(answer)) as server, pytest.raises(error) as failure:
            names(server.url)

        assert failure.value.status == int(answer.split()[1])

    def test_has_no_status_where_nobody_spoke_http(self):
        with (
            RawServer(sending(b"220 mail\r\n")) as server,
            pytest.raises(MalformedReply) as failure,
        ):
            names(server.url)

        assert failure.value.status is None


class TestStatuses:
    @pytest.mark.parametrize("ask", [complete, stream])
    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, BackendRejected),
            (401, BackendAuthFailed),
            (403, BackendAuthFailed),
            (404, BackendNotFound),
            (405, BackendRejected),
            (409, BackendRejected),
            (413, BackendRejected),
            (422, BackendRejected),
            (301, BackendRejected),
            (307, BackendRejected),
            (500, BackendFailed),
            (502, BackendFailed),
            (503, BackendFailed),
            (529, BackendFailed),
            (600, BackendFailed),
        ],
    )
    def test_become_errors_that_repeat_nothing(self, ask, status, error):
        body = b'{"error":{"message":"secret text of the backend %b"}}' % KEY.encode()

        with (
            RawServer(answering(reply(body, status=b"%d No" % status))) as server,
            pytest.raises(error) as failure,
        ):
            ask(server.url)

        assert type(failure.value) is error
        assert failure.value.status == status
        said = str(failure.value)
        assert not any(word in said for word in ("secret text", KEY, server.url, str(server.port)))

    @pytest.mark.parametrize("status", [400, 413, 422])
    @pytest.mark.parametrize(
        "text",
        [
            "This model's maximum context length is 4096 tokens. However, you requested 5000.",
            "the request exceeds the available context size, try increasing it",
            '"type": "exceed_context_size_error"',
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048",
            "Input validation error: `inputs` must have less than 1024 tokens, prompt too long",
            "Requested tokens (5000) exceed context window of 2048",
            '"code": "context_length_exceeded"',
            "prompt is too long: 210000 tokens > 200000 maximum",
            "Please reduce the length of the messages",
        ],
    )
    def test_a_prompt_that_does_not_fit_is_named(self, status, text):
        with (
            RawServer(answering(reply(text.encode(), status=b"%d No" % status))) as server,
            pytest.raises(ContextTooLong) as failure,
        ):
            complete(server.url)

        assert failure.value.status == status

    def test_an_error_without_its_body_keeps_its_class(self):
        def hold_back_the_body(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(b"HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\n")
            visitor.reset()

        with RawServer(hold_back_the_body) as server, pytest.raises(BackendAuthFailed):
            complete(server.url)

    def test_an_error_leaves_the_connection_usable(self):
        refused = reply(b'{"error":1}', status=b"400 No")

        with RawServer(answering(refused, reply(answer_json()))) as server:
            with pytest.raises(BackendRejected):
                complete(server.url)

            assert complete(server.url).text == "Hello."
        assert server.connections == 1

    @pytest.mark.parametrize(
        ("header", "seconds"), [(b"7", 7.0), (b"99999", 3600.0), (b"soon", None), (b"", None)]
    )
    def test_a_rate_limit_says_how_long(self, header, seconds):
        limited = reply(b"", status=b"429 No", more=b"Retry-After: %b\r\n" % header)

        with RawServer(answering(limited)) as server, pytest.raises(BackendRateLimited) as failure:
            complete(server.url)

        assert (failure.value.status, failure.value.retry_after_s) == (429, seconds)


class TestParseRetryAfter:
    NOW = datetime(2026, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("after", "seconds"),
        [(timedelta(seconds=90), 90.0), (timedelta(days=2), 3600.0), (-timedelta(days=1), 0.0)],
    )
    def test_reads_a_date(self, after, seconds):
        header = format_datetime(self.NOW + after, usegmt=True)

        assert parse_retry_after(header, now=self.NOW.timestamp()) == seconds

    @pytest.mark.parametrize(
        "header",
        ["-5", "1.5", "½", "٣", "Mon, 99 Foo 2026", "Mon, 01 Jan 99999 00:00:00 GMT", "x" * 10_000],
    )
    def test_ignores_what_says_nothing(self, header):
        assert parse_retry_after(header, now=0) is None

    def test_bounds_a_number_of_any_length(self):
        assert parse_retry_after("9" * 5000, now=0) == 3600.0


class TestComplete:
    def test_returns_text_reason_and_tokens(self):
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}

        with RawServer(answering(reply(answer_json("Hello.", usage=usage)))) as server:
            completion = complete(server.url)

        assert completion == Completion(
            text="Hello.", finish_reason="stop", prompt_tokens=3, completion_tokens=2
        )

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b"{}",
            b"5",
            b'"text"',
            b"this is not json <<<",
            b'{"choices": []}',
            b'{"choices": null}',
            b'{"choices": {}}',
            b'{"choices": [null]}',
            b'{"choices": [5]}',
            b'{"choices": ["text"]}',
            b'{"choices": [{}]}',
            b'{"choices": [{"message": null}]}',
            b'{"choices": [{"message": "Hello."}]}',
            b'{"choices": [{"message": {"content": 5}}]}',
            b'{"choices": [{"message": {"content": ["Hello."]}}]}',
            b'{"choices": [{"text": {}}]}',
            b'{"choices": [{"message": {"content": "Hel',
            b'{"choices": [{"text": "a"}], "usage": [1]}',
            b'{"choices": [{"text": "a"}], "usage": "5"}',
            b"[" * 100_000,
            b'{"choices":' * 50_000,
            b"9" * 50_000,
            b"\xff\xfe\x00",
        ],
    )
    def test_refuses_json_of_another_shape(self, body):
        with RawServer(answering(reply(body))) as server, pytest.raises(MalformedReply):
            complete(server.url)

    def test_refuses_a_web_page(self):
        page = reply(b"<html>Sign in</html>", media=b"text/html; charset=utf-8")

        with (
            RawServer(answering(page)) as server,
            pytest.raises(MalformedReply, match="web page"),
        ):
            complete(server.url)

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            (b'{"choices":[{"message":{"content":null}}]}', ""),
            (b'{"choices":[{"text":"a\\ud83d b"}]}', "a\ufffd b"),
            (b'{"choices":[{"text":"\\ud83d\\ude00"}]}', "\U0001f600"),
            (b'{"choices":[{"text":"a\xffb"}]}', "a\ufffdb"),
            (b'{"choices":[{"text":"a\\u0000\\u2028b"}]}', "a\x00\u2028b"),
            (b'{"choices":[{"text":"a"}],"logprobs":NaN}', "a"),
        ],
    )
    def test_takes_text_as_it_is_and_makes_it_storable(self, body, text):
        with RawServer(answering(reply(body))) as server:
            completion = complete(server.url)

        assert completion.text == text
        completion.text.encode()

    @pytest.mark.parametrize("count", ["5", -1, 1.5, True, None, 2**31, 10**30, [], {}])
    def test_ignores_counts_that_are_none(self, count):
        body = answer_json(usage={"prompt_tokens": count, "completion_tokens": 2})

        with RawServer(answering(reply(body))) as server:
            completion = complete(server.url)

        assert (completion.prompt_tokens, completion.completion_tokens) == (None, 2)

    @pytest.mark.parametrize("reason", [5, [], {}, "\ud800", "größer"])
    def test_ignores_a_finish_reason_that_is_none(self, reason):
        body = json.dumps({"choices": [{"text": "a", "finish_reason": reason}]}).encode()

        with RawServer(answering(reply(body))) as server:
            assert complete(server.url).finish_reason is None

    def test_tells_an_error_in_a_success_from_an_answer(self):
        with (
            RawServer(answering(reply(b'{"error": {"message": "cuda is gone"}}'))) as server,
            pytest.raises(BackendFailed) as failure,
        ):
            complete(server.url)

        assert "cuda" not in str(failure.value)

    def test_cuts_an_answer_that_is_too_large(self):
        with (
            RawServer(answering(reply(answer_json("x" * 5000)))) as server,
            pytest.raises(AnswerTooLarge),
        ):
            complete(server.url, limits=limits(max_bytes=4000))

    def test_sends_a_prompt_with_half_a_surrogate_pair(self):
        prompt = Prompt(messages=(Message(role="user", content="a\ud83db"),))

        with RawServer(answering(reply(answer_json()))) as server:
            PROVIDER.complete(prompt, model(server.url), limits=limits())

        assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2])

    def test_passes_the_correlation_id_on(self):
        with RawServer(answering(reply(answer_json()))) as server:
            complete(server.url, correlation_id="01ABC-def")

        assert b"\r\nX-Request-ID: 01ABC-def\r\n" in server.requests[0]

    @pytest.mark.parametrize("correlation_id", ["", "a\r\nX-Evil: 1", "ü", "a\x00"])
    def test_leaves_out_a_correlation_id_that_is_no_header(self, correlation_id):
        with RawServer(answering(reply(answer_json()))) as server:
            assert complete(server.url, correlation_id=correlation_id).text == "Hello."

        assert b"X-Request-ID" not in server.requests[0]
        assert b"X-Evil" not in server.requests[0]


class TestEmbed:
    TWO = Texts(texts=("one", "two"))

    def embed(self, body: bytes, *, max_bytes: int = 1_000_000) -> Embedding:
        with RawServer(answering(reply(body))) as server:
            return PROVIDER.embed(self.TWO, model(server.url), limits=limits(max_bytes=max_bytes))

    def data(self, *items: tuple[int, Any], **more: Any) -> bytes:
        data = [{"index": index, "embedding": vector} for index, vector in items]
        return json.dumps({"data": data, **more}).encode()

    def test_returns_the_vectors_in_the_order_of_the_texts(self):
        body = self.data((1, [0.5, 2]), (0, [-1.0, 0.1]), usage={"prompt_tokens": 4})

        assert self.embed(body) == Embedding(vectors=((-1.0, 0.1), (0.5, 2.0)), prompt_tokens=4)

    def test_does_without_a_count_of_tokens(self):
        assert self.embed(self.data((0, [1]), (1, [1]))).prompt_tokens is None

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"null", b"[]", b"{}", b'{"data": null}', b'{"data": 5}', b'{"data": [5, 6]}',
            b'{"data": [{"embedding": [1]}, {"embedding": [1]}]}',
            b'{"data": [{"index": 0}, {"index": 1}]}',
            b'{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}',
            b'{"data": [{"index": 1, "embedding": [1]}, {"index": 2, "embedding": [1]}]}',
            b'{"data": [{"index": "0", "embedding": [1]}, {"index": 1, "embedding": [1]}]}',
            b'{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": "AAAA"}]}',
            b'{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [NaN]}]}',
            b'{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [[1]]}]}',
            b'{"data": [{"index": 0, "embedding": [1]}], "usage": {}}',
            b'{"data": []}',
        ],
    )  # fmt: skip
    def test_refuses_json_of_another_shape(self, body):
        with pytest.raises(MalformedReply):
            self.embed(body)

    def test_tells_an_error_in_a_success_from_an_answer(self):
        with pytest.raises(BackendFailed) as failure:
            self.embed(b'{"error": {"message": "cuda is gone"}}')

        assert "cuda" not in str(failure.value)

    def test_says_that_the_batch_was_too_large_for_one_answer(self):
        with pytest.raises(BatchTooLarge, match="fewer texts"):
            self.embed(self.data((0, [0.5] * 999), (1, [0.5] * 999)), max_bytes=4000)

    def test_knows_how_llama_cpp_calls_a_text_too_long(self):
        said = b'{"error": {"message": "input (900 tokens) is too large to process."}}'
        refusal = reply(said, status=b"500 Internal Server Error")

        with RawServer(answering(refusal)) as server, pytest.raises(ContextTooLong):
            PROVIDER.embed(self.TWO, model(server.url), limits=limits())

    def test_is_said_to_be_missing_by_a_format_that_has_none(self):
        class Wordy(Provider):
            label = "Wordy"
            build = parse_reply = parse_event = None

        with pytest.raises(ModelMisconfigured, match=r"'Wordy' gives no embeddings"):
            Wordy().embed(self.TWO, model("http://10.1.2.3/v1"), limits=limits())

    def test_can_be_cancelled(self):
        cancellation = Cancellation()
        threading.Timer(0.2, cancellation.cancel).start()

        def hang(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.wait_until_left()

        with RawServer(hang) as server, pytest.raises(InferenceCancelled):
            PROVIDER.embed(self.TWO, model(server.url), limits=limits(), cancellation=cancellation)


class TestStream:
    def test_yields_texts_and_then_reason_and_tokens_together(self):
        script = [text_event(""), text_event("Hel"), text_event("lo."), FINISH, USAGE, DONE]

        with RawServer(answering(chunked(script))) as server:
            deltas = stream(server.url)

        assert deltas == [
            Delta(text="Hel"),
            Delta(text="lo."),
            Delta(finish_reason="stop", prompt_tokens=3, completion_tokens=2),
        ]

    def test_yields_each_text_before_the_next_is_sent(self):
        may_go_on = threading.Event()

        def script(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(STREAM_HEAD)
            visitor.chunk(text_event("one"))
            may_go_on.wait(5)
            visitor.chunk(text_event("two") + FINISH + DONE)
            visitor.send(b"0\r\n\r\n")

        with RawServer(script) as server:
            deltas = PROVIDER.stream(PROMPT, model(server.url), limits=limits())
            first = next(deltas)
            may_go_on.set()
            rest = list(deltas)

        assert [delta.text for delta in (first, *rest)] == ["one", "two", ""]

    def test_uses_the_connection_again(self):
        script = [text_event("Hello."), FINISH, DONE]

        with RawServer(answering(chunked(script))) as server:
            stream(server.url)
            stream(server.url)

        assert server.connections == 1

    def test_does_not_wait_for_what_follows_the_end_marker(self):
        def keep_open(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(STREAM_HEAD)
            visitor.chunk(text_event("Hello.") + DONE)
            visitor.wait_until_left()

        started = time.monotonic()
        with RawServer(keep_open) as server:
            deltas = stream(server.url)

        assert [delta.text for delta in deltas] == ["Hello.", ""]
        assert time.monotonic() - started < 1

    @pytest.mark.parametrize(
        "script",
        [
            [text_event("Hello."), DONE],
            [text_event("Hello."), FINISH],
            [text_event("Hello."), FINISH, USAGE],
            [b": keep-alive\n\n", text_event("Hello."), FINISH, b": bye\n\n", DONE],
            [text_event("Hello.") + FINISH + DONE],
            [DONE],
        ],
    )
    def test_is_complete_with_a_marker_or_a_reason(self, script):
        with RawServer(answering(chunked(script))) as server:
            assert stream(server.url)[-1].text == ""

    @pytest.mark.parametrize(
        "script",
        [
            [],
            [text_event("Hello.")],
            [text_event("Hello."), USAGE],
            [text_event("Hello."), b"data: [DO"],
            [text_event("Hello."), b"data: [DONE]"],
            [b": keep-alive\n\n"],
        ],
    )
    def test_is_never_complete_without(self, script):
        with (
            RawServer(answering(chunked(script))) as server,
            pytest.raises(MalformedReply, match="broke off"),
        ):
            stream(server.url)

    @pytest.mark.parametrize("events", [text_event("Hello."), text_event("Hello.") + FINISH])
    def test_is_never_complete_without_the_end_of_its_body(self, events):
        cut = STREAM_HEAD + b"%x\r\n%b\r\n" % (len(events), events)
        received = []

        def ask(url: str) -> None:
            for delta in PROVIDER.stream(PROMPT, model(url), limits=limits()):
                received.append(delta.text)

        with RawServer(sending(cut)) as server, pytest.raises(MalformedReply, match="broke off"):
            ask(server.url)

        assert received == ["Hello."]

    @pytest.mark.parametrize(
        "event",
        [
            b"data: this is not json <<<\n\n",
            b"data: {}\n\n",
            b"data: []\n\n",
            b"data: null\n\n",
            b"data: 5\n\n",
            b'data: {"choices": 5}\n\n',
            b'data: {"choices": [5]}\n\n',
            b'data: {"choices": ["x"]}\n\n',
            b'data: {"choices": [{"delta": "x"}]}\n\n',
            b'data: {"choices": [{"delta": {"content": 5}}]}\n\n',
            b'data: {"choices": [], "usage": [1]}\n\n',
            b"data: " + b"[" * 100_000 + b"\n\n",
            b"data: " + b"x" * 300_000 + b"\n\n",
        ],
    )
    def test_refuses_an_event_of_another_shape(self, event):
        with (
            RawServer(answering(chunked([event, FINISH, DONE]))) as server,
            pytest.raises(MalformedReply),
        ):
            stream(server.url)

    @pytest.mark.parametrize(
        ("event", "error"),
        [
            (b'data: {"error": {"message": "cuda is gone", "code": 500}}\n\n', BackendFailed),
            (b'data: {"error": "cuda is gone"}\n\n', BackendFailed),
            (b'event: error\ndata: {"message": "cuda is gone"}\n\n', BackendFailed),
            (b'data: {"error": {"message": "maximum context length is 5"}}\n\n', ContextTooLong),
        ],
    )
    def test_an_error_event_is_a_failure(self, event, error):
        script = [text_event("Hel"), event, DONE]

        with RawServer(answering(chunked(script))) as server, pytest.raises(error) as failure:
            stream(server.url)

        assert "cuda" not in str(failure.value)

    def test_keeps_what_may_end_a_line_elsewhere(self):
        raw = 'data: {"choices":[{"text":"a\u2028b\x85c"}]}\n\n'.encode()

        with RawServer(answering(chunked([raw, FINISH, DONE]))) as server:
            assert stream(server.url)[0].text == "a\u2028b\x85c"

    def test_takes_a_whole_answer_instead(self):
        whole = answer_json("Hello.", usage={"prompt_tokens": 3, "completion_tokens": 2})

        with RawServer(answering(reply(whole))) as server:
            deltas = stream(server.url)

        assert deltas == [
            Delta(text="Hello.", finish_reason="stop", prompt_tokens=3, completion_tokens=2)
        ]

    def test_refuses_a_web_page(self):
        page = reply(b"<html>Sign in</html>", media=b"text/html")

        with (
            RawServer(answering(page)) as server,
            pytest.raises(MalformedReply, match="web page"),
        ):
            stream(server.url)

    def test_cuts_an_endless_stream(self):
        def script(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(STREAM_HEAD)
            while True:
                visitor.chunk(text_event("again "))

        with RawServer(script) as server:
            with pytest.raises(AnswerTooLarge):
                stream(server.url, limits=limits(max_bytes=100_000))
            with pytest.raises(BackendTimedOut):
                stream(server.url, limits=limits(whole_s=0.2, max_bytes=10**9))

    def test_ends_the_call_when_the_reader_stops(self):
        def script(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(STREAM_HEAD)
            visitor.chunk(text_event("one"))
            visitor.wait_until_left()

        with RawServer(script) as server:
            deltas = PROVIDER.stream(PROMPT, model(server.url), limits=limits())
            next(deltas)
            deltas.close()
            time.sleep(0.2)

            assert server.left_at

    def test_can_be_cancelled(self):
        def script(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(STREAM_HEAD)
            visitor.chunk(text_event("one"))
            visitor.wait_until_left()

        cancellation = Cancellation()
        timer = threading.Timer(0.2, cancellation.cancel)
        timer.start()
        started = time.monotonic()

        with RawServer(script) as server, pytest.raises(InferenceCancelled):
            stream(server.url, cancellation=cancellation)

        timer.join()
        assert time.monotonic() - started < 1


def called(*calls: dict[str, Any], **said: Any) -> bytes:
    """Return a whole answer that calls tools."""
    message = {"role": "assistant", **said, "tool_calls": list(calls)}
    return json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()


def function(name: Any = "lookup", arguments: Any = '{"a": 1}', **call: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **call}


def tool_event(*parts: Any) -> bytes:
    chunk = {"choices": [{"delta": {"tool_calls": parts}, "finish_reason": None}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


NAMELESS: tuple[Any, ...] = (
    function(None),
    function(""),
    function(5),
    function("x" * 300),
    {"id": "a"},
    {},
    5,
    "x",
)


class TestToolCalls:
    def test_of_a_whole_answer_are_read(self) -> None:
        body = called(function(id="call_1"), function("add", id="call_2"), content=None)

        with RawServer(answering(reply(body))) as server:
            completion = complete(server.url)

        assert completion.text == ""
        assert completion.finish_reason == "tool_calls"
        assert completion.tool_calls == (
            ToolCall(id="call_1", name="lookup", arguments='{"a": 1}'),
            ToolCall(id="call_2", name="add", arguments='{"a": 1}'),
        )

    @pytest.mark.parametrize(
        ("given", "read"),
        [({"a": 1}, '{"a":1}'), (None, "{}"), ("", "{}"), ('{"cut": ', '{"cut": ')],
    )
    def test_are_taken_in_the_forms_that_servers_have(self, given: Any, read: str) -> None:
        with RawServer(answering(reply(called(function(arguments=given), content="")))) as server:
            (call,) = complete(server.url).tool_calls

        assert call.arguments == read

    @pytest.mark.parametrize("call_id", [None, "", 0, "ü", "x" * 300])
    def test_get_an_id_where_the_server_gives_none(self, call_id: Any) -> None:
        body = called(function(id=call_id), function(id=call_id))

        with RawServer(answering(reply(body))) as server:
            first, second = complete(server.url).tool_calls

        assert first.id.startswith("call_")
        assert first.id != second.id

    @pytest.mark.parametrize("call", NAMELESS, ids=str)
    def test_that_are_none_are_refused(self, call: Any) -> None:
        with RawServer(answering(reply(called(call)))) as server, pytest.raises(MalformedReply):
            complete(server.url)

    @pytest.mark.parametrize("is_streamed", [True, False])
    def test_that_do_not_end_are_refused(self, is_streamed: bool) -> None:
        calls = [function(index=number) for number in range(TOOL_CALLS_MAX + 1)]
        events = chunked([tool_event(*calls), FINISH, DONE])
        ask = stream if is_streamed else complete

        with (
            RawServer(answering(events if is_streamed else reply(called(*calls)))) as server,
            pytest.raises(MalformedReply),
        ):
            ask(server.url)

    def test_of_a_stream_come_whole_at_its_end(self) -> None:
        script = [
            text_event("Let me see."),
            tool_event({"index": 0, **function(arguments="", id="call_1")}),
            tool_event({"index": 0, "function": {"arguments": '{"a"'}}),
            tool_event({"index": 1, **function("add", arguments="", id="call_2")}),
            tool_event({"index": 1, "function": {"arguments": "{}"}}),
            tool_event({"index": 0, "id": None, "function": {"arguments": ": 1}"}}),
            FINISH,
            USAGE,
            DONE,
        ]

        with RawServer(answering(chunked(script))) as server:
            deltas = stream(server.url)

        assert deltas == [
            Delta(text="Let me see."),
            Delta(),
            Delta(
                finish_reason="stop",
                prompt_tokens=3,
                completion_tokens=2,
                tool_calls=(
                    ToolCall(id="call_1", name="lookup", arguments='{"a": 1}'),
                    ToolCall(id="call_2", name="add", arguments="{}"),
                ),
            ),
        ]

    def test_of_a_stream_need_no_number_where_they_come_at_once(self) -> None:
        script = [tool_event(function(id="a"), function("add", id="b")), FINISH, DONE]

        with RawServer(answering(chunked(script))) as server:
            calls = stream(server.url)[-1].tool_calls

        assert [call.name for call in calls] == ["lookup", "add"]

    def test_that_are_begun_are_told_before_they_are_whole(self) -> None:
        may_go_on = threading.Event()

        def script(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(STREAM_HEAD)
            visitor.chunk(tool_event({"index": 0, **function(id="call_1")}))
            may_go_on.wait(5)
            visitor.chunk(FINISH + DONE)
            visitor.send(b"0\r\n\r\n")

        with RawServer(script) as server:
            deltas = PROVIDER.stream(PROMPT, model(server.url), limits=limits())
            first = next(deltas)
            may_go_on.set()
            rest = list(deltas)

        assert first == Delta()
        assert len(rest) == 1

    @pytest.mark.parametrize(
        "parts",
        [
            *([part] for part in NAMELESS),
            [{"index": "0", **function()}],
            [{"index": 0, "function": []}, {"index": 0, "function": "x"}],
            "text",
            {"a": 1},
            5,
        ],
        ids=str,
    )
    def test_of_a_stream_that_are_none_are_refused(self, parts: Any) -> None:
        chunk = {"choices": [{"delta": {"tool_calls": parts}}]}
        event = b"data: " + json.dumps(chunk).encode() + b"\n\n"

        with (
            RawServer(answering(chunked([event, FINISH, DONE]))) as server,
            pytest.raises(MalformedReply),
        ):
            stream(server.url)

    def test_of_an_answer_that_comes_whole_instead_are_read(self) -> None:
        body = called(function(id="call_1"), content="")

        with RawServer(answering(reply(body))) as server:
            (delta,) = stream(server.url)

        assert [call.id for call in delta.tool_calls] == ["call_1"]


class TestKeys:
    def test_appear_in_no_error(self):
        failures: list[ModelError] = []

        def ask(url: str, **fields: Any) -> None:
            try:
                PROVIDER.complete(PROMPT, model(url, **fields), limits=limits(whole_s=0.3))
            except ModelError as failure:
                failures.append(failure)

        with RawServer(sending()) as server:
            ask(server.url)
        ask(server.url)
        ask("http://8.8.8.8/v1")
        ask("ftp://nowhere")
        ask(server.url, api_key=f"{KEY}\r\nX-Evil: 1")
        ask(server.url, ca_bundle=KEY)

        assert [type(failure) for failure in failures][:2] == [BackendUnreachable] * 2
        assert len(failures) == 6
        assert not any(KEY in repr(failure) + str(failure.__cause__) for failure in failures)


class TestRegistry:
    def test_offers_every_provider(self):
        assert [slug for slug, _ in choices()] == list(PROVIDERS)
        assert all(label for _, label in choices())

    def test_names_a_provider_that_is_none(self):
        with pytest.raises(ModelMisconfigured, match="'telepathy'"):
            get_provider("telepathy")
