"""Promises of POST /v1/proxy/openai/v1/chat/completions and .../v1/responses."""

from __future__ import annotations

import json

import pytest

from tests.gateway.api.vendors import PNG, parsed
from tests.rig.backend import TEXT
from tests.rig.llama import CHAT_TEXT

CHAT, RESPONSES = "openai/v1/chat/completions", "openai/v1/responses"
ASKED = {"model": "gpt-5", "messages": [{"role": "user", "content": "Hi."}]}
WANTED = {"model": "gpt-5", "input": "Hi."}
FUNCTION = {
    "name": "lookup",
    "description": "Looks things up.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
}
CHAT_TOOL = {"type": "function", "function": FUNCTION}
TOOL = {"type": "function", **FUNCTION}


def text_of_chunks(chunks):
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    return "".join(delta.get("content", "") for delta in deltas)


def text_of_events(events):
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    return "".join(event["delta"] for event in deltas)


class TestChatCompletions:
    def test_answers_as_it_is_asked(self, proxied, backend):
        proxied.use("house")
        wishes = {"max_completion_tokens": 50, "temperature": 0.5, "seed": 7, "stop": ["END"]}

        answer = proxied(CHAT, {**ASKED, **wishes, "user": "ann"})

        assert answer.json["choices"][0]["message"]["content"] == TEXT
        assert answer.json["usage"]["completion_tokens"] == 16
        assert backend.calls[0].body == {
            "model": "house",
            "messages": ASKED["messages"],
            "max_tokens": 50,
            "temperature": 0.5,
            "seed": 7,
            "stop": ["END"],
        }

    def test_streams_the_same_text(self, proxied):
        proxied.use()
        options = {"stream": True, "stream_options": {"include_usage": True}}

        answer = proxied(CHAT, {**ASKED, **options})

        chunks = parsed(answer.body)
        assert text_of_chunks(chunks) == TEXT
        assert chunks[-1]["usage"]["completion_tokens"] == 16
        assert answer.body.endswith(b"data: [DONE]\n\n")

    @pytest.mark.parametrize("is_streamed", [True, False])
    def test_calls_tools_and_takes_their_results(self, proxied, backend, is_streamed):
        proxied.use("tools")
        other = {"type": "function", "function": {"name": "add"}}
        body = {**ASKED, "tools": [CHAT_TOOL, other], "tool_choice": "auto"}

        first = proxied(CHAT, {**body, "stream": is_streamed})

        if is_streamed:
            called, ended = parsed(first.body)[1:]
            calls = called["choices"][0]["delta"]["tool_calls"]
            assert [call.pop("index") for call in calls] == [0, 1]
            assert ended["choices"][0]["finish_reason"] == "tool_calls"
        else:
            calls = first.json["choices"][0]["message"]["tool_calls"]
        names = [call["function"]["name"] for call in calls]
        assert names == ["lookup", "add"]
        said = [
            *ASKED["messages"],
            {"role": "assistant", "content": None, "tool_calls": calls},
            *({"role": "tool", "tool_call_id": c["id"], "content": "42"} for c in calls),
        ]
        second = proxied(CHAT, {**body, "messages": said})
        assert second.json["choices"][0]["message"]["content"] == TEXT
        sent = backend.calls[1].body["messages"]
        assert sent[1] == {"role": "assistant", "content": "", "tool_calls": calls}
        assert [message.get("tool_call_id") for message in sent[2:]] == ["call_0", "call_1"]

    def test_sends_images_and_schemas_on(self, proxied, backend):
        proxied.use()
        image = {"type": "image_url", "image_url": {"url": PNG}}
        schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}

        proxied(
            CHAT,
            {
                **ASKED,
                "messages": [{"role": "user", "content": [image]}],
                "response_format": schema,
            },
        )

        assert backend.calls[0].body["messages"][0]["content"] == [image]
        assert backend.calls[0].body["response_format"] == schema

    def test_names_the_code_that_clients_look_for(self, proxied):
        proxied.use("toolong")

        assert proxied(CHAT, ASKED).json["error"]["code"] == "context_length_exceeded"


