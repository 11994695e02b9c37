"""Turns of content blocks: what becomes of a conversation."""

from __future__ import annotations

from typing import Any

import pytest

from models_registry.errors import ModelMisconfigured
from models_registry.providers.turns import (
    INVALID_JSON,
    chat,
    chosen,
    finish_reason,
    sampling,
    schema_of,
    stops,
    system_of,
    turns,
    usage,
)
from models_registry.providers.types import Message, ModelConfig, Prompt, ToolCall
from tests.models_registry.providers import model_of


class Written:
    """Blocks as the tests read them."""

    def text(self, text: str) -> Any:
        return text

    def image(self, media_type: str, data: str) -> Any:
        return (media_type, data)

    def call(self, call_id: str, name: str, arguments: Any) -> Any:
        return {call_id: (name, arguments)}

    def result(self, call_id: str, text: str) -> Any:
        return {call_id: text}


def said(role: str, content: str, **fields: Any) -> Message:
    return Message(role=role, content=content, **fields)


def called(arguments: str) -> ToolCall:
    return ToolCall(id="c1", name="lookup", arguments=arguments)


def model(identifier: str = "anthropic/claude-sonnet-4-5") -> ModelConfig:
    return model_of("anthropic", identifier=identifier)


class TestChat:
    def test_refuses_a_text_to_complete(self):
        with pytest.raises(ModelMisconfigured, match="native"):
            chat(Prompt(text="def"))


class TestSystemOf:
    def test_joins_what_the_system_says(self):
        messages = (
            said("system", "A."),
            said("user", "?"),
            said("system", " "),
            said("system", "B."),
        )

        assert system_of(messages) == "A.\n\nB."


class TestTurns:
    @pytest.mark.parametrize(
        ("messages", "expected"),
        [
            ((said("system", "A."), said("user", "B")), [("user", ["B"])]),
            ((said("user", "A"), said("user", "B")), [("user", ["A", "B"])]),
            (
                (said("user", "A"), said("assistant", "B"), said("user", "C")),
                [("user", ["A"]), ("assistant", ["B"]), ("user", ["C"])],
            ),
            (
                (said("user", "A"), said("assistant", " "), said("user", "C")),
                [("user", ["A", "C"])],
            ),
            (
                (said("user", "A "), said("assistant", "<code> \n")),
                [("user", ["A "]), ("assistant", ["<code>"])],
            ),
            (
                (
                    said("user", "A"),
                    said("assistant", "", tool_calls=(called('{"q": 1}'),)),
                    said("tool", "42", tool_call_id="c1"),
                    said("user", "And?"),
                ),
                [
                    ("user", ["A"]),
                    ("assistant", [{"c1": ("lookup", {"q": 1})}]),
                    ("user", [{"c1": "42"}, "And?"]),
                ],
            ),
        ],
    )
    def test_alternate(self, messages, expected):
        found = turns(messages, Written())

        assert [(turn["role"], turn["content"]) for turn in found] == expected

    def test_hold_images_in_their_place(self):
        parts = (
            {"type": "text", "text": "Before"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            {"type": "text", "text": "after"},
        )

        (turn,) = turns((said("user", "Before\nafter", parts=parts),), Written())

        assert turn["content"] == ["Before", ("image/png", "aGk="), "after"]

    @pytest.mark.parametrize("arguments", ["[1]", "{", "tiny"])
    def test_wrap_arguments_that_are_no_object(self, arguments):
        message = said("assistant", "", tool_calls=(called(arguments),))

        (turn,) = turns((message,), Written())

        assert turn["content"] == [{"c1": ("lookup", {INVALID_JSON: arguments})}]


class TestSampling:
    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"temperature": 0.2, "top_p": 0.5}, (0.2, None)),
            ({"temperature": 1.7}, (1.0, None)),
            ({"temperature": 0.0}, (0.0, None)),
            ({"top_p": 0.5}, (None, 0.5)),
            ({}, (None, None)),
        ],
    )
    def test_is_one_of_both(self, fields, expected):
        assert sampling(Prompt(**fields), model()) == expected

    def test_is_left_to_models_that_refuse_it(self):
        prompt = Prompt(temperature=0.2, top_p=0.5)

        assert sampling(prompt, model("anthropic/claude-opus-4-7")) == (None, None)


class TestStops:
    def test_leave_white_space_out(self):
        assert stops(Prompt(stop=("a", "\n\n", " b"))) == ["a", " b"]


class TestSchemaOf:
    def test_is_what_the_answer_is_to_fit(self):
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}

        assert schema_of(Prompt(response_format=form)) == {"type": "object"}

    @pytest.mark.parametrize("form", [None, {"type": "text"}, {"type": "json_object"}])
    def test_is_none_without_a_schema(self, form):
        assert schema_of(Prompt(response_format=form)) is None


class TestChosen:
    @pytest.mark.parametrize(
        ("choice", "name"),
        [
            (None, ""),
            ("auto", ""),
            ("required", ""),
            ({"type": "function", "function": {"name": "lookup"}}, "lookup"),
        ],
    )
    def test_is_the_tools_name(self, choice, name):
        assert chosen(Prompt(tool_choice=choice)) == name


class TestUsage:
    @pytest.mark.parametrize(
        ("counts", "expected"),
        [
            ({"a": 3, "c": 5}, (3, 5)),
            ({"a": 3, "b": 4}, (7, None)),
            ({"b": 4, "c": 0}, (None, 0)),
            ({"a": "x"}, (None, None)),
            (None, (None, None)),
        ],
    )
    def test_counts_a_prompt_from_the_cache_too(self, counts, expected):
        found = usage({"usage": counts}, prompt=("a", "b"), completion="c")

        assert (found["prompt_tokens"], found["completion_tokens"]) == expected


class TestFinishReason:
    @pytest.mark.parametrize(
        ("reason", "expected"),
        [
            ("end_turn", "stop"),
            ("max_tokens", "length"),
            ("tool_use", "tool_calls"),
            ("refusal", "content_filter"),
            ("guardrail_intervened", "content_filter"),
            ("tomorrows", "stop"),
            (None, None),
            (7, None),
        ],
    )
    def test_is_openais_word(self, reason, expected):
        assert finish_reason(reason) == expected
