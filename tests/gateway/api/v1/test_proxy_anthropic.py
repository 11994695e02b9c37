"""Promises of POST /v1/proxy/anthropic/v1/messages and .../count_tokens."""

from __future__ import annotations

import pytest

from gateway.audit.models import InferenceRecord
from tests.gateway.api.conftest import post
from tests.gateway.api.vendors import parsed
from tests.rig.backend import TEXT
from tests.rig.llama import CHAT_TEXT

MESSAGES, COUNT = "anthropic/v1/messages", "anthropic/v1/messages/count_tokens"
# As GitLab's description composer writes it (gitlab-client.md 1.9).
COMPOSED = {
    "model": "claude-3-7-sonnet-20250219",
    "messages": [{"role": "user", "content": "Describe this change."}],
    "system": "You write descriptions.",
    "max_tokens": 2048,
    "temperature": 0,
    "stream": False,
}
TOOL = {
    "name": "lookup",
    "description": "Looks things up.",
    "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}},
}
PICTURE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
}


def text_of(events):
    return "".join(event["delta"].get("text", "") for event in events if "delta" in event)


class TestMessages:
    def test_answers_gitlabs_description_composer(self, proxied, trusted, backend):
        proxied.use("house", feature="description_composer")
        token = trusted.token(scopes=["description_composer"])
        headers = trusted.headers(token, **{"X-Gitlab-Unit-Primitive": "description_composer"})

        answer = post(f"/v1/proxy/{MESSAGES}", COMPOSED, headers=headers)

        assert answer.json["content"] == [{"type": "text", "text": TEXT}]
        assert backend.calls[0].body == {
            "model": "house",
            "messages": [
                {"role": "system", "content": "You write descriptions."},
                {"role": "user", "content": "Describe this change."},
            ],
            "max_tokens": 2048,
            "temperature": 0.0,
        }

    def test_streams_the_same_text(self, proxied):
        proxied.use()

        events = parsed(proxied(MESSAGES, {**COMPOSED, "stream": True}).body)

        assert text_of(events) == TEXT
        assert events[0]["message"]["usage"]["input_tokens"] > 0
        assert events[-2]["usage"]["output_tokens"] == 16

    def test_shows_nothing_of_a_models_reasoning(self, proxied):
        proxied.use("think")

        whole = proxied(MESSAGES, COMPOSED).json["content"][0]["text"]
        events = parsed(proxied(MESSAGES, {**COMPOSED, "stream": True}).body)

        assert whole == text_of(events) == TEXT

    @pytest.mark.parametrize("is_streamed", [True, False])
    def test_calls_a_tool_and_takes_its_result(self, proxied, backend, is_streamed):
        proxied.use("tools")
        body = {**COMPOSED, "tools": [TOOL], "tool_choice": {"type": "auto"}}

        first = proxied(MESSAGES, {**body, "stream": is_streamed})

        if is_streamed:
            events = parsed(first.body)
            (started,) = [e["content_block"] for e in events if "content_block" in e]
            use = {**started, "input": {"query": "tiny"}}
            assert events[-2]["delta"]["stop_reason"] == "tool_use"
        else:
            (use,) = first.json["content"]
            assert first.json["stop_reason"] == "tool_use"
        assert use == {
            "type": "tool_use",
            "id": "call_0",
            "name": "lookup",
            "input": {"query": "tiny"},
        }
        result = {"type": "tool_result", "tool_use_id": use["id"], "content": "42"}
        said = [
            *COMPOSED["messages"],
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result]},
        ]
        second = proxied(MESSAGES, {**body, "messages": said})
        assert second.json["content"][0]["text"] == TEXT
        assert backend.calls[1].body["messages"][2:] == [
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "call_0",
                        "type": "function",
                        "function": {"name": "lookup", "arguments": '{"query":"tiny"}'},
                    }
                ],
            },
            {"role": "tool", "content": "42", "tool_call_id": "call_0"},
        ]

    def test_sends_images_on_as_data(self, proxied, backend):
        proxied.use()
        text = {"type": "text", "text": "What is this?"}

        proxied(MESSAGES, {**COMPOSED, "messages": [{"role": "user", "content": [PICTURE, text]}]})

        assert backend.calls[0].body["messages"][1]["content"] == [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            text,
        ]

    def test_limits_the_answer_to_the_window(self, proxied, backend):
        proxied.use(context_window=1_000)

        proxied(MESSAGES, COMPOSED)

        assert 250 <= backend.calls[0].body["max_tokens"] < 1_000


class TestCountTokens:
    def test_counts_without_asking_a_model(self, proxied, backend):
        answer = proxied(COUNT, {"model": "claude", "messages": COMPOSED["messages"]})

        assert (answer.status, answer.json) == (200, {"input_tokens": 7})
        assert not backend.calls
        assert not InferenceRecord.objects.exists()

    def test_counts_tools_too(self, proxied):
        body = {"model": "claude", "messages": COMPOSED["messages"]}

        with_tools = proxied(COUNT, {**body, "tools": [TOOL]}).json["input_tokens"]

        assert with_tools > 7

    def test_refuses_what_the_messages_refuse(self, proxied):
        answer = proxied(COUNT, {"model": "claude", "messages": []})

        assert answer.status == 400
        assert answer.json["error"]["type"] == "invalid_request_error"


class TestLlamaCpp:
    """A real llama.cpp server with a tiny model whose answers are known."""

    def test_answers_whole_and_streamed(self, tiny):
        body = {**COMPOSED, "max_tokens": 50}

        whole = tiny(MESSAGES, body)
        events = parsed(tiny(MESSAGES, {**body, "stream": True}).body)

        assert whole.json["content"][0]["text"] == text_of(events) == CHAT_TEXT
        assert whole.json["stop_reason"] == events[-2]["delta"]["stop_reason"] == "end_turn"
        assert whole.json["usage"]["output_tokens"] == events[-2]["usage"]["output_tokens"] == 10

    def test_calls_a_tool_and_takes_its_result(self, tiny):
        body = {**COMPOSED, "tools": [TOOL]}

        (use,) = tiny(MESSAGES, body).json["content"]
        events = parsed(tiny(MESSAGES, {**body, "stream": True}).body)

        assert (use["name"], use["input"]) == ("lookup", {"query": "tiny"})
        (streamed,) = [e["content_block"] for e in events if "content_block" in e]
        assert streamed["name"] == "lookup"
        said = [
            *COMPOSED["messages"],
            {"role": "assistant", "content": [use]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": use["id"], "content": "42"}],
            },
        ]
        last = tiny(MESSAGES, {**body, "messages": said}).json
        assert last["content"][0]["text"] == CHAT_TEXT

    def test_says_that_a_conversation_is_too_long(self, tiny):
        long = {**COMPOSED, "messages": [{"role": "user", "content": "hi " * 20_000}]}

        answer = tiny(MESSAGES, long)

        assert answer.status == 400
        assert answer.json["error"] == {
            "type": "invalid_request_error",
            "message": "The prompt is too long for the model.",
        }
