"""Promises of models_registry/providers/types.py."""

import orjson
import pytest

from models_registry.providers.types import Message, ModelConfig, Prompt, ToolCall, text_of

CHAT = Prompt(messages=(Message(role="user", content="hi"),), max_tokens=5, stop=("a", "b"))
TEXT = Prompt(text="<fim>", temperature=0.0)
CALL = ToolCall(id="call_1", name="lookup", arguments='{"query": "tiny"}')
PICTURE = ({"type": "text", "text": "See:"}, {"type": "image_url", "image_url": {"url": "data:"}})
OWN = Prompt(
    messages=(
        Message(role="user", content="See:", parts=PICTURE),
        Message(role="assistant", content="", tool_calls=(CALL, CALL)),
        Message(role="tool", content="42", tool_call_id="call_1"),
    ),
    top_p=0.0,
    presence_penalty=0.5,
    frequency_penalty=-0.5,
    seed=0,
    tools=({"type": "function", "function": {"name": "lookup"}},),
    tool_choice={"type": "function", "function": {"name": "lookup"}},
    parallel_tool_calls=False,
    response_format={"type": "json_object"},
)
# A record as it was written before there were tools.
OLD = {
    "messages": [{"role": "user", "content": "hi"}],
    "text": None,
    "max_tokens": 5,
    "temperature": None,
    "stop": ["a", "b"],
}


class TestPrompt:
    @pytest.mark.parametrize("prompt", [CHAT, TEXT, OWN, Prompt()])
    def test_is_the_same_after_it_was_recorded(self, prompt):
        stored = orjson.loads(orjson.dumps(prompt.as_dict()))

        assert Prompt.from_dict(stored) == prompt

    def test_is_read_from_an_old_record_and_written_like_one(self):
        assert Prompt.from_dict(OLD) == CHAT
        assert orjson.loads(orjson.dumps(CHAT.as_dict())) == OLD


class TestMessage:
    def test_is_what_openai_calls_one(self):
        picture, call, result = (message.as_dict() for message in OWN.messages)

        assert picture == {"role": "user", "content": PICTURE}
        function = {"name": "lookup", "arguments": '{"query": "tiny"}'}
        assert call["tool_calls"][0] == {"id": "call_1", "type": "function", "function": function}
        assert result == {"role": "tool", "content": "42", "tool_call_id": "call_1"}


class TestTextOf:
    def test_leaves_out_what_is_no_text(self):
        assert text_of([*PICTURE, {"type": "text", "text": "More."}]) == "See:\nMore."


class TestModelConfig:
    def test_never_shows_its_key(self):
        config = ModelConfig(
            revision_id=1,
            model_id=1,
            name="m",
            family="general",
            provider="echo",
            endpoint="",
            identifier="",
            api_key="sk-canary",
        )

        assert "sk-canary" not in repr(config)
