"""OpenAI's Chat Completions API: a conversation with text, images and tools, whole or as chunks.

Served from our own form, which is this one without its branches: one choice, no log probabilities,
functions as the only tools. Wishes that change nothing here (`user`, `store`, `reasoning_effort`,
...) are ignored; what would change an answer and cannot be done is refused.
Source: OpenAI API reference, Chat Completions.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gateway.api import wire
from gateway.api.vendors import reading
from gateway.api.vendors.formats import COMMENT, Body, Format, Writer, data
from gateway.api.vendors.reading import Text
from gateway.calls import Answer, Ending, Stream
from models_registry.providers.types import Json, Message, Prompt, ToolCall

ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
# Clients look for this one to shorten what they sent.
CODES = {"context_too_long": "context_length_exceeded"}
STATUS_CODES = {401: "invalid_api_key"}
FINISH_REASONS = ("stop", "length", "content_filter")
UNSUPPORTED = (
    "audio",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "web_search_options",
)

_as_text = BeforeValidator(reading.as_part("text"))


class Refusal(wire.Body):
    """What a model said instead of an answer."""

    type: Literal["refusal"]
    refusal: str

    def as_part(self) -> Json:
        """Return it in our own form."""
        return reading.text_part(self.refusal)


class ImageUrl(wire.Body):
    """Where an image is."""

    url: str


class Image(wire.Body):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl

    def as_part(self) -> Json:
        """Return it in our own form."""
        return reading.image_part(self.image_url.url)


class CalledFunction(wire.Body):
    """What a model called, and with what."""

    name: reading.Name
    arguments: str


class Call(wire.Body):
    """A tool that the model called."""

    id: reading.Name
    type: Literal["function"] = "function"
    function: CalledFunction


class FromSystem(wire.Body):
    """What the program around the conversation says."""

    role: Literal["system", "developer"]
    content: Annotated[list[Text], _as_text]

    def as_message(self) -> Message:
        """Return it in our own form."""
        return reading.message("system", [part.as_part() for part in self.content])


class FromUser(wire.Body):
    """A turn of the user."""

    role: Literal["user"]
    content: Annotated[list[Annotated[Text | Image, Field(discriminator="type")]], _as_text]

    def as_message(self) -> Message:
        """Return it in our own form."""
        return reading.message("user", [part.as_part() for part in self.content])


class FromAssistant(wire.Body):
    """A turn of the model."""

    role: Literal["assistant"]
    content: Annotated[
        list[Annotated[Text | Refusal, Field(discriminator="type")]] | None, _as_text
    ] = None
    tool_calls: list[Call] | None = None

    def as_message(self) -> Message:
        """Return it in our own form."""
        calls = [
            ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in self.tool_calls or ()
        ]
        parts = [part.as_part() for part in self.content or ()]
        return reading.message("assistant", parts, tool_calls=calls)


class FromTool(wire.Body):
    """What a tool returned."""

    role: Literal["tool"]
    tool_call_id: reading.Name
    content: Annotated[list[Text], _as_text]

    def as_message(self) -> Message:
        """Return it in our own form."""
        text = reading.message("tool", [part.as_part() for part in self.content]).content
        return Message(role="tool", content=text, tool_call_id=self.tool_call_id)


class Function(wire.Body):
    """A function that the caller offers."""

    name: reading.Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(wire.Body):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: Function


class ChosenFunction(wire.Body):
    """The function that is to be called."""

    name: reading.Name


class ToolChoice(wire.Body):
    """The tool that is to be called."""

    type: Literal["function"]
    function: ChosenFunction


class ResponseFormat(wire.Body):
    """What form the answer is to have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: reading.JsonForm | None = None


class StreamOptions(wire.Body):
    """What is wanted of a stream."""

    include_usage: bool | None = None


class SamplingBody(Body):
    """How an answer is to be drawn, and what is wanted beside it."""

    max_tokens: reading.Tokens | None = None
    temperature: reading.Temperature | None = None
    top_p: reading.Share | None = None
    presence_penalty: reading.Penalty | None = None
    frequency_penalty: reading.Penalty | None = None
    seed: reading.Seed | None = None
    stop: Annotated[reading.Stops | None, BeforeValidator(reading.as_list)] = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    logit_bias: Any = None
    logprobs: Any = None

    def as_prompt(self) -> Prompt:
        """Return a prompt of which only this is known."""
        return Prompt(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            stop=tuple(self.stop or ()),
            top_p=self.top_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=self.seed,
        )


class ChatBody(SamplingBody):
    """The body of /v1/chat/completions."""

    messages: Annotated[
        list[
            Annotated[FromSystem | FromUser | FromAssistant | FromTool, Field(discriminator="role")]
        ],
        Field(min_length=1),
    ]
    max_completion_tokens: reading.Tokens | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    audio: Any = None
    function_call: Any = None
    functions: Any = None
    top_logprobs: Any = None
    web_search_options: Any = None


