"""The scripted backend in Anthropic's format, which the tests of that provider stand on."""

import json

import requests

from tests.rig.backend import TEXT

ASKED = {"max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"name": "lookup", "input_schema": {"type": "object"}}


def ask(backend, model="stub", **body):
    body = {"model": model, **ASKED, **body}
    return requests.post(f"{backend.endpoint}/messages", json=body, timeout=10)


def events_of(answer):
    named = [event.split("\n") for event in answer.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data[6:])) for name, data in named]


class TestWhole:
    def test_is_a_message(self, backend):
        answer = ask(backend).json()

        assert answer["content"] == [{"type": "text", "text": TEXT}]
        assert answer["stop_reason"] == "end_turn"
        assert answer["usage"]["output_tokens"] == 16

    def test_calls_tools(self, backend):
        answer = ask(backend, "tools", tools=[TOOL]).json()

        (block,) = answer["content"]
        assert (block["name"], block["input"]) == ("lookup", {"query": "tiny"})
        assert answer["stop_reason"] == "tool_use"

    def test_answers_in_text_what_a_tool_returned(self, backend):
        result = {"type": "tool_result", "tool_use_id": "call_0", "content": "42"}

        answer = ask(
            backend, "tools", tools=[TOOL], messages=[{"role": "user", "content": [result]}]
        ).json()

        assert answer["content"][0]["text"] == TEXT


class TestEvents:
    def test_are_named_and_in_order(self, backend):
        events = events_of(ask(backend, "tokens-1", stream=True))

        assert all(name == data["type"] for name, data in events)
        assert [name for name, _ in events] == [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]

    def test_call_tools_in_pieces(self, backend):
        events = events_of(ask(backend, "tools", stream=True, tools=[TOOL]))

        deltas = [data["delta"] for name, data in events if name == "content_block_delta"]
        pieces = [delta["partial_json"] for delta in deltas]
        assert json.loads("".join(pieces)) == {"query": "tiny"}
        assert len(pieces) > 1

    def test_tell_an_error_in_the_middle(self, backend):
        events = events_of(ask(backend, "err-midstream", stream=True))

        assert events[-1][0] == "error"
