"""Promises of gateway/api/vendors/openai_responses.py: items in, items and events out."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.api.vendors.formats import BadRequest
from gateway.api.vendors.openai_responses import OpenAIResponses
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

FORM = OpenAIResponses()
ASKED = {"model": "gpt-5", "input": "Hi."}
TOOL = {"type": "function", "name": "lookup", "parameters": SCHEMA, "strict": False}
FUNCTION = {
    "type": "function",
    "function": {"name": "lookup", "parameters": SCHEMA, "strict": False},
}


def called(call):
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def returned(call, output="42"):
    return {"type": "function_call_output", "call_id": call.id, "output": output}


class TestConversation:
    def test_is_the_input_and_the_parameters(self):
        body = {
            **ASKED,
            "instructions": "Be brief.",
            "max_output_tokens": 50,
            "temperature": 0,
            "top_p": 0.9,
        }

        assert read(FORM, body) == Prompt(
            messages=(
                Message(role="system", content="Be brief."),
                Message(role="user", content="Hi."),
            ),
            max_tokens=50,
            temperature=0.0,
            top_p=0.9,
        )

    def test_may_be_given_as_items(self):
        text = {"type": "input_text", "text": "What is this?"}
        image = {"type": "input_image", "image_url": PNG, "detail": "auto"}
        items = [
            {"type": "message", "role": "developer", "content": "Be brief."},
            {"role": "user", "content": [text, image]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "A cat."}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
        ]

        system, user, assistant, refused = read(FORM, {**ASKED, "input": items}).messages

        assert (system.role, system.content) == ("system", "Be brief.")
        assert user.parts == (
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PNG}},
        )
        assert (assistant.content, refused.content) == ("A cat.", "No.")

    def test_puts_the_calls_of_one_turn_into_one_message(self):
        said = {"role": "assistant", "content": "Let me see."}
        output = [{"type": "input_text", "text": "4"}, {"type": "input_text", "text": "2"}]
        items = [said, called(CALL), called(OTHER), returned(CALL), returned(OTHER, output)]
        items += [called(CALL), returned(CALL)]

        assert read(FORM, {**ASKED, "input": items, "tools": [TOOL]}).messages == (
            Message(role="assistant", content="Let me see.", tool_calls=(CALL, OTHER)),
            Message(role="tool", content="42", tool_call_id="call_1"),
            Message(role="tool", content="4\n2", tool_call_id="call_2"),
            Message(role="assistant", content="", tool_calls=(CALL,)),
            Message(role="tool", content="42", tool_call_id="call_1"),
        )

    @pytest.mark.parametrize(
        ("choice", "chosen"),
        [
            ("required", "required"),
            (
                {"type": "function", "name": "lookup"},
                {"type": "function", "function": {"name": "lookup"}},
            ),
        ],
    )
    def test_holds_the_tools_and_their_choice(self, choice, chosen):
        body = {**ASKED, "tools": [TOOL], "tool_choice": choice, "parallel_tool_calls": True}

        prompt = read(FORM, body)

        assert prompt.tools == (FUNCTION,)
        assert (prompt.tool_choice, prompt.parallel_tool_calls) == (chosen, True)

    @pytest.mark.parametrize(
        ("text", "sent"),
        [
            (None, None),
            ({"verbosity": "low"}, None),
            ({"format": {"type": "text"}}, None),
            ({"format": {"type": "json_object"}}, {"type": "json_object"}),
            (
                {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}},
                {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                },
            ),
        ],
    )
    def test_holds_the_form_of_the_answer(self, text, sent):
        assert read(FORM, {**ASKED, "text": text}).response_format == sent

    def test_ignores_wishes_that_change_nothing_here(self):
        wishes = {
            "store": True,
            "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "high"},
            "truncation": "auto",
            "background": False,
            "previous_response_id": None,
            "unheard_of": 1,
        }

        assert read(FORM, {**ASKED, **wishes}) == read(FORM, ASKED)

    @pytest.mark.parametrize(
        "changes",
        [
            {"background": True},
            {"previous_response_id": "resp_1"},
            {"conversation": "conv_1"},
            {"prompt": {"id": "p"}},
            {"top_logprobs": 1},
            {"include": ["message.output_text.logprobs"]},
            {"tool_choice": "required"},
            {"text": {"format": {"type": "json_schema", "name": "n"}}},
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        ],
        ids=str,
    )
    def test_refuses_what_cannot_be_done(self, changes):
        with pytest.raises(BadRequest):
            read(FORM, {**ASKED, **changes})

    @pytest.mark.parametrize(
        "changes",
        [
            {"model": None},
            {"input": None},
            {"input": []},
            {"input": [5]},
            {"input": [{}]},
            {"input": [{"type": []}]},
            {"input": [{"type": "item_reference", "id": "msg_1"}]},
            {"input": [{"type": "web_search_call", "id": "ws_1"}]},
            {"input": [{"role": "tool", "content": "a"}]},
            {"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
            {"input": [{"type": "function_call", "name": "a", "arguments": "{}"}]},
            {"input": [{"type": "function_call_output", "call_id": "a", "output": {}}]},
            {"tools": [{"type": "web_search"}]},
            {"tools": [{"type": "custom", "name": "a"}]},
            {"tool_choice": {"type": "allowed_tools"}},
            {"max_output_tokens": 10**12},
            {"text": {"format": {"type": "yaml"}}},
        ],
        ids=str,
    )
    def test_refuses_a_body_of_another_shape(self, changes):
        with pytest.raises(ValidationError):
            read(FORM, {**ASKED, **changes})


class TestAnswer:
    def test_is_a_response_with_a_message(self):
        response = answered(FORM, {**ASKED, "tools": [TOOL], "temperature": 0.5})

        assert response["id"] == f"resp_{RECORD.hex}"
        assert (response["object"], response["status"]) == ("response", "completed")
        assert (response["model"], response["temperature"]) == ("gpt-5", 0.5)
        assert (response["store"], response["error"]) == (False, None)
        assert response["tools"] == [{**TOOL, "description": None}]
        assert response["output"] == [
            {
                "id": f"msg_{RECORD.hex}",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "Hello.", "annotations": [], "logprobs": []}
                ],
            }
        ]
        assert response["usage"] == {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 5,
        }

    def test_holds_calls_of_tools(self):
        output = answered(FORM, ASKED, text="", tool_calls=(CALL, OTHER))["output"]

        assert output[0] == {**called(CALL), "id": "fc_call_1", "status": "completed"}
        assert [item["call_id"] for item in output] == ["call_1", "call_2"]

    @pytest.mark.parametrize(
        ("reason", "status", "details"),
        [
            ("stop", "completed", None),
            ("length", "incomplete", {"reason": "max_output_tokens"}),
            ("content_filter", "incomplete", {"reason": "content_filter"}),
        ],
    )
    def test_says_why_it_ended(self, reason, status, details):
        response = answered(FORM, ASKED, finish_reason=reason)

        assert (response["status"], response["incomplete_details"]) == (status, details)


class TestWriter:
    def test_writes_a_message_from_its_beginning_to_its_end(self):
        events = streamed(FORM, ASKED, "Hel", "", "lo.")

        assert [event["type"] for event in events] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events[0]["response"]["status"] == "in_progress"
        assert events[0]["response"]["output"] == []
        assert events[2]["item"]["content"] == []
        assert [event["delta"] for event in events[4:6]] == ["Hel", "lo."]
        assert events[6]["text"] == "Hello."
        assert {event["item_id"] for event in events[3:8]} == {f"msg_{RECORD.hex}"}
        done = events[-1]["response"]
        assert done == {**answered(FORM, ASKED), "created_at": done["created_at"]}

    def test_writes_an_item_for_each_call_of_a_tool(self):
        events = streamed(FORM, ASKED, "Let me see.", tool_calls=(CALL, OTHER))

        first = [event for event in events if event.get("output_index") == 1]
        assert [event["type"] for event in first] == [
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
        ]
        assert first[0]["item"]["arguments"] == ""
        assert first[1]["delta"] == first[2]["arguments"] == CALL.arguments
        assert first[3]["item"] == events[-1]["response"]["output"][1]
        assert [item["type"] for item in events[-1]["response"]["output"]] == [
            "message",
            "function_call",
            "function_call",
        ]

    def test_writes_calls_without_a_text(self):
        events = streamed(FORM, ASKED, tool_calls=(CALL,))

        assert events[2]["output_index"] == 0
        assert len(events[-1]["response"]["output"]) == 1

    def test_pings_with_a_comment(self):
        assert written(FORM, ASKED, "", "Hello.")[2] == ": ping"

    def test_of_a_cut_answer_ends_as_incomplete(self):
        assert streamed(FORM, ASKED, "Hel", finish_reason="length")[-1]["type"] == (
            "response.incomplete"
        )

    def test_says_that_it_broke_off_and_never_that_it_is_complete(self):
        *_, failure, end = written(FORM, ASKED, "Hel", breaks_off=True)

        assert failure.startswith("event: response.failed\n")
        assert '"error":{"code":"server_error","message":"The model server failed."}' in failure
        assert end == "(cut)"


class TestError:
    def test_is_openais(self):
        assert FORM.error(400, "Why.", param="n")["error"] == {
            "message": "Why.",
            "type": "invalid_request_error",
            "param": "n",
            "code": None,
        }
