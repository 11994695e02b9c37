"""Promises of prompts/conversations.py: nothing is added, nothing is lost, and it fits."""

from __future__ import annotations

import pytest

from models_registry.errors import ContextTooLong
from models_registry.providers.types import Message, Prompt
from prompts import conversations
from prompts.budget import IMAGE_TOKENS
from prompts.errors import PromptTooLarge
from prompts.renderer import MAX_PROMPT_BYTES

SYSTEM, MORE, USER = (
    Message(role="system", content="Be brief."),
    Message(role="system", content="Be kind."),
    Message(role="user", content="Hello."),
)


def fit(*messages, family="general", window_tokens=10_000, **facts):
    conversation = Prompt(messages=messages, **facts)
    return conversations.fit(conversation, family=family, window_tokens=window_tokens)


class TestFit:
    def test_keeps_everything_as_it_was_brought(self):
        conversation = Prompt(
            messages=(SYSTEM, USER),
            max_tokens=100,
            temperature=0.5,
            stop=("END",),
            seed=1,
            tools=({"type": "function"},),
            tool_choice="auto",
        )

        rendered = conversations.fit(conversation, family="general", window_tokens=10_000)

        assert rendered.prompt == conversation
        assert (rendered.version, rendered.digest, rendered.inputs) == ("caller's own", "", {})

    def test_sends_no_parameter_that_was_not_sent(self):
        prompt = fit(USER).prompt

        assert (prompt.max_tokens, prompt.temperature) == (None, None)

    @pytest.mark.parametrize(
        ("messages", "said"),
        [
            ((SYSTEM, MORE, USER), [("system", "Be brief.\n\nBe kind."), ("user", "Hello.")]),
            ((SYSTEM, MORE), [("system", "Be brief.\n\nBe kind.")]),
            ((USER, SYSTEM), [("user", "Hello."), ("system", "Be brief.")]),
            ((), []),
        ],
    )
    def test_joins_the_systems_messages_at_the_head(self, messages, said):
        assert [(m.role, m.content) for m in fit(*messages).prompt.messages] == said

    @pytest.mark.parametrize("family", ["general", "mixtral"])
    def test_leaves_a_text_as_it_is(self, family):
        assert fit(text="def a(", family=family).prompt == Prompt(text="def a(")

    def test_gives_the_systems_words_to_the_user_where_there_is_no_system(self):
        picture = {"type": "image_url", "image_url": {"url": "data:"}}
        parts = ({"type": "text", "text": "Hello."}, picture)
        shown = Message(role="user", content="Hello.", parts=parts)

        (message,) = fit(SYSTEM, shown, family="codegemma").prompt.messages

        assert (message.role, message.content) == ("user", "Be brief.\n\nHello.")
        assert message.parts == ({"type": "text", "text": "Be brief."}, *parts)

    @pytest.mark.parametrize(
        ("size", "asked", "room"),
        [(3, 100, 100), (3, 10**30, 10_000 - 64 - 1), (27_000, 5_000, 2_500)],
    )
    def test_asks_for_no_longer_answer_than_there_is_room(self, size, asked, room):
        message = Message(role="user", content="x" * size)

        assert fit(message, max_tokens=asked).prompt.max_tokens == room

    def test_leaves_a_close_call_to_the_server(self):
        assert fit(Message(role="user", content="x" * 60_000)).prompt.messages

    def test_refuses_what_cannot_fit(self):
        with pytest.raises(ContextTooLong):
            fit(Message(role="user", content="x" * 100_000))

    def test_refuses_more_images_than_can_fit(self):
        picture = {"type": "image_url", "image_url": {"url": "data:"}}
        count = 3 * 10_000 // IMAGE_TOKENS + 1

        with pytest.raises(ContextTooLong):
            fit(Message(role="user", content="", parts=(picture,) * count))

    def test_refuses_what_is_too_large_for_any_window(self):
        with pytest.raises(PromptTooLarge):
            fit(Message(role="user", content="x" * (MAX_PROMPT_BYTES + 1)), window_tokens=10**9)
