"""OpenAI's wire format: what is sent for which prompt and which model."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from models_registry.errors import BackendAuthFailed, ContextTooLong, ModelMisconfigured
from models_registry.providers.embedding import Texts
from models_registry.providers.openai_compatible import OpenAICompatible
from models_registry.providers.types import Message, ModelConfig, Prompt, ToolCall
from tests.models_registry.providers import CHAT, limits, model_of
from tests.rig.llama import CHAT_TEXT, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, FIM_TEXT

PROVIDER = OpenAICompatible()
PREFILLED = Prompt(
    messages=(
        Message(role="user", content="Write code."),
        Message(role="assistant", content="<new_code>"),
    )
)
TEXT = Prompt(text="<PRE>def <SUF><MID>", max_tokens=64, stop=("<EOT>",))


def model(**fields: Any) -> ModelConfig:
    facts = {"endpoint": "http://llm.example.com:8000/v1", "identifier": "custom_openai/house"}
    return model_of("openai_compatible", **(facts | fields))


class TestBuild:
    def test_asks_a_chat(self):
        request = PROVIDER.build(CHAT, model(), is_streamed=False)

        assert request.url == "http://llm.example.com:8000/v1/chat/completions"
        assert request.headers == {"Authorization": "Bearer key"}
        assert request.body == {
            "model": "house",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Say hello."},
            ],
            "max_tokens": 16,
            "temperature": 0.0,
        }

    def test_asks_to_complete_a_text(self):
        request = PROVIDER.build(TEXT, model(), is_streamed=False)

        assert request.url == "http://llm.example.com:8000/v1/completions"
        assert request.body == {
            "model": "house",
            "prompt": "<PRE>def <SUF><MID>",
            "max_tokens": 64,
            "stop": ["<EOT>"],
        }

    def test_an_empty_text_is_a_text(self):
        request = PROVIDER.build(Prompt(text=""), model(), is_streamed=False)

        assert request.body == {"model": "house", "prompt": ""}

    @pytest.mark.parametrize("prompt", [CHAT, TEXT])
    def test_asks_for_the_tokens_of_a_stream(self, prompt):
        body = PROVIDER.build(prompt, model(), is_streamed=True).body

        assert body["stream"] is True
        assert body["stream_options"] == {"include_usage": True}

    def test_sends_at_most_four_stops(self):
        prompt = Prompt(text="x", stop=("a", "b", "c", "d", "e"))

        assert PROVIDER.build(prompt, model(), is_streamed=False).body["stop"] == list("abcd")

    def test_sends_the_dummy_key_without_one(self):
        request = PROVIDER.build(CHAT, model(api_key=""), is_streamed=False)

        assert request.headers == {"Authorization": "Bearer dummy_key"}

    @pytest.mark.parametrize(
        "fields",
        [
            {"is_reasoning": True},
            {"identifier": "openai/gpt-5"},
            {"identifier": "gpt-5-mini"},
            {"identifier": "openai/GPT-5.1-chat"},
            {"identifier": "o1"},
            {"identifier": "openai/o3-mini"},
            {"identifier": "o4-mini-2025"},
        ],
    )
    def test_limits_a_reasoning_model_in_its_own_way(self, fields):
        prompt = replace(CHAT, stop=("Observation:",))

        body = PROVIDER.build(prompt, model(**fields), is_streamed=False).body

        assert body["max_completion_tokens"] == 16
        assert not {"max_tokens", "temperature", "stop"} & set(body)

    @pytest.mark.parametrize(
        "identifier", ["gpt-4o", "gpt-50", "olmo1", "foo1", "o10", "solo3", "gpt-oss-20b"]
    )
    def test_takes_no_other_for_a_reasoning_model(self, identifier):
        body = PROVIDER.build(CHAT, model(identifier=identifier), is_streamed=False).body

        assert (body["max_tokens"], body["temperature"]) == (16, 0.0)

    @pytest.mark.parametrize("name", ["claude-opus-4-7", "claude_opus_4_8", "claude-sonnet-5"])
    def test_sends_no_temperature_where_it_is_refused(self, name):
        body = PROVIDER.build(CHAT, model(identifier=name), is_streamed=False).body

        assert body["max_tokens"] == 16
        assert "temperature" not in body

    @pytest.mark.parametrize(
        ("prompt", "fields", "is_continued"),
        [
            (PREFILLED, {"takes_prefill": True}, True),
            (PREFILLED, {"family": "mistral"}, True),
            (PREFILLED, {"family": "mixtral"}, False),
            (PREFILLED, {}, False),
            (CHAT, {"takes_prefill": True, "family": "mistral"}, False),
        ],
    )
    def test_lets_a_server_go_on_with_a_begun_answer(self, prompt, fields, is_continued):
        body = PROVIDER.build(prompt, model(**fields), is_streamed=False).body

        assert body.get("continue_final_message") is (True if is_continued else None)
        assert body.get("add_generation_prompt") is (False if is_continued else None)

    def test_sends_a_conversation_as_it_was_brought(self):
        call = ToolCall(id="call_1", name="lookup", arguments="{}")
        tool = {"type": "function", "function": {"name": "lookup"}}
        prompt = Prompt(
            messages=(
                Message(role="user", content="Look it up."),
                Message(role="assistant", content="", tool_calls=(call,)),
                Message(role="tool", content="42", tool_call_id="call_1"),
            ),
            seed=7,
            tools=(tool,),
            tool_choice="required",
            parallel_tool_calls=False,
            response_format={"type": "json_object"},
        )

        assert PROVIDER.build(prompt, model(), is_streamed=False).body == {
            "model": "house",
            "messages": [
                {"role": "user", "content": "Look it up."},
                {"role": "assistant", "content": "", "tool_calls": [call.as_dict()]},
                {"role": "tool", "content": "42", "tool_call_id": "call_1"},
            ],
            "seed": 7,
            "tools": (tool,),
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "response_format": {"type": "json_object"},
        }

    @pytest.mark.parametrize(
        ("fields", "is_sent"),
        [({}, True), ({"is_reasoning": True}, False), ({"identifier": "claude-opus-4-7"}, False)],
    )
    def test_sends_no_sampling_where_temperature_is_refused(self, fields, is_sent):
        sampling = {"top_p": 0.5, "presence_penalty": 0.5, "frequency_penalty": 0.5}
        prompt = Prompt(messages=CHAT.messages, seed=7, **sampling)

        body = PROVIDER.build(prompt, model(**fields), is_streamed=False).body

        assert body["seed"] == 7
        assert sampling.keys() & body.keys() == (sampling.keys() if is_sent else set())

    def test_names_what_is_missing(self):
        with pytest.raises(ModelMisconfigured, match="endpoint"):
            PROVIDER.build(CHAT, model(endpoint=""), is_streamed=False)


class TestBuildEmbedding:
    def test_asks_for_numbers(self):
        request = PROVIDER.build_embedding(Texts(texts=("a", "b")), model())

        assert request.url == "http://llm.example.com:8000/v1/embeddings"
        assert request.headers == {"Authorization": "Bearer key"}
        assert request.body == {"model": "house", "input": ["a", "b"], "encoding_format": "float"}

    def test_passes_on_how_many(self):
        request = PROVIDER.build_embedding(Texts(texts=("a",), dimensions=256), model())

        assert request.body["dimensions"] == 256

    def test_calls_a_model_without_an_identifier_by_its_family(self):
        config = model(identifier="", family="embedding")

        request = PROVIDER.build_embedding(Texts(texts=("a",)), config)

        assert request.body["model"] == "embedding"

    @pytest.mark.parametrize("endpoint", ["", "http://bedrockselfhostedmodel.com"])
    def test_refuses_an_endpoint_that_is_none(self, endpoint):
        with pytest.raises(ModelMisconfigured):
            PROVIDER.build_embedding(Texts(texts=("a",)), model(endpoint=endpoint))


class TestLlamaCpp:
    @pytest.mark.parametrize(
        ("prompt", "text"),
        [
            (CHAT, CHAT_TEXT),
            (Prompt(text=f"{FIM_PREFIX}def {FIM_SUFFIX}{FIM_MIDDLE}", max_tokens=64), FIM_TEXT),
        ],
    )
    def test_answers_the_same_whole_and_streamed(self, llama, prompt, text):
        config = model(endpoint=llama.endpoint, identifier=llama.model, api_key=llama.api_key)

        whole = PROVIDER.complete(prompt, config, limits=limits())
        deltas = list(PROVIDER.stream(prompt, config, limits=limits()))

        assert whole.text == text
        assert "".join(delta.text for delta in deltas) == text
        assert deltas[-1].finish_reason == whole.finish_reason == "stop"
        assert deltas[-1].completion_tokens == whole.completion_tokens

    def test_calls_the_same_tool_whole_and_streamed(self, llama):
        config = model(endpoint=llama.endpoint, identifier=llama.model, api_key=llama.api_key)
        parameters = {"type": "object", "properties": {"query": {"type": "string"}}}
        tool = {"type": "function", "function": {"name": "lookup", "parameters": parameters}}
        prompt = Prompt(messages=CHAT.messages, tools=(tool,))

        whole = PROVIDER.complete(prompt, config, limits=limits())
        deltas = list(PROVIDER.stream(prompt, config, limits=limits()))

        (called,), (streamed,) = whole.tool_calls, deltas[-1].tool_calls
        assert (called.name, json.loads(called.arguments)) == ("lookup", {"query": "tiny"})
        assert (streamed.name, streamed.arguments) == (called.name, called.arguments)
        assert deltas[-1].finish_reason == whole.finish_reason == "tool_calls"

    def test_says_that_the_key_is_wrong(self, llama):
        config = model(endpoint=llama.endpoint, identifier=llama.model, api_key="wrong")

        with pytest.raises(BackendAuthFailed):
            PROVIDER.complete(CHAT, config, limits=limits())

    @pytest.mark.parametrize("is_streamed", [True, False])
    def test_says_that_the_prompt_is_too_long(self, llama, is_streamed):
        config = model(endpoint=llama.endpoint, identifier=llama.model, api_key=llama.api_key)
        prompt = Prompt(text="left plus right " * 20_000, max_tokens=16)
        ask = PROVIDER.stream if is_streamed else PROVIDER.complete

        with pytest.raises(ContextTooLong):
            list(ask(prompt, config, limits=limits()))
