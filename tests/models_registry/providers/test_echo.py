"""The model without a backend."""

from __future__ import annotations

import socket
import time

import pytest

from models_registry.egress import Cancellation, Limits
from models_registry.errors import BatchTooLarge, InferenceCancelled
from models_registry.providers import get_provider
from models_registry.providers.embedding import Texts
from models_registry.providers.types import Message, ModelConfig, Prompt

MODEL = ModelConfig(
    revision_id=1,
    model_id=1,
    name="echo",
    family="general",
    provider="echo",
    endpoint="",
    identifier="",
    api_key="",
)
ECHO = get_provider("echo")


def limits() -> Limits:
    return Limits(deadline_at=time.monotonic() + 5, first_byte_s=5, idle_s=5, max_bytes=10_000)


def chat(*contents: str) -> Prompt:
    return Prompt(messages=tuple(Message(role="user", content=content) for content in contents))


class TestEcho:
    @pytest.mark.parametrize(
        ("prompt", "text"),
        [
            (chat("first", "def add(a, b):"), "# echo: def add(a, b):"),
            (chat("one\ntwo\n\n  \n"), "# echo: two"),
            (Prompt(text="one\n  two three"), "# echo: two three"),
            (Prompt(text=""), "# echo: nothing"),
            (chat(""), "# echo: nothing"),
            (Prompt(), "# echo: nothing"),
            (chat("x" * 500), f"# echo: {'x' * 200}"),
        ],
    )
    def test_repeats_the_last_line(self, prompt, text):
        assert ECHO.complete(prompt, MODEL, limits=limits()).text == text

    def test_calls_no_tool(self):
        tool = {"type": "function", "function": {"name": "lookup"}}
        prompt = Prompt(messages=chat("hi").messages, tools=(tool,), tool_choice="required")

        completion = ECHO.complete(prompt, MODEL, limits=limits())

        assert (completion.text, completion.tool_calls) == ("# echo: hi", ())

    def test_counts_words(self):
        completion = ECHO.complete(chat("one two three"), MODEL, limits=limits())

        assert (completion.prompt_tokens, completion.completion_tokens) == (3, 5)
        assert completion.finish_reason == "stop"

    def test_streams_the_same_answer_word_by_word(self):
        prompt = chat("one  two three")

        deltas = list(ECHO.stream(prompt, MODEL, limits=limits()))

        whole = ECHO.complete(prompt, MODEL, limits=limits())
        assert "".join(delta.text for delta in deltas) == whole.text
        assert [delta.text for delta in deltas[:3]] == ["#", " echo:", " one"]
        assert deltas[-1].finish_reason == "stop"
        assert deltas[-1].completion_tokens == whole.completion_tokens

    def test_opens_no_connection(self, monkeypatch):
        monkeypatch.setattr(socket, "socket", None)

        assert list(ECHO.stream(chat("hello"), MODEL, limits=limits()))

    def test_stops_when_cancelled(self):
        cancellation = Cancellation()
        deltas = ECHO.stream(
            chat("one two three"), MODEL, limits=limits(), cancellation=cancellation
        )
        next(deltas)

        cancellation.cancel()

        with pytest.raises(InferenceCancelled):
            next(deltas)
        with pytest.raises(InferenceCancelled):
            ECHO.complete(chat("one"), MODEL, limits=limits(), cancellation=cancellation)


class TestEmbed:
    def embed(self, *texts, dimensions=None, **options):
        asked = Texts(texts=texts, dimensions=dimensions)
        return ECHO.embed(asked, MODEL, **{"limits": limits(), **options})

    def test_gives_equal_texts_equal_vectors_and_others_others(self):
        one, other, again = self.embed("a", "b", "a").vectors

        assert one == again != other
        assert self.embed("a").vectors == (one,)

    @pytest.mark.parametrize(("dimensions", "length"), [(None, 64), (1, 1), (300, 300)])
    def test_gives_as_many_numbers_as_are_asked_for(self, dimensions, length):
        (vector,) = self.embed("a", dimensions=dimensions).vectors

        assert len(vector) == length
        assert all(-1 <= number < 1 for number in vector)

    def test_counts_words(self):
        assert self.embed("one two", "three").prompt_tokens == 3

    def test_refuses_what_would_be_no_answer_any_more(self):
        with pytest.raises(BatchTooLarge):
            self.embed("a", "b", dimensions=501)

    def test_stops_when_cancelled(self):
        cancellation = Cancellation()
        cancellation.cancel()

        with pytest.raises(InferenceCancelled):
            self.embed("a", cancellation=cancellation)
