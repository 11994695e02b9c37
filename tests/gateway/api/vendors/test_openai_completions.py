"""Promises of gateway/api/vendors/openai_completions.py: a text in, completions and chunks out."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.api.vendors.formats import BadRequest
from gateway.api.vendors.openai_completions import OpenAICompletions
from models_registry.providers.types import Prompt
from tests.gateway.api.vendors import RECORD, answered, read, streamed, written

FORM = OpenAICompletions()
ASKED = {"model": "house", "prompt": "def a("}


class TestConversation:
    def test_is_the_text_and_the_parameters(self):
        wishes = {"max_tokens": 50, "temperature": 0, "top_p": 0.9, "seed": 7, "stop": ["END"]}
        penalties = {"presence_penalty": 1, "frequency_penalty": -1}

        asked = read(FORM, {**ASKED, **wishes, **penalties, "user": "ann"})

        assert asked == Prompt(
            text="def a(",
            max_tokens=50,
            temperature=0,
            stop=("END",),
            top_p=0.9,
            presence_penalty=1,
            frequency_penalty=-1,
            seed=7,
        )

    def test_takes_a_list_of_one(self):
        assert read(FORM, {**ASKED, "prompt": ["def a("]}) == read(FORM, ASKED)

    @pytest.mark.parametrize("prompt", [[], ["a", "b"], [1, 2], [[1, 2]], None, 5])
    def test_takes_no_other_list(self, prompt):
        with pytest.raises(ValidationError):
            read(FORM, {**ASKED, "prompt": prompt})

    @pytest.mark.parametrize(
        "wish", [{"suffix": ")"}, {"echo": True}, {"logprobs": 1}, {"logit_bias": {"5": 1}}]
    )
    def test_refuses_what_cannot_be_done(self, wish):
        with pytest.raises(BadRequest, match="is not supported") as refused:
            read(FORM, {**ASKED, **wish})
        assert refused.value.param in wish

    @pytest.mark.parametrize("wish", [{"n": 2}, {"best_of": 2}, {"max_tokens": 0}])
    def test_refuses_several_answers(self, wish):
        with pytest.raises(ValidationError):
            read(FORM, {**ASKED, **wish})


class TestAnswer:
    def test_is_a_completion(self):
        answer = answered(FORM, ASKED, finish_reason="length")

        assert answer.pop("created") > 0
        choice = {"index": 0, "text": "Hello.", "logprobs": None, "finish_reason": "length"}
        assert answer == {
            "id": f"cmpl-{RECORD.hex}",
            "object": "text_completion",
            "model": "house",
            "choices": [choice],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }


class TestWriter:
    def test_writes_a_chunk_for_each_piece(self):
        chunks = streamed(FORM, ASKED, "Hel", "lo")

        assert {chunk["object"] for chunk in chunks} == {"text_completion"}
        choices = [chunk["choices"][0] for chunk in chunks]
        assert [choice["text"] for choice in choices] == ["", "Hel", "lo", ""]
        assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
        assert written(FORM, ASKED, "Hello")[-1] == "data: [DONE]"

    def test_writes_the_usage_if_it_is_wanted(self):
        wanted = {**ASKED, "stream_options": {"include_usage": True}}

        assert streamed(FORM, wanted, "Hello")[-1]["usage"]["total_tokens"] == 5

    def test_says_that_an_answer_broke_off(self):
        events = written(FORM, ASKED, "Hel", breaks_off=True)

        assert "The model server failed." in events[-2]
        assert events[-1] == "(cut)"
