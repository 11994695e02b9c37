"""Promises of gateway/api/vendors/openai_chat.py: bodies in, completions and chunks out."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.api.vendors.formats import BadRequest
from gateway.api.vendors.openai_chat import OpenAIChat
from models_registry.providers.types import Message, Prompt
from tests.gateway.api.vendors import (
    CALL,
    OTHER,
    PNG,
    RECORD,
    SCHEMA,
    answered,
    read,
    streamed,
    written,
)

FORM = OpenAIChat()
ASKED = {"model": "gpt-5", "messages": [{"role": "user", "content": "Hi."}]}
IMAGE = {"type": "image_url", "image_url": {"url": PNG}}
TOOL = {"type": "function", "function": {"name": "lookup", "parameters": SCHEMA, "strict": True}}
CHOSEN = {"type": "function", "function": {"name": "lookup"}}


def asked(*messages, **changes):
    return {**ASKED, "messages": list(messages), **changes}


class TestConversation:
    def test_is_the_messages_and_the_parameters(self):
        body = asked(
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Hi.", "name": "ann"},
            max_tokens=50,
            temperature=0,
            top_p=0.9,
            presence_penalty=1,
            frequency_penalty=-1,
            seed=7,
            stop="END",
            n=1,
            stream=True,
        )

        assert read(FORM, body) == Prompt(
            messages=(
                Message(role="system", content="Be brief."),
                Message(role="user", content="Hi."),
            ),
            max_tokens=50,
            temperature=0.0,
            top_p=0.9,
            presence_penalty=1.0,
            frequency_penalty=-1.0,
            seed=7,
            stop=("END",),
        )

    def test_takes_the_newer_limit_first(self):
        body = {**ASKED, "max_tokens": 5, "max_completion_tokens": 6}

        assert read(FORM, body).max_tokens == 6

    def test_joins_parts_of_text_and_keeps_images(self):
        text = {"type": "text", "text": "a"}
        refusal = {"type": "refusal", "refusal": "No."}
        picture = {**IMAGE, "image_url": {"url": PNG, "detail": "low"}}
        body = asked(
            {"role": "system", "content": [text, text]},
            {"role": "user", "content": [text, picture]},
            {"role": "assistant", "content": [refusal]},
        )

        system, user, assistant = read(FORM, body).messages

        assert system.content == "a\na"
        assert user == Message(role="user", content="a", parts=(text, IMAGE))
        assert assistant.content == "No."

    def test_holds_calls_of_tools_and_what_they_returned(self):
        body = asked(
            {"role": "assistant", "content": None, "tool_calls": [CALL.as_dict()]},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "42"}]},
            tools=[TOOL],
        )

        assert read(FORM, body).messages == (
            Message(role="assistant", content="", tool_calls=(CALL,)),
            Message(role="tool", content="42", tool_call_id="call_1"),
        )

    @pytest.mark.parametrize("choice", [None, "none", "auto", "required", CHOSEN])
    def test_holds_the_tools_and_their_choice(self, choice):
        body = {**ASKED, "tools": [TOOL], "tool_choice": choice, "parallel_tool_calls": False}

        prompt = read(FORM, body)

        assert prompt.tools == (TOOL,)
        assert (prompt.tool_choice, prompt.parallel_tool_calls) == (choice, False)

    @pytest.mark.parametrize(
        ("wanted", "sent"),
        [
            (None, None),
            ({"type": "text"}, None),
            ({"type": "json_object"}, {"type": "json_object"}),
            (
                {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
                {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
            ),
        ],
    )
    def test_holds_the_form_of_the_answer(self, wanted, sent):
        assert read(FORM, {**ASKED, "response_format": wanted}).response_format == sent

    def test_ignores_wishes_that_change_nothing_here(self):
        wishes = {
            "user": "u",
            "store": True,
            "reasoning_effort": "high",
            "logprobs": False,
            "functions": [],
            "logit_bias": {},
            "unheard_of": 1,
        }

        assert read(FORM, {**ASKED, **wishes}) == read(FORM, ASKED)

    @pytest.mark.parametrize(
        "changes",
        [
            {"logprobs": True},
            {"top_logprobs": 2},
            {"logit_bias": {"5": 1}},
            {"functions": [{"name": "a"}]},
            {"function_call": "auto"},
            {"audio": {"voice": "a"}},
            {"web_search_options": {"a": 1}},
            {"tool_choice": "required"},
            {"tool_choice": CHOSEN},
            {"response_format": {"type": "json_schema"}},
            {
                "messages": [
                    {"role": "user", "content": [{**IMAGE, "image_url": {"url": "http://a"}}]}
                ]
            },
        ],
        ids=str,
    )
    def test_refuses_what_cannot_be_done(self, changes):
        with pytest.raises(BadRequest):
            read(FORM, {**ASKED, **changes})

    @pytest.mark.parametrize(
        "changes",
        [
            {"model": 5},
            {"messages": None},
            {"messages": []},
            {"messages": [5]},
            {"messages": [{"role": "function", "name": "a", "content": "b"}]},
            {"messages": [{"role": "user"}]},
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            {"messages": [{"role": "tool", "content": "42"}]},
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "type": "custom"}]}]},
            {"tools": [{"type": "web_search"}]},
            {"tools": [{"type": "function", "function": {"name": ""}}]},
            {"tool_choice": "sometimes"},
            {"n": 2},
            {"seed": 10**30},
            {"stop": ["a", "b", "c", "d", "e"]},
            {"temperature": 3},
            {"max_tokens": 0},
            {"response_format": {"type": "yaml"}},
        ],
        ids=str,
    )
    def test_refuses_a_body_of_another_shape(self, changes):
        with pytest.raises(ValidationError):
            read(FORM, {**ASKED, **changes})


class TestAnswer:
    def test_is_a_completion_with_one_choice(self):
        completion = answered(FORM, ASKED)

        assert abs(completion.pop("created") - 1_800_000_000) < 10**9
        assert completion == {
            "id": f"chatcmpl-{RECORD.hex}",
            "object": "chat.completion",
            "model": "gpt-5",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hello.", "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }

    def test_holds_calls_of_tools(self):
        (choice,) = answered(FORM, ASKED, text="", tool_calls=(CALL, OTHER))["choices"]

        assert choice["message"]["content"] is None
        assert choice["message"]["tool_calls"] == [CALL.as_dict(), OTHER.as_dict()]
        assert choice["finish_reason"] == "tool_calls"

    @pytest.mark.parametrize(
        ("reason", "said"),
        [("stop", "stop"), ("length", "length"), ("eos_token", "stop"), (None, "stop")],
    )
    def test_says_why_it_ended(self, reason, said):
        assert answered(FORM, ASKED, finish_reason=reason)["choices"][0]["finish_reason"] == said

    def test_that_was_cut_says_so_even_with_a_call(self):
        cut = answered(FORM, ASKED, finish_reason="length", tool_calls=(CALL,))

        assert cut["choices"][0]["finish_reason"] == "length"


class TestWriter:
    def test_writes_a_chunk_for_each_piece(self):
        chunks = streamed(FORM, ASKED, "Hel", "", "lo.")

        assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
            {"role": "assistant", "content": "", "refusal": None},
            {"content": "Hel"},
            {"content": "lo."},
            {},
        ]
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [*[None] * 3, "stop"]
        assert {chunk["id"] for chunk in chunks} == {f"chatcmpl-{RECORD.hex}"}
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert "usage" not in chunks[0]

    def test_pings_with_a_comment_and_ends_with_a_mark(self):
        events = written(FORM, ASKED, "", "Hello.")

        assert events[1] == ": ping"
        assert events[-1] == "data: [DONE]"

    def test_writes_the_usage_where_it_is_wanted(self):
        chunks = streamed(FORM, {**ASKED, "stream_options": {"include_usage": True}}, "Hello.")

        assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"] == {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 5,
        }

    def test_writes_all_calls_of_tools_at_once(self):
        chunks = streamed(FORM, ASKED, tool_calls=(CALL, OTHER))

        assert chunks[1]["choices"][0]["delta"] == {
            "tool_calls": [{"index": 0, **CALL.as_dict()}, {"index": 1, **OTHER.as_dict()}]
        }
        assert chunks[2]["choices"][0]["finish_reason"] == "tool_calls"

    def test_says_that_it_broke_off_and_never_that_it_is_done(self):
        *_, failure, end = written(FORM, ASKED, "Hel", breaks_off=True)

        assert failure == (
            'data: {"error":{"message":"The model server failed.","type":"server_error",'
            '"param":null,"code":"backend_failed"}}'
        )
        assert end == "(cut)"


class TestError:
    @pytest.mark.parametrize(
        ("status", "code", "kind", "known"),
        [
            (400, "", "invalid_request_error", None),
            (400, "context_too_long", "invalid_request_error", "context_length_exceeded"),
            (403, "feature_disabled", "permission_error", "feature_disabled"),
            (404, "", "invalid_request_error", None),
            (429, "backend_rate_limited", "rate_limit_error", "backend_rate_limited"),
            (503, "backend_failed", "server_error", "backend_failed"),
        ],
    )
    def test_has_the_type_of_its_status_and_a_code(self, status, code, kind, known):
        assert FORM.error(status, "Why.", code=code, param="n") == {
            "error": {"message": "Why.", "type": kind, "param": "n", "code": known}
        }
