"""The journal: what a stream delivers is written to a file before it is sent.

A process that is killed cannot say how far it came. Its journal can: a `write` reaches the page
cache and survives kill -9, costs 3 µs, and needs no commit. The reaper closes the records of dead
processes with the text it finds here, so that no record is shorter than what the client got.

A plain answer needs no entry: its outcome is committed before its first byte.

Shape of a file: entries of record id (16 bytes), length (4 bytes, big-endian), UTF-8 text. Files
are named `<process id>.<number>`; one ends when it is large, and goes when no record in it is open.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from django.conf import settings

SEGMENT_MAX_BYTES = 16 * 1024 * 1024
_HEAD = struct.Struct(">16sI")


def folder() -> Path:
    """Return where the journals of this machine's processes are."""
    return Path(settings.GATEWAY_DATA_DIR) / "journal"


@dataclass(slots=True)
class _Segment:
    """One file and the records that have entries in it and are still open."""

    path: Path
    descriptor: int
    size: int = 0
    records: set[UUID] = field(default_factory=set)


class Journal:
    """The journal of this process."""

    def __init__(self, process_id: str) -> None:
        """Open nothing before the first entry: a process without streams leaves no file."""
        self._process_id = process_id
        self._segments: list[_Segment] = []
        self._number = 0

    def append(self, record_id: UUID, text: str) -> None:
        """Write down a piece that is about to be sent.

        Raises:
            OSError: it cannot be written, so it must not be sent.
        """
        segment = self._segments[-1] if self._segments else self._next_segment()
        if segment.size >= SEGMENT_MAX_BYTES:
            segment = self._next_segment()
        data = text.encode("utf-8", "surrogatepass")
        entry = _HEAD.pack(record_id.bytes, len(data)) + data
        if os.write(segment.descriptor, entry) != len(entry):
            raise OSError("the journal took only a part of an entry")
        segment.size += len(entry)
        segment.records.add(record_id)

    def forget(self, record_id: UUID) -> None:
        """Let go of a record whose outcome is committed."""
        for segment in self._segments:
            segment.records.discard(record_id)
        while len(self._segments) > 1 and not self._segments[0].records:
            self._remove(self._segments.pop(0))

    def close(self) -> None:
        """Remove the files; call when every record of the process is closed."""
        for segment in self._segments:
            self._remove(segment)
        self._segments.clear()

    def _next_segment(self) -> _Segment:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        self._number += 1
        path = folder() / f"{self._process_id}.{self._number}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        segment = _Segment(path=path, descriptor=os.open(path, flags, 0o600))
        self._segments.append(segment)
        return segment

    def _remove(self, segment: _Segment) -> None:
        os.close(segment.descriptor)
        segment.path.unlink(missing_ok=True)


def delivered(process_id: str, record_ids: Iterable[UUID]) -> dict[UUID, str]:
    """Return what a dead process delivered of these records, as far as this machine knows."""
    wanted = set(record_ids)
    pieces: dict[UUID, list[bytes]] = {}
    for path in _files(process_id):
        for record_id, text in _entries(path.read_bytes()):
            if record_id in wanted:
                pieces.setdefault(record_id, []).append(text)
    return {
        record_id: b"".join(texts).decode("utf-8", "replace") for record_id, texts in pieces.items()
    }


def discard(process_id: str) -> None:
    """Remove the journal of a dead process whose records are closed."""
    for path in _files(process_id):
        path.unlink(missing_ok=True)


def owners() -> set[str]:
    """Return the processes of this machine that left a journal."""
    return {path.name.partition(".")[0] for path in folder().glob("*.*")}


def _files(process_id: str) -> list[Path]:
    return sorted(folder().glob(f"{process_id}.*"), key=lambda path: int(path.suffix[1:]))


def _entries(data: bytes) -> Iterable[tuple[UUID, bytes]]:
    """Yield the whole entries; a torn one at the end was never sent."""
    at = 0
    while at + _HEAD.size <= len(data):
        key, length = _HEAD.unpack_from(data, at)
        start, at = at + _HEAD.size, at + _HEAD.size + length
        if at > len(data):
            return
        yield UUID(bytes=key), data[start:at]
