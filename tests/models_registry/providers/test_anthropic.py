"""Anthropic's Messages API: what is sent, and what is read of answers and events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models_registry.connection_test import State, run
from models_registry.errors import (
    BackendAuthFailed,
    BackendFailed,
    BackendNotFound,
    BackendRateLimited,
    ContextTooLong,
    MalformedReply,
    ModelMisconfigured,
)
from models_registry.providers.anthropic import MAX_TOKENS, Anthropic
from models_registry.providers.base import TOOL_CALLS_MAX
from models_registry.providers.sse import Event
from models_registry.providers.types import Message, ModelConfig, Prompt, ToolCall
from tests.models_registry.providers import CHAT, PARAMETERS, TOOL, limits, model_of
from tests.rig.backend import TEXT
from tests.rig.llama import CHAT_TEXT

PROVIDER = Anthropic()


def model(endpoint: str = "https://llm.example.com", **fields: Any) -> ModelConfig:
    facts = {"identifier": "anthropic/claude-sonnet-4-5", "endpoint": endpoint}
    return model_of("anthropic", **(facts | fields))


def body_of(prompt: Prompt, **fields: Any) -> Any:
    return PROVIDER.build(prompt, model(**fields), is_streamed=False).body


def asked(**fields: Any) -> Prompt:
    return Prompt(messages=CHAT.messages, **fields)


class TestBuild:
    @pytest.mark.parametrize("endpoint", ["https://llm.example.com", "https://llm.example.com/v1"])
    def test_asks_for_a_message(self, endpoint):
        request = PROVIDER.build(CHAT, model(endpoint), is_streamed=False)

        assert request.url == "https://llm.example.com/v1/messages"
        assert request.headers == {"x-api-key": "key", "anthropic-version": "2023-06-01"}
        assert request.body == {
            "model": "claude-sonnet-4-5",
            "max_tokens": 16,
            "system": "Be brief.",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}],
            "temperature": 0.0,
        }

    def test_asks_for_a_stream(self):
        body = PROVIDER.build(CHAT, model(), is_streamed=True).body

        assert body["stream"] is True

    def test_limits_the_answer_of_a_prompt_without_a_limit(self):
        assert body_of(asked())["max_tokens"] == MAX_TOKENS

    def test_sends_what_was_brought(self):
        call = ToolCall(id="call_1", name="lookup", arguments='{"query": "tiny"}')
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
        prompt = Prompt(
            messages=(
                Message(role="user", content="", parts=(image,)),
                Message(role="assistant", content="Wait.", tool_calls=(call,)),
                Message(role="tool", content="42", tool_call_id="call_1"),
            ),
            tools=(TOOL,),
            stop=("END",),
            seed=7,
            presence_penalty=0.5,
        )

        assert body_of(prompt) == {
            "model": "claude-sonnet-4-5",
            "max_tokens": MAX_TOKENS,
            "stop_sequences": ["END"],
            "tools": [{"name": "lookup", "description": "Looks up.", "input_schema": PARAMETERS}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image",
                            "source": {
                                "type": "base64",
                                "media_type": "image/png",
                                "data": "aGk=",
                            },
                        }
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "Wait."},
                        {
                            "type": "tool_use",
                            "id": "call_1",
                            "name": "lookup",
                            "input": {"query": "tiny"},
                        },
                    ],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "42"}],
                },
            ],
        }

    @pytest.mark.parametrize(
        ("fields", "choice"),
        [
            ({}, None),
            ({"tool_choice": "auto"}, None),
            ({"tool_choice": "required"}, {"type": "any"}),
            ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
            (
                {"tool_choice": {"type": "function", "function": {"name": "lookup"}}},
                {"type": "tool", "name": "lookup"},
            ),
            ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ],
    )
    def test_says_which_tool_is_to_be_called(self, fields, choice):
        assert body_of(asked(tools=(TOOL,), **fields)).get("tool_choice") == choice

    def test_gives_a_tool_without_parameters_an_empty_schema(self):
        tool = {"type": "function", "function": {"name": "now"}}

        assert body_of(asked(tools=(tool,)))["tools"] == [
            {"name": "now", "input_schema": {"type": "object"}}
        ]

    def test_says_which_schema_the_answer_is_to_fit(self):
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": PARAMETERS}}

        assert body_of(asked(response_format=form))["output_config"] == {
            "format": {"type": "json_schema", "schema": PARAMETERS}
        }

    def test_refuses_a_text_to_complete(self):
        with pytest.raises(ModelMisconfigured, match="native"):
            body_of(Prompt(text="def"))

    def test_names_what_is_missing(self):
        with pytest.raises(ModelMisconfigured, match="endpoint"):
            body_of(CHAT, endpoint="")


class TestParseReply:
    def test_reads_text_calls_and_tokens(self):
        completion = PROVIDER.parse_reply(
            {
                "type": "message",
                "content": [
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "text", "text": "One"},
                    {"type": "text", "text": " two"},
                    {"type": "tool_use", "id": "t1", "name": "lookup", "input": {"q": 1}},
                    {"type": "tool_use", "id": "t2", "name": "now", "input": {}},
                ],
                "stop_reason": "tool_use",
                "usage": {
                    "input_tokens": 3,
                    "cache_read_input_tokens": 4,
                    "cache_creation_input_tokens": None,
                    "output_tokens": 5,
                },
            }
        )

        assert completion.text == "One two"
        assert completion.finish_reason == "tool_calls"
        assert (completion.prompt_tokens, completion.completion_tokens) == (7, 5)
        assert [(call.id, call.name, call.arguments) for call in completion.tool_calls] == [
            ("t1", "lookup", '{"q":1}'),
            ("t2", "now", "{}"),
        ]

    def test_raises_the_error_that_a_200_holds(self):
        with pytest.raises(BackendRateLimited):
            PROVIDER.parse_reply({"type": "error", "error": {"type": "rate_limit_error"}})

    def test_refuses_more_calls_than_anybody_makes(self):
        call = {"type": "tool_use", "id": "t", "name": "lookup", "input": {}}

        with pytest.raises(ValueError, match="too many"):
            PROVIDER.parse_reply({"content": [call] * (TOOL_CALLS_MAX + 1)})


class TestParseEvent:
    @pytest.mark.parametrize(
        "data",
        [
            {"type": "ping"},
            {"type": "content_block_stop", "index": 0},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "thinking_delta", "thinking": "hm"},
            },
            {"type": "tomorrows"},
        ],
    )
    def test_passes_over_what_is_no_answer(self, data):
        assert PROVIDER.parse_event(Event("", json.dumps(data))) is None

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            ({"type": "overloaded_error", "message": "Overloaded"}, BackendFailed),
            ({"type": "rate_limit_error", "message": "slow down"}, BackendRateLimited),
            (
                {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"},
                ContextTooLong,
            ),
        ],
    )
    def test_raises_errors(self, error, expected):
        with pytest.raises(expected):
            PROVIDER.parse_event(Event("error", json.dumps({"type": "error", "error": error})))


class TestAnthropic:
    def test_answers_the_same_whole_and_streamed(self, backend):
        backend.api_key = "key"

        whole = PROVIDER.complete(CHAT, model(backend.url), limits=limits())
        deltas = list(PROVIDER.stream(CHAT, model(backend.url), limits=limits()))

        assert whole.text == "".join(delta.text for delta in deltas) == TEXT
        assert whole.finish_reason == deltas[-1].finish_reason == "stop"
        assert whole.completion_tokens == deltas[-1].completion_tokens == 16
        assert deltas[-1].prompt_tokens > 1

    def test_calls_the_same_tool_whole_and_streamed(self, backend):
        config = model(backend.url, identifier="anthropic/tools")
        prompt = Prompt(messages=CHAT.messages, tools=(TOOL,))

        whole = PROVIDER.complete(prompt, config, limits=limits())
        deltas = list(PROVIDER.stream(prompt, config, limits=limits()))

        (called,), (streamed,) = whole.tool_calls, deltas[-1].tool_calls
        assert (called.name, json.loads(called.arguments)) == ("lookup", {"query": "tiny"})
        assert (streamed.name, json.loads(streamed.arguments)) == ("lookup", {"query": "tiny"})
        assert deltas[-1].finish_reason == whole.finish_reason == "tool_calls"

    @pytest.mark.parametrize("is_streamed", [True, False])
    @pytest.mark.parametrize(
        ("script", "error"),
        [
            ("err-401", BackendAuthFailed),
            ("err-404", BackendNotFound),
            ("err-429", BackendRateLimited),
            ("err-529", BackendFailed),
            ("toolong", ContextTooLong),
            ("cut-midstream", MalformedReply),
            ("garbage", MalformedReply),
            ("emptyjson", MalformedReply),
        ],
    )
    def test_says_what_went_wrong(self, backend, script, error, is_streamed):
        config = model(backend.url, identifier=f"anthropic/{script}")
        ask = PROVIDER.stream if is_streamed else PROVIDER.complete

        with pytest.raises(error) as failure:
            list(ask(CHAT, config, limits=limits()))

        assert getattr(failure.value, "retry_after_s", 7) == 7

    def test_never_takes_half_a_stream_for_a_whole_one(self, backend):
        config = model(backend.url, identifier="anthropic/err-midstream")
        pieces = PROVIDER.stream(CHAT, config, limits=limits())

        assert next(pieces).text == "def"
        with pytest.raises(BackendFailed):
            list(pieces)

    def test_needs_no_end_marker_behind_a_finish_reason(self, backend):
        config = model(backend.url, identifier="anthropic/nodone")

        *_, last = PROVIDER.stream(CHAT, config, limits=limits())

        assert last.finish_reason == "stop"


class TestConnectionTest:
    def test_passes_with_the_list(self, backend):
        backend.names = ["claude-sonnet-4-5"]

        states = {step.slug: step.state for step in run(model(backend.url))}

        assert set(states.values()) == {State.OK, State.SKIPPED}
        assert states["models"] == states["present"] == states["stream"] == State.OK


class TestLlamaCpp:
    def test_answers_the_same_whole_and_streamed(self, llama):
        config = model(llama.endpoint, identifier=llama.model, api_key=llama.api_key)

        whole = PROVIDER.complete(CHAT, config, limits=limits())
        deltas = list(PROVIDER.stream(CHAT, config, limits=limits()))

        assert whole.text == "".join(delta.text for delta in deltas) == CHAT_TEXT
        assert deltas[-1].finish_reason == whole.finish_reason == "stop"
        assert deltas[-1].completion_tokens == whole.completion_tokens

    def test_calls_the_same_tool_whole_and_streamed(self, llama):
        config = model(llama.endpoint, identifier=llama.model, api_key=llama.api_key)
        prompt = Prompt(messages=CHAT.messages, tools=(TOOL,))

        whole = PROVIDER.complete(prompt, config, limits=limits())
        deltas = list(PROVIDER.stream(prompt, config, limits=limits()))

        (called,), (streamed,) = whole.tool_calls, deltas[-1].tool_calls
        assert (called.name, json.loads(called.arguments)) == ("lookup", {"query": "tiny"})
        assert (streamed.name, json.loads(streamed.arguments)) == ("lookup", {"query": "tiny"})

    def test_says_that_the_key_is_wrong(self, llama):
        config = model(llama.endpoint, identifier=llama.model, api_key="wrong")

        with pytest.raises(BackendAuthFailed):
            PROVIDER.complete(CHAT, config, limits=limits())

    def test_lists_its_models(self, llama):
        config = model(llama.endpoint, identifier=llama.model, api_key=llama.api_key)

        assert llama.model in PROVIDER.list_models(config, limits=limits())
