"""Server-sent events from bytes, as they arrive.

Lines end at LF, CR or CRLF and nowhere else: U+2028 and U+0085 may stand inside JSON.
Source: HTML Living Standard, section 9.2.6 (event stream interpretation).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from models_registry.errors import MalformedReply

MAX_LINE = 256 * 1024
MAX_EVENT = 1024 * 1024
MAX_EVENTS = 100_000

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `name` is empty where the server named none."""

    name: str
    data: str


def events(
    chunks: Iterable[bytes],
    *,
    max_line: int = MAX_LINE,
    max_event: int = MAX_EVENT,
    max_events: int = MAX_EVENTS,
) -> Iterator[Event]:
    """Yield the events that have data; an event that is not ended by a blank line is dropped.

    Raises:
        MalformedReply: a line, an event or the number of events is over its limit.
    """
    name, size, count = "", 0, 0
    data: list[bytes] = []
    for line in _lines(chunks, max_line):
        if line:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
                size += len(value) + 1
                if size > max_event:
                    raise MalformedReply("An event of the stream is too large.")
            elif field == b"event":
                name = value.decode("utf-8", "replace")
            continue
        if data:
            count += 1
            if count > max_events:
                raise MalformedReply("The stream has too many events.")
            yield Event(name, b"\n".join(data).decode("utf-8", "replace"))
        name, data, size = "", [], 0


def _lines(chunks: Iterable[bytes], max_line: int) -> Iterator[bytes]:
    """Yield whole lines without their ends, in linear time however the bytes are cut."""
    held: list[bytes] = []
    held_size = 0
    is_first, ended_in_cr = True, False
    for chunk in chunks:
        if ended_in_cr and chunk:
            # A CR ended the last line; a LF right after it belongs to the same end.
            chunk = chunk.removeprefix(b"\n")
            ended_in_cr = False
        *whole, rest = _LINE_END.split(chunk)
        for part in whole:
            held.append(part)
            line = b"".join(held)
            _check(len(line), max_line)
            held, held_size = [], 0
            yield line.removeprefix(_BOM) if is_first else line
            is_first = False
        if rest:
            held.append(rest)
            held_size += len(rest)
            _check(held_size, max_line)
        ended_in_cr = chunk.endswith(b"\r") or (ended_in_cr and not chunk)


def _check(size: int, max_line: int) -> None:
    if size > max_line:
        raise MalformedReply("A line of the stream is too long.")
