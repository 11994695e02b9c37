"""AWS's binary event stream, as bytes arrive: frames with headers, a payload and two checksums.

A frame is its length, the length of its headers and a CRC-32 of both, then headers, payload, and a
CRC-32 of all before it; numbers are big-endian.
Source: Smithy specification, Amazon Event Stream.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from zlib import crc32

from models_registry.errors import MalformedReply
from models_registry.providers.sse import MAX_EVENT, MAX_EVENTS, Event

PRELUDE = struct.Struct(">III")
CHECKSUM = struct.Struct(">I")
LENGTH = struct.Struct(">H")
# How many bytes the value of a header has, by its type; None where a length stands before it.
SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 6: None, 7: None, 8: 8, 9: 16}
STRING = 7


def events(
    chunks: Iterable[bytes], *, max_event: int = MAX_EVENT, max_events: int = MAX_EVENTS
) -> Iterator[Event]:
    """Yield the events; an exception is an event of the exception's name.

    Raises:
        MalformedReply: a checksum is wrong, the last frame is cut, or a limit is exceeded.
    """
    held, count = bytearray(), 0
    for chunk in chunks:
        held += chunk
        while len(held) >= PRELUDE.size and len(held) >= (size := _size(held, max_event)):
            count += 1
            if count > max_events:
                raise MalformedReply("The stream has too many events.")
            yield _event(bytes(held[:size]))
            del held[:size]
    if held:
        raise MalformedReply("The stream ends inside an event.")


def _size(held: bytearray, max_event: int) -> int:
    """Return the size of the frame that begins here."""
    size, headers_size, checksum = PRELUDE.unpack_from(held)
    if crc32(held[: PRELUDE.size - CHECKSUM.size]) != checksum:
        raise MalformedReply("The stream holds what is no event.")
    if size > max_event:
        raise MalformedReply("An event of the stream is too large.")
    if size < PRELUDE.size + headers_size + CHECKSUM.size:
        raise MalformedReply("The stream holds an event of impossible size.")
    return int(size)


def _event(frame: bytes) -> Event:
    _, headers_size, _ = PRELUDE.unpack_from(frame)
    (checksum,) = CHECKSUM.unpack(frame[-CHECKSUM.size :])
    if crc32(frame[: -CHECKSUM.size]) != checksum:
        raise MalformedReply("An event of the stream was damaged on its way.")
    begin = PRELUDE.size + headers_size
    try:
        headers = _headers(frame[PRELUDE.size : begin])
    except (LookupError, struct.error) as exc:
        raise MalformedReply("An event of the stream has headers that are none.") from exc
    kind = headers.get(":message-type", "event")
    name = headers.get(f":{kind}-type", kind)
    return Event(name, frame[begin : -CHECKSUM.size].decode("utf-8", "replace"))


def _headers(data: bytes) -> dict[str, str]:
    """Return the headers that are text; no others matter here."""
    found, at = {}, 0
    while at < len(data):
        end = at + 1 + data[at]
        name, kind = data[at + 1 : end], data[end]
        at, size = end + 1, SIZES[kind]
        if size is None:
            (size,) = LENGTH.unpack_from(data, at)
            at += LENGTH.size
        if kind == STRING:
            found[name.decode("utf-8", "replace")] = data[at : at + size].decode("utf-8", "replace")
        at += size
    return found
