"""Anthropic's Messages API: a conversation with text, images and tools, whole or as events.

Served from our own form: `thinking`, `top_k` and cache marks are wishes that no self-hosted model
needs, and are ignored; what would change an answer and cannot be done is refused.
Source: Anthropic API reference (version 2023-06-01), Messages and Streaming Messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import BeforeValidator, Field

from gateway.api import wire
from gateway.api.vendors import reading
from gateway.api.vendors.formats import Body, Format, Writer, event
from gateway.api.vendors.reading import Text
from gateway.calls import Answer, Ending, Stream
from models_registry.providers.types import Json, Message, Prompt, ToolCall, text_of

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
STOP_REASONS = {"length": "max_tokens", "content_filter": "refusal"}
# What Anthropic's documentation wraps arguments in that are no JSON object.
INVALID_JSON = "INVALID_JSON"

_as_text = BeforeValidator(reading.as_part("text"))


class Source(wire.Body):
    """Where an image is; only `base64` is here."""

    type: str
    media_type: str = ""
    data: str = ""


class Image(wire.Body):
    """An image."""

    type: Literal["image"]
    source: Source

    def as_part(self) -> Json:
        """Return it in our own form."""
        source = self.source
        is_data = source.type == "base64"
        return reading.image_part(
            f"data:{source.media_type};base64,{source.data}" if is_data else source.type
        )


Shown = Annotated[Text | Image, Field(discriminator="type")]


class ToolResult(wire.Body):
    """What a tool returned."""

    type: Literal["tool_result"]
    tool_use_id: reading.Name
    content: Annotated[list[Shown], _as_text] = []


class ToolUse(wire.Body):
    """A tool that the model called."""

    type: Literal["tool_use"]
    id: reading.Name
    name: reading.Name
    input: dict[str, Any]


class Thinking(wire.Body):
    """What a model thought; no self-hosted model reads another's thoughts."""

    type: Literal["thinking", "redacted_thinking"]


class FromUser(wire.Body):
    """A turn of the user, results of tools included."""

    role: Literal["user"]
    content: Annotated[
        list[Annotated[Text | Image | ToolResult, Field(discriminator="type")]],
        _as_text,
        Field(min_length=1),
    ]

    def as_messages(self) -> Iterator[Message]:
        """Yield a message for each result, then one for the rest.

        Images of results go to the rest: model servers take none from a tool.
        """
        rest: list[Json] = []
        for block in self.content:
            if isinstance(block, ToolResult):
                parts = [part.as_part() for part in block.content]
                yield Message(role="tool", content=text_of(parts), tool_call_id=block.tool_use_id)
                rest += [part for part in parts if part["type"] != "text"]
            else:
                rest.append(block.as_part())
        if rest:
            yield reading.message("user", rest)


class FromAssistant(wire.Body):
    """A turn of the model."""

    role: Literal["assistant"]
    content: Annotated[
        list[Annotated[Text | ToolUse | Thinking, Field(discriminator="type")]], _as_text
    ]

    def as_messages(self) -> Iterator[Message]:
        """Yield it as one message, unless nothing was said."""
        calls = [
            ToolCall(id=block.id, name=block.name, arguments=reading.as_json(block.input))
            for block in self.content
            if isinstance(block, ToolUse)
        ]
        texts = [block.as_part() for block in self.content if isinstance(block, Text)]
        if texts or calls:
            yield reading.message("assistant", texts, tool_calls=calls)


class Tool(wire.Body):
    """A function that the caller offers; Anthropic's own tools have another type and no schema."""

    type: Literal["custom"] | None = None
    name: reading.Name
    description: str | None = None
    input_schema: dict[str, Any]


