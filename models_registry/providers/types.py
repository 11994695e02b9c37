"""The values that cross the boundary between Enclave and a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """A function that a model wants called; `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str

    def as_dict(self) -> dict[str, Any]:
        """Return the call in OpenAI's form, which records store and backends read."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}

    @classmethod
    def from_dict(cls, value: Json) -> ToolCall:
        """Return the call whose `as_dict` this is."""
        return cls(id=value["id"], **value["function"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a chat: role is `system`, `user`, `assistant` or `tool`.

    `parts` is empty unless there are images: then it holds OpenAI's content parts in their order,
    images as `data:` URLs, and `content` only their text. `tool_call_id` is the call that a `tool`
    message answers.
    """

    role: str
    content: str
    parts: tuple[Json, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the message in OpenAI's form, which records store and backends read."""
        value: dict[str, Any] = {"role": self.role, "content": self.parts or self.content}
        if self.tool_calls:
            value["tool_calls"] = [call.as_dict() for call in self.tool_calls]
        if self.tool_call_id:
            value["tool_call_id"] = self.tool_call_id
        return value

    @classmethod
    def from_dict(cls, value: Json) -> Message:
        """Return the message whose `as_dict` this is."""
        content = value["content"]
        is_text = isinstance(content, str)
        return cls(
            role=value["role"],
            content=content if is_text else text_of(content),
            parts=() if is_text else tuple(content),
            tool_calls=tuple(map(ToolCall.from_dict, value.get("tool_calls", ()))),
            tool_call_id=value.get("tool_call_id", ""),
        )


def text_of(parts: Sequence[Json]) -> str:
    """Return the texts of content parts, one below the other as model servers join them."""
    return "\n".join(part["text"] for part in parts if part["type"] == "text")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """What a model is asked: either chat `messages` or a `text` to complete.

    `text` goes to the backend's native `/completions`; the other way round is never guessed.
    None for a parameter means "do not send it". Only a caller's own conversation has what stands
    below `stop`; tools, their choice and the answer's format are in OpenAI's form.
    """

    messages: tuple[Message, ...] = ()
    text: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    tools: tuple[Json, ...] = ()
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    response_format: Json | None = None

    def options(self) -> dict[str, Any]:
        """Return what is set of that which only a caller's own conversation has."""
        values = ((name, getattr(self, name)) for name in _OPTIONS)
        return {name: value for name, value in values if value is not None and value != ()}

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form that the record stores."""
        return {
            "messages": tuple(message.as_dict() for message in self.messages),
            "text": self.text,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "stop": self.stop,
            **self.options(),
        }

    @classmethod
    def from_dict(cls, value: Json) -> Prompt:
        """Return the prompt whose `as_dict` this is."""
        lists = {name: tuple(value.get(name, ())) for name in ("stop", "tools")}
        messages = tuple(map(Message.from_dict, value["messages"]))
        return cls(**{**value, **lists, "messages": messages})


_OPTIONS = (
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """One revision of a model: everything a provider needs to call it, never half old, half new.

    Limits: the three times are seconds; None means the setting of the same name applies.
    """

    revision_id: int
    model_id: int | None
    name: str
    family: str
    provider: str
    endpoint: str
    identifier: str
    api_key: str = field(repr=False)
    ca_bundle: str = field(default="", repr=False)
    has_native_fim: bool = False
    takes_prefill: bool = False
    is_reasoning: bool = False
    context_window: int = 0
    first_byte_s: float | None = None
    idle_s: float | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolPart:
    """A part of a tool call in a stream: parts with the same `index` belong to one call."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """One step of a streamed answer; the last one carries `finish_reason` and, if known, tokens.

    `tool_parts` is what one event of the wire held of tool calls; a stream yields an empty delta
    where the first one begins, and all of them whole on its last delta.
    """

    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tool_parts: tuple[ToolPart, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """A whole answer. Tokens are None where the backend reported none."""

    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tool_calls: tuple[ToolCall, ...] = ()
