"""OpenAI's Responses API: a list of items in, a list of items out, whole or as events.

Nothing is stored, so nothing can be referred to: every call brings its whole conversation. What
other models thought (`reasoning` items) is ignored, as are wishes that change nothing here; what
would change an answer and cannot be done is refused.
Source: OpenAI API reference, Responses and its streaming events.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Discriminator, Field, Tag

from gateway.api import wire
from gateway.api.vendors import reading
from gateway.api.vendors.formats import COMMENT, BadRequest, Body, Format, Writer, event
from gateway.api.vendors.openai_chat import CODES, Refusal, error
from gateway.calls import Answer, Ending, Stream
from models_registry.providers.types import Json, Message, Prompt, ToolCall, text_of

UNSUPPORTED = ("background", "conversation", "previous_response_id", "prompt", "top_logprobs")
LOGPROBS = "message.output_text.logprobs"
# Why an answer is not complete.
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}

_as_text = BeforeValidator(reading.as_part("input_text"))


class Text(wire.Body):
    """A text of the user or of a model."""

    type: Literal["input_text", "output_text"]
    text: str

    def as_part(self) -> Json:
        """Return it in our own form."""
        return reading.text_part(self.text)


class Image(wire.Body):
    """An image."""

    type: Literal["input_image"]
    image_url: str | None = None

    def as_part(self) -> Json:
        """Return it in our own form."""
        return reading.image_part(self.image_url or "")


class Said(wire.Body):
    """A message."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[
        list[Annotated[Text | Image | Refusal, Field(discriminator="type")]], _as_text
    ]

    def as_message(self) -> Message:
        """Return it in our own form."""
        role = "system" if self.role == "developer" else self.role
        return reading.message(role, [part.as_part() for part in self.content])


class FunctionCall(wire.Body):
    """A tool that the model called."""

    call_id: reading.Name
    name: reading.Name
    arguments: str

    def as_message(self) -> Message:
        """Return it in our own form, as a message of its own."""
        call = ToolCall(id=self.call_id, name=self.name, arguments=self.arguments)
        return Message(role="assistant", content="", tool_calls=(call,))


class FunctionCallOutput(wire.Body):
    """What a tool returned."""

    call_id: reading.Name
    output: Annotated[list[Text], _as_text]

    def as_message(self) -> Message:
        """Return it in our own form."""
        text = text_of([part.as_part() for part in self.output])
        return Message(role="tool", content=text, tool_call_id=self.call_id)


class Reasoning(wire.Body):
    """What a model thought."""


def kind_of(item: Any) -> str | None:
    """Return the type of an item; a message need not name its own."""
    if not isinstance(item, dict):
        return None
    kind = item.get("type", "message")
    return kind if isinstance(kind, str) else None


def as_items(value: Any) -> Any:
    """Return a bare text as the list of items that it stands for."""
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