class ToolChoice(wire.Body):
    """Which tool is to be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class OutputFormat(reading.JsonForm):
    """The schema that the answer is to fit."""

    type: Literal["json_schema"]


class OutputConfig(wire.Body):
    """What is wanted of the answer."""

    format: OutputFormat | None = None


class MessagesBody(Body):
    """The body of /v1/messages and of /v1/messages/count_tokens."""

    messages: Annotated[
        list[Annotated[FromUser | FromAssistant, Field(discriminator="role")]], Field(min_length=1)
    ]
    system: Annotated[list[Text] | None, _as_text] = None
    max_tokens: reading.Tokens | None = None
    temperature: reading.Temperature | None = None
    top_p: reading.Share | None = None
    stop_sequences: reading.Stops | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None
    container: Any = None
    mcp_servers: Any = None


class AnthropicMessages(Format[MessagesBody]):
    """The Messages API."""

    shape = MessagesBody

    def conversation(self, body: MessagesBody) -> Prompt:
        reading.refuse(body, "container", "mcp_servers")
        messages = [message for turn in body.messages for message in turn.as_messages()]
        if body.system:
            messages.insert(0, reading.message("system", [text.as_part() for text in body.system]))
        choice = body.tool_choice
        wanted = body.output_config and body.output_config.format
        return reading.checked(
            Prompt(
                messages=tuple(messages),
                max_tokens=body.max_tokens,
                temperature=body.temperature,
                stop=tuple(body.stop_sequences or ()),
                top_p=body.top_p,
                tools=tuple(_tool(tool) for tool in body.tools or ()),
                tool_choice=_choice(choice),
                parallel_tool_calls=_may_call_more(choice),
                response_format=reading.answer_format(wanted.type, wanted) if wanted else None,
            )
        )

    def answer(self, body: MessagesBody, answer: Answer) -> dict[str, Any]:
        text = [{"type": "text", "text": answer.text}] if answer.text else []
        calls = [
            {**_tool_use(call), "input": orjson.Fragment(_input(call))}
            for call in answer.tool_calls
        ]
        return {
            **_envelope(body, answer.record_id),
            "content": [*text, *calls],
            "stop_reason": _stop_reason(answer.finish_reason, answer.tool_calls),
            "usage": _usage(answer.prompt_tokens, answer.completion_tokens),
        }

    def writer(self, body: MessagesBody, stream: Stream, *, prompt_tokens: int) -> Writer:
        return MessagesWriter(_envelope(body, stream.record_id), prompt_tokens)

    def error(
        self, status: int, message: str, *, code: str = "", param: str | None = None
    ) -> dict[str, Any]:
        kind = ERROR_TYPES.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}}


class MessagesWriter(Writer):
    """Writes the text as one block, and each tool call as one of its own."""

    def __init__(self, envelope: dict[str, Any], prompt_tokens: int) -> None:
        """Begin without a block."""
        self._envelope = envelope
        self._prompt_tokens = prompt_tokens
        self._blocks = 0

    def begin(self) -> str:
        usage = _usage(self._prompt_tokens, 0)
        return event({"type": "message_start", "message": {**self._envelope, "usage": usage}})

    def piece(self, text: str) -> str:
        begun = "" if self._blocks else self._start({"type": "text", "text": ""})
        return begun + self._delta({"type": "text_delta", "text": text})

    def ping(self) -> str:
        return event({"type": "ping"})

    def end(self, ending: Ending) -> str:
        closed = [self._stop()] if self._blocks else []
        calls = [self._call(call) for call in ending.tool_calls]
        reason = _stop_reason(ending.finish_reason, ending.tool_calls)
        last = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": _usage(ending.prompt_tokens, ending.completion_tokens),
        }
        return "".join([*closed, *calls, event(last), event({"type": "message_stop"})])

    def fail(self, message: str, code: str) -> str:
        return event({"type": "error", "error": {"type": "api_error", "message": message}})

    def _call(self, call: ToolCall) -> str:
        return "".join(
            [
                self._start({**_tool_use(call), "input": {}}),
                self._delta({"type": "input_json_delta", "partial_json": _input(call)}),
                self._stop(),
            ]
        )

    def _start(self, block: dict[str, Any]) -> str:
        self._blocks += 1
        index = self._blocks - 1
        return event({"type": "content_block_start", "index": index, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> str:
        return event({"type": "content_block_delta", "index": self._blocks - 1, "delta": delta})

    def _stop(self) -> str:
        return event({"type": "content_block_stop", "index": self._blocks - 1})


def _tool(tool: Tool) -> Json:
    return reading.tool(tool.name, description=tool.description, parameters=tool.input_schema)


def _choice(choice: ToolChoice | None) -> str | Json | None:
    if choice is None:
        return None
    if choice.type == "tool":
        return reading.choice_of(choice.name)
    return "required" if choice.type == "any" else choice.type


def _may_call_more(choice: ToolChoice | None) -> bool | None:
    """Return whether one answer may hold several calls; None where nothing was said."""
    return False if choice and choice.disable_parallel_tool_use else None


def _envelope(body: MessagesBody, record_id: UUID) -> dict[str, Any]:
    return {
        "id": f"msg_{record_id.hex}",
        "type": "message",
        "role": "assistant",
        "model": body.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name}


def _input(call: ToolCall) -> str:
    """Return the arguments of a call as the JSON of an object; a model may write what is none."""
    try:
        is_object = isinstance(orjson.loads(call.arguments), dict)
    except orjson.JSONDecodeError:
        is_object = False
    return call.arguments if is_object else orjson.dumps({INVALID_JSON: call.arguments}).decode()


def _stop_reason(reason: str | None, tool_calls: Sequence[ToolCall]) -> str:
    return STOP_REASONS.get(reason or "", "tool_use" if tool_calls else "end_turn")


def _usage(prompt_tokens: int | None, completion_tokens: int | None) -> dict[str, int]:
    return {
        "input_tokens": prompt_tokens or 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": completion_tokens or 0,
    }
