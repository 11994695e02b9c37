"""What one running process holds: its id, its writer, its ends of the bus.

`gateway.runtime` fills this in at start; everything else only reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from gateway.audit.journal import Journal
from gateway.audit.writer import Writer
from gateway.bus import Replies, Waiters


@dataclass(kw_only=True, slots=True)
class Parts:
    """The parts of a started process.

    `send` publishes record ids to the workers; `cancel` stops the model call of a record.
    """

    id: str
    writer: Writer
    journal: Journal
    waiters: Waiters
    replies: Replies
    send: Callable[[Sequence[UUID]], None]
    cancel: Callable[[UUID], None]


class NotStarted(RuntimeError):
    """`gateway.runtime` was not started in this process."""


_parts: list[Parts] = []


def parts() -> Parts:
    """Return this process's parts.

    Raises:
        NotStarted: nothing was started.
    """
    if not _parts:
        raise NotStarted("gateway.runtime was not started in this process")
    return _parts[0]


def set_parts(value: Parts | None) -> None:
    """Put the parts in place, or take them away."""
    _parts[:] = [] if value is None else [value]