class TestResponses:
    def test_answers_as_it_is_asked(self, proxied, backend):
        proxied.use("house")

        answer = proxied(
            RESPONSES, {**WANTED, "instructions": "Be brief.", "max_output_tokens": 50}
        )

        assert answer.json["output"][0]["content"][0]["text"] == TEXT
        assert backend.calls[0].body == {
            "model": "house",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi."},
            ],
            "max_tokens": 50,
        }

    def test_streams_the_same_text(self, proxied):
        proxied.use()

        events = parsed(proxied(RESPONSES, {**WANTED, "stream": True}).body)

        assert text_of_events(events) == TEXT
        assert events[-1]["type"] == "response.completed"
        assert events[-1]["response"]["usage"]["output_tokens"] == 16

    @pytest.mark.parametrize("is_streamed", [True, False])
    def test_calls_a_tool_and_takes_its_result(self, proxied, backend, is_streamed):
        proxied.use("tools")
        body = {**WANTED, "tools": [TOOL]}

        first = proxied(RESPONSES, {**body, "stream": is_streamed})

        response = parsed(first.body)[-1]["response"] if is_streamed else first.json
        (call,) = response["output"]
        assert (call["name"], call["arguments"]) == ("lookup", '{"query": "tiny"}')
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "42"}
        items = [{"role": "user", "content": "Hi."}, call, result]
        second = proxied(RESPONSES, {**body, "input": items})
        assert second.json["output"][0]["content"][0]["text"] == TEXT
        assert backend.calls[1].body["messages"][2] == {
            "role": "tool",
            "content": "42",
            "tool_call_id": "call_0",
        }

    def test_refuses_to_remember(self, proxied):
        answer = proxied(RESPONSES, {**WANTED, "previous_response_id": "resp_1"})

        assert answer.status == 400
        assert answer.json["error"] == {
            "message": "'previous_response_id' is not supported.",
            "type": "invalid_request_error",
            "param": "previous_response_id",
            "code": None,
        }


class TestLlamaCpp:
    """A real llama.cpp server with a tiny model whose answers are known."""

    def test_answers_a_chat_whole_and_streamed(self, tiny):
        whole = tiny(CHAT, ASKED).json
        chunks = parsed(tiny(CHAT, {**ASKED, "stream": True}).body)

        assert whole["choices"][0]["message"]["content"] == text_of_chunks(chunks) == CHAT_TEXT
        assert whole["usage"]["completion_tokens"] == 10

    def test_calls_a_tool_of_a_chat_and_takes_its_result(self, tiny):
        body = {**ASKED, "tools": [CHAT_TOOL]}

        (call,) = tiny(CHAT, body).json["choices"][0]["message"]["tool_calls"]
        chunks = parsed(tiny(CHAT, {**body, "stream": True}).body)

        assert json.loads(call["function"]["arguments"]) == {"query": "tiny"}
        (streamed,) = chunks[1]["choices"][0]["delta"]["tool_calls"]
        assert streamed["function"] == call["function"]
        said = [
            *ASKED["messages"],
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": "42"},
        ]
        last = tiny(CHAT, {**body, "messages": said}).json
        assert last["choices"][0]["message"]["content"] == CHAT_TEXT

    def test_answers_a_response_whole_and_streamed(self, tiny):
        whole = tiny(RESPONSES, WANTED).json
        events = parsed(tiny(RESPONSES, {**WANTED, "stream": True}).body)

        assert whole["output"][0]["content"][0]["text"] == text_of_events(events) == CHAT_TEXT
        assert events[-1]["response"]["usage"] == whole["usage"]

    def test_calls_a_tool_of_a_response_and_takes_its_result(self, tiny):
        body = {**WANTED, "tools": [TOOL]}

        (call,) = tiny(RESPONSES, body).json["output"]
        events = parsed(tiny(RESPONSES, {**body, "stream": True}).body)

        assert json.loads(call["arguments"]) == {"query": "tiny"}
        assert events[-1]["response"]["output"][0]["name"] == "lookup"
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "42"}
        items = [{"role": "user", "content": "Hi."}, call, result]
        last = tiny(RESPONSES, {**body, "input": items}).json
        assert last["output"][0]["content"][0]["text"] == CHAT_TEXT
