"""The scripted backend is what the tests of faults stand on: it must be right itself."""

import socket
import time

import pytest
import requests

from tests.rig.backend import TEXT, TOKENS, VECTOR_SIZE, vector_of
from tests.rig.wire import exchange

CHAT = {"messages": [{"role": "user", "content": "hi there"}]}


def ask(backend, model="stub", path="/chat/completions", **body):
    body = {"model": model, **(CHAT if path == "/chat/completions" else {"prompt": "p"}), **body}
    return requests.post(backend.endpoint + path, json=body, timeout=10, allow_redirects=False)


def ask_raw(backend, model, **body):
    import json

    raw = json.dumps({"model": model, **CHAT, **body}).encode()
    return exchange(backend.url, "POST", "/v1/chat/completions", body=raw)


class TestScriptedBackend:
    def test_answers_the_sixteen_tokens(self, backend):
        answer = ask(backend).json()

        assert answer["choices"][0]["message"]["content"] == TEXT
        assert answer["usage"]["completion_tokens"] == len(TOKENS) == 16

    def test_answers_native_completions(self, backend):
        assert ask(backend, path="/completions").json()["choices"][0]["text"] == TEXT

    def test_embeds_texts(self, backend):
        answer = ask(backend, path="/embeddings", input=["one two", "b"], dimensions=3).json()

        assert [item["embedding"] for item in answer["data"]] == [
            vector_of("one two", 3),
            vector_of("b", 3),
        ]
        assert answer["usage"]["prompt_tokens"] == 3

    @pytest.mark.parametrize(
        ("model", "length", "order"),
        [("swapped", 3, [1, 0]), ("fixed-length", VECTOR_SIZE, [0, 1])],
    )
    def test_embeds_as_the_model_name_says(self, backend, model, length, order):
        data = ask(backend, model, path="/embeddings", input=["a", "b"], dimensions=3).json()[
            "data"
        ]

        assert [item["index"] for item in data] == order
        assert {len(item["embedding"]) for item in data} == {length}

    def test_works_without_v1_in_the_path(self, backend):
        answer = requests.post(
            backend.url + "/chat/completions", json={"model": "x", **CHAT}, timeout=5
        )

        assert answer.status_code == 200

    def test_records_what_it_received(self, backend):
        ask(backend, "stub", temperature=0.5)

        (call,) = backend.calls
        assert (call.path, call.model, call.body["temperature"]) == (
            "/v1/chat/completions",
            "stub",
            0.5,
        )
        assert call.user_message == "hi there"
        assert call.headers["content-type"] == "application/json"

    @pytest.mark.parametrize(
        ("model", "start"),
        [
            ("stub", "Thought: I can answer\nAction: DirectAnswer\nFinal Answer: def add("),
            ("react-action", "Thought: I need the issue\nAction: issue_reader\nAction Input: #42"),
        ],
    )
    def test_answers_in_the_agents_form_where_it_is_asked_for(self, backend, model, start):
        asked = [{"role": "system", "content": "Reply with Final Answer: and the answer."}]

        answer = ask(backend, model, messages=asked).json()["choices"][0]["message"]["content"]

        assert answer.startswith(start)

    def test_answers_exactly_what_a_test_wants(self, backend):
        backend.answer("mine", "a", "b")

        assert ask(backend, "mine").json()["choices"][0]["message"]["content"] == "ab"

    def test_streams_one_event_for_each_token(self, backend):
        lines = ask(backend, "tokens-3", stream=True).text.split("\n\n")

        assert len([line for line in lines if '"content":"' in line]) == 1 + 3
        assert lines[-2] == "data: [DONE]"

    def test_calls_each_tool_once(self, backend):
        tool = {"type": "function", "function": {"name": "lookup"}}
        result = [*CHAT["messages"], {"role": "tool", "tool_call_id": "call_0", "content": "42"}]

        called = ask(backend, "tools", tools=[tool]).json()["choices"][0]
        answered = ask(backend, "tools", tools=[tool], messages=result).json()["choices"][0]

        (call,) = called["message"]["tool_calls"]
        assert call["function"] == {"name": "lookup", "arguments": '{"query": "tiny"}'}
        assert called["finish_reason"] == "tool_calls"
        assert answered["message"]["content"] == TEXT

    def test_streams_usage_when_asked(self, backend):
        text = ask(backend, stream=True, stream_options={"include_usage": True}).text

        assert '"completion_tokens":16' in text

    @pytest.mark.parametrize(
        ("model", "missing"), [("nodone", "[DONE]"), ("nousage", "completion_tokens")]
    )
    def test_leaves_out_what_the_model_name_says(self, backend, model, missing):
        text = ask(backend, model, stream=True, stream_options={"include_usage": True}).text

        assert missing not in text

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 500, 503])
    def test_fails_with_the_status_in_the_name(self, backend, status):
        answer = ask(backend, f"err-{status}")

        assert answer.status_code == status
        assert answer.json()["error"]["message"]

    def test_says_when_to_come_back(self, backend):
        assert ask(backend, "err-429").headers["Retry-After"] == "7"

    def test_fails_once_and_then_answers(self, backend):
        statuses = [ask(backend, "flaky-503").status_code for _ in range(3)]

        assert statuses == [503, 200, 200]

    def test_cuts_an_answer_in_the_middle(self, backend):
        assert ask_raw(backend, "cut-midstream").end == "cut"
        assert ask_raw(backend, "cut-midstream", stream=True).end == "cut"

    def test_drips(self, backend):
        assert len(ask_raw(backend, "drip-1ms_tokens-1").chunks) > 50

    def test_resets_the_connection(self, backend):
        with pytest.raises(requests.ConnectionError):
            ask(backend, "refuse")

    def test_redirects(self, backend):
        answer = ask(backend, "redirect")

        assert (answer.status_code, answer.headers["Location"]) == (
            307,
            backend.url + "/elsewhere/v1/chat/completions",
        )

    def test_compresses_what_nobody_asked_to_be_compressed(self, backend):
        assert ask_raw_bytes(backend, "gzip").split(b"\r\n\r\n")[1][:2] == b"\x1f\x8b"

    def test_waits_before_the_first_byte(self, backend):
        started = time.monotonic()

        ask(backend, "ttft-200ms")

        assert 0.2 <= time.monotonic() - started < 1

    def test_notices_a_client_that_leaves_while_it_thinks(self, backend):
        with pytest.raises(requests.ReadTimeout):
            requests.post(
                backend.endpoint + "/chat/completions",
                json={"model": "hang-30", **CHAT},
                timeout=(1, 0.2),
            )

        left = backend.wait_for_departure(within_s=1)
        assert (left.model, left.tokens_sent) == ("hang-30", 0)

    def test_notices_a_client_that_leaves_a_stream(self, backend):
        with requests.post(
            backend.endpoint + "/chat/completions",
            json={"model": "tokens-100_slow-50ms", "stream": True, **CHAT},
            timeout=5,
            stream=True,
        ) as answer:
            next(answer.iter_lines())

        left = backend.wait_for_departure(within_s=1)
        assert left.tokens_sent < 10


def ask_raw_bytes(backend, model):
    body = b'{"model":"%s","messages":[]}' % model.encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", backend.port), 5) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    return received
