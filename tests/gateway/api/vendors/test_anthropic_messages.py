"""Promises of gateway/api/vendors/anthropic_messages.py: bodies in, messages and events out."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.api.vendors.anthropic_messages import AnthropicMessages
from gateway.api.vendors.formats import BadRequest
from models_registry.providers.types import Message, Prompt, ToolCall
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

FORM = AnthropicMessages()
ASKED = {"model": "claude", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi."}]}
PICTURE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
}
IMAGE = {"type": "image_url", "image_url": {"url": PNG}}
TOOL = {"name": "lookup", "description": "Looks up.", "input_schema": SCHEMA}
FUNCTION = {
    "type": "function",
    "function": {"name": "lookup", "description": "Looks up.", "parameters": SCHEMA},
}


def asked(*content, **changes):
    return {**ASKED, "messages": [{"role": "user", "content": list(content)}], **changes}


class TestConversation:
    def test_is_the_messages_and_the_parameters(self):
        body = {
            **ASKED,
            "system": "Be brief.",
            "temperature": 0,
            "top_p": 0.9,
            "stop_sequences": ["END"],
            "stream": True,
        }

        assert read(FORM, body) == Prompt(
            messages=(
                Message(role="system", content="Be brief."),
                Message(role="user", content="Hi."),
            ),
            max_tokens=50,
            temperature=0.0,
            top_p=0.9,
            stop=("END",),
        )

    def test_joins_blocks_of_text(self):
        blocks = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]
        blocks.append({"type": "text", "text": "b"})

        prompt = read(FORM, asked(*blocks, system=blocks))

        assert [message.content for message in prompt.messages] == ["a\nb", "a\nb"]

    def test_keeps_images_where_they_stand(self):
        text = {"type": "text", "text": "What is this?"}

        (message,) = read(FORM, asked(text, PICTURE)).messages

        assert message.parts == (text, IMAGE)
        assert message.content == "What is this?"

    def test_holds_calls_of_tools_and_what_they_returned(self):
        use = {"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": {"query": "ü"}}
        thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
        text = {"type": "text", "text": "Let me see."}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"}
        more = {"type": "text", "text": "And now?"}
        body = asked("gone", tools=[TOOL], messages=[
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": [thought, text, use]},
            {"role": "user", "content": [result, more]},
        ])  # fmt: skip

        assert read(FORM, body).messages == (
            Message(role="user", content="Hi."),
            Message(
                role="assistant",
                content="Let me see.",
                tool_calls=(ToolCall(id="toolu_1", name="lookup", arguments='{"query":"ü"}'),),
            ),
            Message(role="tool", content="42", tool_call_id="toolu_1"),
            Message(role="user", content="And now?"),
        )

    def test_gives_the_images_of_results_to_the_user(self):
        results = [
            {"type": "tool_result", "tool_use_id": "a", "content": [PICTURE]},
            {"type": "tool_result", "tool_use_id": "b", "is_error": True},
        ]

        messages = read(FORM, asked(*results)).messages

        assert [(m.role, m.tool_call_id, m.parts) for m in messages] == [
            ("tool", "a", ()),
            ("tool", "b", ()),
            ("user", "", (IMAGE,)),
        ]

    def test_leaves_out_a_turn_that_was_only_thought(self):
        said = [
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]},
        ]

        assert len(read(FORM, {**ASKED, "messages": said}).messages) == 1

    @pytest.mark.parametrize(
        ("choice", "chosen", "is_parallel"),
        [
            (None, None, None),
            ({"type": "auto"}, "auto", None),
            ({"type": "any", "disable_parallel_tool_use": True}, "required", False),
            ({"type": "none"}, "none", None),
            (
                {"type": "tool", "name": "lookup"},
                {"type": "function", "function": {"name": "lookup"}},
                None,
            ),
        ],
    )
    def test_holds_the_tools_and_their_choice(self, choice, chosen, is_parallel):
        prompt = read(FORM, {**ASKED, "tools": [TOOL], "tool_choice": choice})

        assert prompt.tools == (FUNCTION,)
        assert (prompt.tool_choice, prompt.parallel_tool_calls) == (chosen, is_parallel)

    def test_holds_the_schema_of_the_answer(self):
        config = {"format": {"type": "json_schema", "schema": SCHEMA}}

        assert read(FORM, {**ASKED, "output_config": config}).response_format == {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA},
        }

    def test_ignores_wishes_that_change_nothing_here(self):
        wishes = {"thinking": {"type": "enabled", "budget_tokens": 9}, "top_k": 5, "metadata": {}}

        assert read(FORM, {**ASKED, **wishes, "unheard_of": 1}) == read(FORM, ASKED)

    @pytest.mark.parametrize(
        "changes",
        [
            {"container": "c"},
            {"mcp_servers": [{"url": "http://a"}]},
            {"tool_choice": {"type": "any"}},
            {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}},
            {"tools": [{**TOOL, "input_schema": {"maximum": 10**30}}]},
        ],
        ids=str,
    )
    def test_refuses_what_cannot_be_done(self, changes):
        with pytest.raises(BadRequest):
            read(FORM, {**ASKED, **changes})

    @pytest.mark.parametrize(
        "source", [{"type": "url", "url": "https://a/b.png"}, {"type": "file"}]
    )
    def test_refuses_an_image_that_is_elsewhere(self, source):
        with pytest.raises(BadRequest, match="must be sent as data"):
            read(FORM, asked({"type": "image", "source": source}))

    @pytest.mark.parametrize(
        "changes",
        [
            {"model": None},
            {"model": "x" * 300},
            {"messages": []},
            {"messages": "Hi."},
            {"messages": [{"role": "system", "content": "a"}]},
            {"messages": [{"role": "user", "content": []}]},
            {"messages": [{"role": "user", "content": None}]},
            {"messages": [{"role": "user", "content": [{"type": "document"}]}]},
            {"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]},
            {"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]},
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            {"max_tokens": 0},
            {"max_tokens": 10**12},
            {"temperature": "warm"},
            {"stop_sequences": ["a", "b", "c", "d", "e"]},
            {"stop_sequences": [""]},
            {"tool_choice": "auto"},
            {"stream": "maybe"},
        ],
        ids=str,
    )
    def test_refuses_a_body_of_another_shape(self, changes):
        with pytest.raises(ValidationError):
            read(FORM, {**ASKED, **changes})


class TestAnswer:
    def test_is_a_message(self):
        assert answered(FORM, ASKED) == {
            "id": f"msg_{RECORD.hex}",
            "type": "message",
            "role": "assistant",
            "model": "claude",
            "content": [{"type": "text", "text": "Hello."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 3,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 2,
            },
        }

    def test_holds_calls_of_tools(self):
        message = answered(FORM, ASKED, text="", tool_calls=(CALL, OTHER))

        assert message["stop_reason"] == "tool_use"
        assert message["content"] == [
            {"type": "tool_use", "id": "call_1", "name": "lookup", "input": {"query": "tiny"}},
            {"type": "tool_use", "id": "call_2", "name": "add", "input": {}},
        ]

    @pytest.mark.parametrize("arguments", ['{"cut": ', "[]", "5", "null", "text", "[" * 9_000])
    def test_holds_arguments_that_are_no_object_too(self, arguments):
        call = ToolCall(id="a", name="lookup", arguments=arguments)

        (block,) = answered(FORM, ASKED, text="", tool_calls=(call,))["content"]

        assert block["input"] == {"INVALID_JSON": arguments}

    @pytest.mark.parametrize(
        ("reason", "said"),
        [
            ("stop", "end_turn"),
            ("length", "max_tokens"),
            ("content_filter", "refusal"),
            ("eos", "end_turn"),
            (None, "end_turn"),
        ],
    )
    def test_says_why_it_ended(self, reason, said):
        assert answered(FORM, ASKED, finish_reason=reason)["stop_reason"] == said

    def test_that_is_empty_has_no_block(self):
        assert answered(FORM, ASKED, text="")["content"] == []


class TestWriter:
    def test_writes_one_block_of_text(self):
        events = streamed(FORM, ASKED, "", "Hel", "", "lo.")

        assert [event["type"] for event in events] == [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "ping",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        assert events[0]["message"] == {
            **answered(FORM, ASKED),
            "content": [],
            "stop_reason": None,
            "usage": {**answered(FORM, ASKED)["usage"], "input_tokens": 7, "output_tokens": 0},
        }
        deltas = [e["delta"] for e in events if e["type"] == "content_block_delta"]
        assert deltas == [
            {"type": "text_delta", "text": "Hel"},
            {"type": "text_delta", "text": "lo."},
        ]
        assert events[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
        assert events[-2]["usage"] == answered(FORM, ASKED)["usage"]

    def test_writes_a_block_for_each_call_of_a_tool(self):
        events = streamed(FORM, ASKED, "Let me see.", tool_calls=(CALL, OTHER))

        blocks = [e for e in events if e["type"].startswith("content_block")]
        assert [(e["type"][14:], e["index"]) for e in blocks] == [
            (kind, index) for index in range(3) for kind in ("start", "delta", "stop")
        ]
        assert blocks[3]["content_block"] == {
            "type": "tool_use",
            "id": "call_1",
            "name": "lookup",
            "input": {},
        }
        assert blocks[4]["delta"] == {
            "type": "input_json_delta",
            "partial_json": '{"query": "tiny"}',
        }
        assert events[-2]["delta"]["stop_reason"] == "tool_use"

    def test_writes_calls_without_a_text(self):
        events = streamed(FORM, ASKED, tool_calls=(CALL,))

        assert [e["index"] for e in events if e["type"].startswith("content_block")] == [0, 0, 0]

    def test_writes_an_answer_that_is_empty(self):
        kinds = [event["type"] for event in streamed(FORM, ASKED)]

        assert kinds == ["message_start", "message_delta", "message_stop"]

    def test_says_that_it_broke_off_and_never_that_it_stopped(self):
        *_, failure, end = written(FORM, ASKED, "Hel", breaks_off=True)

        assert failure.startswith("event: error\n")
        assert '"error":{"type":"api_error","message":"The model server failed."}' in failure
        assert end == "(cut)"


class TestError:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, "invalid_request_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (429, "rate_limit_error"),
            (503, "api_error"),
        ],
    )
    def test_is_of_the_type_that_its_status_has(self, status, kind):
        assert FORM.error(status, "Why.", code="x", param="y") == {
            "type": "error",
            "error": {"type": kind, "message": "Why."},
        }