Item = Annotated[
    Annotated[Said, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")]
    | Annotated[Reasoning, Tag("reasoning")],
    Discriminator(kind_of),
]


class Tool(wire.Body):
    """A function that the caller offers; OpenAI's own tools have another type."""

    type: Literal["function"]
    name: reading.Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(wire.Body):
    """The tool that is to be called."""

    type: Literal["function"]
    name: reading.Name


class TextFormat(reading.JsonForm):
    """What form the answer is to have."""

    type: Literal["text", "json_object", "json_schema"] = "text"


class TextConfig(wire.Body):
    """What is wanted of the text."""

    format: TextFormat | None = None


class ResponsesBody(Body):
    """The body of /v1/responses."""

    input: Annotated[list[Item], BeforeValidator(as_items), Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: reading.Tokens | None = None
    temperature: reading.Temperature | None = None
    top_p: reading.Share | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    include: list[str] | None = None
    background: Any = None
    conversation: Any = None
    previous_response_id: Any = None
    prompt: Any = None
    top_logprobs: Any = None


class OpenAIResponses(Format[ResponsesBody]):
    """The Responses API."""

    shape = ResponsesBody

    def conversation(self, body: ResponsesBody) -> Prompt:
        reading.refuse(body, *UNSUPPORTED)
        if LOGPROBS in (body.include or ()):
            raise BadRequest("Log probabilities are not supported.", param="include")
        chosen, wanted = body.tool_choice, _wanted(body)
        return reading.checked(
            Prompt(
                messages=_messages(body),
                max_tokens=body.max_output_tokens,
                temperature=body.temperature,
                top_p=body.top_p,
                tools=tuple(_tool(each) for each in body.tools or ()),
                tool_choice=(
                    reading.choice_of(chosen.name) if isinstance(chosen, ToolChoice) else chosen
                ),
                parallel_tool_calls=body.parallel_tool_calls,
                response_format=reading.answer_format(wanted.type, wanted),
            )
        )

    def answer(self, body: ResponsesBody, answer: Answer) -> dict[str, Any]:
        identity = answer.record_id.hex
        text = [_message(identity, answer.text)] if answer.text else []
        calls = [_function_call(call) for call in answer.tool_calls]
        return {
            **_envelope(body, answer.record_id),
            "output": [*text, *calls],
            **_outcome(answer.finish_reason),
            "usage": _usage(answer.prompt_tokens, answer.completion_tokens),
        }

    def writer(self, body: ResponsesBody, stream: Stream, *, prompt_tokens: int) -> Writer:
        return ResponsesWriter(_envelope(body, stream.record_id), stream.record_id.hex)

    def error(
        self, status: int, message: str, *, code: str = "", param: str | None = None
    ) -> dict[str, Any]:
        return error(status, message, code=code, param=param)


class ResponsesWriter(Writer):
    """Writes the text as one item, and each tool call as one of its own; events are numbered."""

    def __init__(self, envelope: dict[str, Any], identity: str) -> None:
        """Begin without an item."""
        self._envelope = envelope
        self._identity = identity
        self._number = 0
        self._pieces: list[str] = []

    def begin(self) -> str:
        return "".join(
            self._event(f"response.{kind}", response=self._envelope)
            for kind in ("created", "in_progress")
        )

    def piece(self, text: str) -> str:
        begun = "" if self._pieces else self._begin_text()
        self._pieces.append(text)
        return begun + self._text("response.output_text.delta", delta=text, logprobs=[])

    def ping(self) -> str:
        return COMMENT

    def end(self, ending: Ending) -> str:
        output = [self._message()] if self._pieces else []
        written = [self._end_text()] if self._pieces else []
        for call in ending.tool_calls:
            item = _function_call(call)
            written.append(self._call(item, len(output)))
            output.append(item)
        response = {
            **self._envelope,
            "output": output,
            **_outcome(ending.finish_reason),
            "usage": _usage(ending.prompt_tokens, ending.completion_tokens),
        }
        written.append(self._event(f"response.{response['status']}", response=response))
        return "".join(written)

    def fail(self, message: str, code: str) -> str:
        failure = {"code": CODES.get(code, "server_error"), "message": message}
        response = {**self._envelope, "status": "failed", "error": failure}
        return self._event("response.failed", response=response)

    def _message(self) -> dict[str, Any]:
        return _message(self._identity, "".join(self._pieces))

    def _begin_text(self) -> str:
        item = {**self._message(), "status": "in_progress", "content": []}
        added = self._event("response.output_item.added", output_index=0, item=item)
        return added + self._text("response.content_part.added", part=_output_text(""))

    def _end_text(self) -> str:
        item = self._message()
        (part,) = item["content"]
        return "".join(
            [
                self._text("response.output_text.done", text=part["text"], logprobs=[]),
                self._text("response.content_part.done", part=part),
                self._event("response.output_item.done", output_index=0, item=item),
            ]
        )

    def _call(self, item: dict[str, Any], index: int) -> str:
        begun = {**item, "status": "in_progress", "arguments": ""}
        place = {"item_id": item["id"], "output_index": index}
        kind, arguments = "response.function_call_arguments", item["arguments"]
        return "".join(
            [
                self._event("response.output_item.added", output_index=index, item=begun),
                self._event(f"{kind}.delta", **place, delta=arguments),
                self._event(f"{kind}.done", **place, name=item["name"], arguments=arguments),
                self._event("response.output_item.done", output_index=index, item=item),
            ]
        )

    def _text(self, kind: str, **facts: Any) -> str:
        place = {"item_id": f"msg_{self._identity}", "output_index": 0, "content_index": 0}
        return self._event(kind, **place, **facts)

    def _event(self, kind: str, **facts: Any) -> str:
        written = event({"type": kind, "sequence_number": self._number, **facts})
        self._number += 1
        return written


def _messages(body: ResponsesBody) -> tuple[Message, ...]:
    """Return the items as messages; the calls of one turn are one message."""
    messages: list[Message] = []
    if body.instructions:
        messages.append(Message(role="system", content=body.instructions))
    for item in body.input:
        if isinstance(item, Reasoning):
            continue
        message = item.as_message()
        if message.tool_calls and messages and messages[-1].role == "assistant":
            calls = messages[-1].tool_calls + message.tool_calls
            messages[-1] = replace(messages[-1], tool_calls=calls)
        else:
            messages.append(message)
    return tuple(messages)


def _tool(tool: Tool) -> Json:
    facts = dict(tool)
    del facts["type"]
    return reading.tool(**facts)


def _wanted(body: ResponsesBody) -> TextFormat:
    return (body.text and body.text.format) or TextFormat()


def _envelope(body: ResponsesBody, record_id: UUID) -> dict[str, Any]:
    """Return a response that has begun: what was asked, and nothing yet of the answer."""
    chosen = body.tool_choice or "auto"
    return {
        "id": f"resp_{record_id.hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": {},
        "model": body.model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": body.temperature,
        "text": {"format": {"type": _wanted(body).type}},
        "tool_choice": dict(chosen) if isinstance(chosen, ToolChoice) else chosen,
        "tools": [dict(tool) for tool in body.tools or ()],
        "top_p": body.top_p,
        "truncation": "disabled",
        "usage": None,
    }


def _outcome(finish_reason: str | None) -> dict[str, Any]:
    reason = INCOMPLETE.get(finish_reason or "")
    if reason is None:
        return {"status": "completed"}
    return {"status": "incomplete", "incomplete_details": {"reason": reason}}


def _message(identity: str, text: str) -> dict[str, Any]:
    return {
        "id": f"msg_{identity}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [_output_text(text)],
    }


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _function_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": f"fc_{call.id}",
        "type": "function_call",
        "status": "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _usage(prompt_tokens: int | None, completion_tokens: int | None) -> dict[str, Any]:
    asked, answered = prompt_tokens or 0, completion_tokens or 0
    return {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked + answered,
    }