class OpenAIChat(Format[ChatBody]):
    """The Chat Completions API."""

    shape = ChatBody

    def conversation(self, body: ChatBody) -> Prompt:
        reading.refuse(body, *UNSUPPORTED)
        wanted = body.response_format or ResponseFormat(type="text")
        return reading.checked(
            replace(
                body.as_prompt(),
                messages=tuple(message.as_message() for message in body.messages),
                max_tokens=body.max_completion_tokens or body.max_tokens,
                tools=tuple(reading.tool(**dict(each.function)) for each in body.tools or ()),
                tool_choice=_choice(body.tool_choice),
                parallel_tool_calls=body.parallel_tool_calls,
                response_format=reading.answer_format(wanted.type, wanted.json_schema),
            )
        )

    def answer(self, body: ChatBody, answer: Answer) -> dict[str, Any]:
        said: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.tool_calls:
            said["content"] = answer.text or None
            said["tool_calls"] = [call.as_dict() for call in answer.tool_calls]
        reason = finish_reason(answer.finish_reason, answer.tool_calls)
        return {
            **envelope(body, "chat.completion", f"chatcmpl-{answer.record_id.hex}"),
            "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": reason}],
            "usage": usage(answer.prompt_tokens, answer.completion_tokens),
        }

    def writer(self, body: ChatBody, stream: Stream, *, prompt_tokens: int) -> Writer:
        identity = f"chatcmpl-{stream.record_id.hex}"
        return ChatWriter(
            envelope(body, "chat.completion.chunk", identity), with_usage=wants_usage(body)
        )

    def error(
        self, status: int, message: str, *, code: str = "", param: str | None = None
    ) -> dict[str, Any]:
        return error(status, message, code=code, param=param)


class ChatWriter(Writer):
    """Writes pieces as chunks, and all tool calls in one of them."""

    def __init__(self, envelope: dict[str, Any], *, with_usage: bool) -> None:
        """Write a chunk with the usage at the end, if it is wanted."""
        self._envelope = {**envelope, "usage": None} if with_usage else envelope
        self._with_usage = with_usage

    def begin(self) -> str:
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def piece(self, text: str) -> str:
        return self._chunk({"content": text})

    def ping(self) -> str:
        return COMMENT

    def end(self, ending: Ending) -> str:
        calls = [{"index": i, **call.as_dict()} for i, call in enumerate(ending.tool_calls)]
        reason = finish_reason(ending.finish_reason, ending.tool_calls)
        written = [self._chunk({"tool_calls": calls})] if calls else []
        written.append(self._chunk({}, reason))
        if self._with_usage:
            tokens = usage(ending.prompt_tokens, ending.completion_tokens)
            written.append(data({**self._envelope, "choices": [], "usage": tokens}))
        return "".join([*written, "data: [DONE]\n\n"])

    def fail(self, message: str, code: str) -> str:
        return data(error(503, message, code=code))

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> str:
        end = {"logprobs": None, "finish_reason": finish_reason}
        return data({**self._envelope, "choices": [{"index": 0, **self._said(delta), **end}]})

    def _said(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return what a choice says."""
        return {"delta": delta}


def envelope(body: Body, kind: str, identity: str) -> dict[str, Any]:
    """Return what every object that answers has in common."""
    return {"id": identity, "object": kind, "created": int(time.time()), "model": body.model}


def wants_usage(body: SamplingBody) -> bool:
    """Test whether a stream is to end with its usage."""
    return bool(body.stream_options and body.stream_options.include_usage)


def error(status: int, message: str, *, code: str = "", param: str | None = None) -> dict[str, Any]:
    """Return the JSON of a failure, as all of OpenAI's APIs write it."""
    usual = "server_error" if status >= 500 else "invalid_request_error"
    kind = ERROR_TYPES.get(status, usual)
    known = CODES.get(code, code) or STATUS_CODES.get(status)
    return {"error": {"message": message, "type": kind, "param": param, "code": known}}


def _choice(choice: str | ToolChoice | None) -> str | Json | None:
    return reading.choice_of(choice.function.name) if isinstance(choice, ToolChoice) else choice


def finish_reason(reason: str | None, tool_calls: tuple[ToolCall, ...]) -> str:
    """Return why an answer ended, in OpenAI's words."""
    if tool_calls and reason != "length":
        return "tool_calls"
    return reason if reason in FINISH_REASONS else "stop"


def usage(prompt_tokens: int | None, completion_tokens: int | None) -> dict[str, int]:
    """Return the tokens of an answer."""
    asked, answered = prompt_tokens or 0, completion_tokens or 0
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
    }
