"""Taking records out of the log: for spreadsheets, for programs, and as evidence.

All of it is made as it is sent, some records at a time, so memory stays flat.

What people and models wrote stays inert in every reader. JSON is pure ASCII, with < and & escaped
too, and says exactly what is on record. In CSV every cell is quoted, what a spreadsheet would take
for a formula gets an apostrophe before it, and hidden characters are spelled out; content stands
there as JSON. Sources: OWASP, CSV Injection; reliability.md J2, X2 to X4.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from gateway.audit import listing
from gateway.audit.criteria import Criteria
from gateway.audit.escapes import visible
from gateway.audit.models import ContentKind, ContentReading, InferenceContent, InferenceRecord

CHUNK = 500
# A prompt and its answer can be 12 MB.
CONTENT_CHUNK = 20
COLUMNS = tuple(field.name for field in InferenceRecord._meta.concrete_fields)
HALVES = {ContentKind.REQUEST: "request", ContentKind.ANSWER: "answer"}
# What spreadsheets begin a formula with, also in the wide forms of East Asia.
FORMULA = tuple("=+-@\t\r\n＝＋－＠|%")

CSV, JSONL, BUNDLE = "csv", "jsonl", "zip"
MEDIA_TYPES = {
    CSV: "text/csv; charset=utf-8",
    JSONL: "application/x-ndjson",
    BUNDLE: "application/zip",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """Who exports, why, what and when; a bundle's manifest says so."""

    reader: str
    reason: str
    criteria: Criteria
    has_content: bool
    at: datetime

    @classmethod
    def of(cls, reading: ContentReading, criteria: Criteria) -> About:
        """Return what is on record about an export."""
        return cls(
            reader=reading.reader,
            reason=reading.reason,
            criteria=criteria,
            has_content=reading.has_content,
            at=reading.at,
        )

    def until_now(self) -> Criteria:
        """Return the criteria for what was opened by the time of the export, and no later."""
        until = self.criteria.until
        return replace(self.criteria, until=self.at if until is None else min(until, self.at))


@dataclass(slots=True)
class Tally:
    """How many records an export took so far."""

    count: int = 0


Row = dict[str, Any]


def pieces(format_: str, about: About, *, tally: Tally) -> Iterator[bytes]:
    """Yield an export in any of the formats."""
    if format_ == BUNDLE:
        yield from bundle(about, tally=tally)
    else:
        yield from lines(format_, about, tally=tally)


def lines(format_: str, about: About, *, tally: Tally) -> Iterator[bytes]:
    """Yield an export as CSV or JSON lines, in pieces of some hundred kilobytes."""
    write = _csv if format_ == CSV else _jsonl
    yield from write(_rows(about, tally), about.has_content)


def _rows(about: About, tally: Tally) -> Iterator[list[Row]]:
    size = CONTENT_CHUNK if about.has_content else CHUNK
    for records in listing.everything(about.until_now(), chunk=CHUNK):
        for start in range(0, len(records), size):
            part = records[start : start + size]
            contents = _contents([record.pk for record in part]) if about.has_content else {}
            # Before they are sent: a reader who hangs up may have had all of them.
            tally.count += len(part)
            yield [{**row(record), **contents.get(record.pk, {})} for record in part]
            # Streams of the same process get their turn.
            time.sleep(0)


def row(record: InferenceRecord) -> Row:
    """Return what is on record about a call, without content, by column."""
    return {name: _plain(getattr(record, name)) for name in COLUMNS}


def _contents(record_ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
    found: dict[UUID, dict[str, Any]] = {pk: dict.fromkeys(HALVES.values()) for pk in record_ids}
    for half in InferenceContent.objects.filter(record_id__in=record_ids):
        found[half.record_id][HALVES[ContentKind(half.kind)]] = json.loads(half.body)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


# Formats


def as_json(value: object) -> str:
    """Return JSON on one line, of printable ASCII only, that means nothing as HTML."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _jsonl(chunks: Iterable[list[Row]], _: bool) -> Iterator[bytes]:
    for rows in chunks:
        yield "".join(f"{as_json(row)}\n" for row in rows).encode()


def _csv(chunks: Iterable[list[Row]], has_content: bool) -> Iterator[bytes]:
    names = [*COLUMNS, *(HALVES.values() if has_content else ())]
    yield _csv_lines([names])
    for rows in chunks:
        yield _csv_lines([[cell(row[name]) for name in names] for row in rows])


def cell(value: object) -> str:
    """Return a value as a spreadsheet may have it: text that is no formula and hides nothing."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, dict):
        return as_json(value)
    text = visible(str(value))
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text


def _csv_lines(rows: Iterable[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode()


# The bundle


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A file of a bundle, made as it is written."""

    name: str
    pieces: Iterable[bytes]


def bundle(about: About, *, tally: Tally) -> Iterator[bytes]:
    """Yield a zip file of `_parts`, and `manifest.json` with the SHA-256 of each before it."""
    out = _Outlet()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        files: dict[str, dict[str, object]] = {}
        for part in _parts(about, tally):
            digest, size = hashlib.sha256(), 0
            with archive.open(_entry(part.name, about.at), "w", force_zip64=True) as file:
                for piece in part.pieces:
                    file.write(piece)
                    digest.update(piece)
                    size += len(piece)
                    yield out.take()
            files[part.name] = {"sha256": digest.hexdigest(), "bytes": size}
        archive.writestr(_entry("manifest.json", about.at), _manifest(about, files, tally))
    yield out.take()


def _parts(about: About, tally: Tally) -> Iterator[Part]:
    yield Part(name="records.jsonl", pieces=lines(JSONL, about, tally=tally))


def _manifest(about: About, files: Mapping[str, object], tally: Tally) -> bytes:
    manifest = {
        "made_at": about.at.isoformat(),
        "made_by": about.reader,
        "reason": about.reason,
        "filter": about.criteria.as_query(),
        "with_content": about.has_content,
        "records": tally.count,
        "files": files,
    }
    return json.dumps(manifest, indent=2).encode() + b"\n"


def _entry(name: str, at: datetime) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=at.timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


class _Outlet(io.RawIOBase):
    """A file that cannot be rewound: what was written to it waits to be taken."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken = b"".join(self._waiting)
        self._waiting.clear()
        return taken
