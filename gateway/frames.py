"""Frames: what travels from a worker back to the request that waits.

A frame belongs to one record and is numbered from 0, so that a lost one is noticed. Chunks carry
text; the one `End` carries the outcome, the tool calls, and for a plain call the whole answer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

import orjson

from gateway.errors import GatewayError
from models_registry.providers.types import ToolCall


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A piece of a streamed answer; joined pieces carry the numbers of the first and the last."""

    number: int
    last: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """The end of an inference, sent after its outcome was committed.

    `state` is the record's; `text` is the whole answer of a plain call and empty for a stream.
    `number` -1 stands for "not a part of the numbered sequence": it always counts.
    """

    number: int = -1
    state: str
    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error_code: str = ""
    error_detail: str = ""
    backend_status: int | None = None
    retry_after_s: float | None = None
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """The wait is over for a reason of the web process's own; never travels."""

    error: GatewayError


@dataclass(frozen=True, kw_only=True, slots=True)
class Quiet:
    """Nothing came for a while, and the wait goes on; never travels."""


Frame = Chunk | End | Broken | Quiet

_END_FIELDS = tuple(field.name for field in fields(End))


def pack(frames: list[tuple[UUID, Frame]]) -> bytes:
    """Return frames of several records as one message. Shape: a JSON list."""
    return orjson.dumps([[record_id.hex, *_values(frame)] for record_id, frame in frames])


def unpack(message: bytes) -> list[tuple[UUID, Frame]]:
    """Return the frames that `pack` packed."""
    return [(UUID(values[0]), _frame(values[1:])) for values in orjson.loads(message)]


def _values(frame: Frame) -> list[Any]:
    if isinstance(frame, Chunk):
        return [frame.number, frame.last, frame.text]
    if isinstance(frame, Broken | Quiet):
        raise TypeError("what happens in the web process is no worker's to send")
    return [getattr(frame, name) for name in _END_FIELDS]


def _frame(values: list[Any]) -> Frame:
    if len(values) == 3:
        return Chunk(number=values[0], last=values[1], text=values[2])
    end = dict(zip(_END_FIELDS, values, strict=True))
    return End(**end | {"tool_calls": tuple(ToolCall(**call) for call in end["tool_calls"])})
