"""The values that cross the boundary between Enclave and a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a chat: role is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """What a model is asked: either chat `messages` or a `text` to complete.

    `text` goes to the backend's native `/completions`; the other way round is never guessed.
    None for a parameter means "do not send it".
    """

    messages: tuple[Message, ...] = ()
    text: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form that the record stores."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Prompt:
        """Return the prompt whose `as_dict` this is."""
        return cls(
            messages=tuple(Message(**message) for message in value["messages"]),
            text=value["text"],
            max_tokens=value["max_tokens"],
            temperature=value["temperature"],
            stop=tuple(value["stop"]),
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
class Delta:
    """One step of a streamed answer; the last one carries `finish_reason` and, if known, tokens."""

    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """A whole answer. Tokens are None where the backend reported none."""

    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
