"""Reading the chain beside the tables it vouches for, in flat memory: for verifying and exporting.

A lane's links come in order, each entry with what the tables hold for it now. Raw SQL, because a
record must cost microseconds; one snapshot, so that a log that is being written to stays still.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import orjson
from django.db import connection, models
from django.db.models import QuerySet

from gateway.audit.chain import formats
from gateway.audit.chain.formats import Entry, Head, Kind
from gateway.audit.chain.lanes import COLUMNS
from gateway.audit.models import (
    OPEN_STATES,
    Checkpoint,
    ContentKind,
    Event,
    InferenceContent,
    InferenceRecord,
    Lane,
    Link,
)

LINKS_PAGE = 200
ENTRIES_PAGE = 500
CHECKPOINTS_PAGE = 1000
HEAD_COLUMNS = 5

OPENINGS = (Kind.OPENED, Kind.WRITTEN)
CLOSINGS = (Kind.CLOSED, Kind.GIVEN_UP, Kind.WRITTEN)


class Found(NamedTuple):
    """What the tables hold for an entry; `link` is where the row says that its entry is."""

    facts: bytes
    salt: str
    link: int | None
    content: str | None
    content_salt: str | None


class Stored(NamedTuple):
    """A link as it stands in its table; `entries` is None where they cannot be read."""

    head: Head
    packed: bytes
    packed_entries: bytes
    hash: bytes
    entries: list[Entry] | None


class Read(NamedTuple):
    """A link with what the tables hold for each entry, None for nothing."""

    link: Stored
    found: list[Found | None]


@contextmanager
def snapshot() -> Iterator[None]:
    """Read one state of the database, without holding up its writers."""
    if connection.in_atomic_block:
        yield
        return
    is_postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        # Not `atomic`: on SQLite that takes the lock of the writers.
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ" if is_postgresql else "BEGIN")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


def lanes() -> Iterator[Lane]:
    """Yield the lanes in the order in which they began."""
    return Lane.objects.order_by("id").iterator()


def columns(statement: str) -> dict[str, tuple[str, ...]] | None:
    """Return which columns a lane's entries commit to; None if it names one that there is not."""
    try:
        named: dict[str, list[str]] = orjson.loads(statement)["columns"]
        known = {kind: tuple(named[kind]) for kind in COLUMNS}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    # They become SQL.
    are_known = all(set(names) <= set(_fields(kind)) for kind, names in known.items())
    return known if are_known else None


def links(lane: int, *, after: int = 0) -> Iterator[Stored]:
    """Yield the links of a lane in order."""
    newest, end = formats.link_id(lane, after), formats.link_id(lane + 1, 0)
    while True:
        page = _rows(
            f"SELECT id, at, lost, entries, hash FROM {Link._meta.db_table} "  # noqa: S608
            f"WHERE id > %s AND id < %s ORDER BY id LIMIT {LINKS_PAGE}",
            [newest, end],
        )
        yield from (stored(row) for row in page)
        if len(page) < LINKS_PAGE:
            return
        newest = page[-1][0]


def stored(row: Sequence[Any]) -> Stored:
    """Return a row of links, unpacked."""
    identity, at, lost, packed_entries, digest = row
    packed_entries = bytes(packed_entries)
    lane, number = formats.lane_and_number(identity)
    try:
        entries: list[Entry] | None = formats.unpack_entries(packed_entries)
        head = Head(lane, number, at, formats.unpack_lost(bytes(lost)), len(entries or ()))
        packed = head.packed()
    except (struct.error, UnicodeDecodeError):
        entries, packed = None, b""
        head = Head(lane, number, at, (), 0)
    return Stored(head, packed, packed_entries, bytes(digest), entries)


def read(stored_links: Iterable[Stored], names: Mapping[str, Sequence[str]]) -> Iterator[Read]:
    """Yield links with what the tables hold for their entries."""
    group: list[Stored] = []
    entries = 0
    for link in stored_links:
        group.append(link)
        entries += link.head.size
        if entries >= ENTRIES_PAGE:
            yield from _with_found(group, names)
            group, entries = [], 0
    yield from _with_found(group, names)


def _with_found(group: list[Stored], names: Mapping[str, Sequence[str]]) -> Iterator[Read]:
    wanted: dict[str, list[str]] = {kind: [] for kind in COLUMNS}
    for link in group:
        for entry in link.entries or ():
            if entry.kind in wanted:
                wanted[entry.kind].append(entry.subject)
    found = {
        kind: fetch(kind, subjects, tuple(names[kind])) if subjects else {}
        for kind, subjects in wanted.items()
    }
    for link in group:
        yield Read(
            link,
            [
                found[entry.kind].get(entry.subject) if entry.kind in found else None
                for entry in link.entries or ()
            ],
        )


def fetch(kind: str, subjects: Sequence[str], names: tuple[str, ...]) -> dict[str, Found]:
    """Return what the tables hold for entries of one kind, by subject."""
    statement, fractions = _select(kind, names)
    found: dict[str, Found] = {}
    remaining = iter(subjects)
    while chunk := list(islice(remaining, ENTRIES_PAGE)):
        given = chunk if connection.vendor == "postgresql" else orjson.dumps(chunk).decode()
        for row in _rows(statement, [given]):
            subject, salt, link, content, content_salt = row[:HEAD_COLUMNS]
            facts = orjson.dumps(_plain_values(row[HEAD_COLUMNS:], fractions))
            found[subject] = Found(facts, salt or "", link, content, content_salt)
    return found


def _plain_values(values: Sequence[Any], fractions: Sequence[int]) -> Sequence[Any]:
    if not fractions:
        return values
    changed = list(values)
    for index in fractions:
        if changed[index] is not None:
            changed[index] = repr(changed[index])
    return changed


# Rows that no entry stands for


class Loose(NamedTuple):
    """A row that the chain does not vouch for: a `record`, its `outcome`, its `answer`."""

    what: str
    record: str
    opened_at: datetime


def loose(rows: QuerySet[InferenceRecord]) -> Iterator[Loose]:
    """Yield what no entry stands for, among these records."""
    fields = ("id", "state", "opened_link", "closed_link", "opened_at")
    remaining = rows.order_by("id").values(*fields).iterator(chunk_size=ENTRIES_PAGE)
    while page := list(islice(remaining, ENTRIES_PAGE)):
        held = links_of(row[name] for row in page for name in ("opened_link", "closed_link"))
        for row in page:
            subject, is_open = row["id"].hex, row["state"] in OPEN_STATES
            if not stands_in(held.get(row["opened_link"]), subject, OPENINGS):
                yield Loose("record", subject, row["opened_at"])
            elif is_open and row["closed_link"] is None:
                continue
            elif not stands_in(held.get(row["closed_link"]), subject, CLOSINGS):
                yield Loose("outcome", subject, row["opened_at"])
    for answer in answers_of_open(rows).order_by("record_id"):
        record = InferenceRecord.objects.get(pk=answer.record_id)
        yield Loose("answer", record.pk.hex, record.opened_at)


def answers_of_open(rows: QuerySet[InferenceRecord]) -> QuerySet[InferenceContent]:
    """Return the answers of records that nobody closed; there should be none."""
    still_open = rows.filter(closed_link__isnull=True).values("id")
    return InferenceContent.objects.filter(kind=ContentKind.ANSWER, record_id__in=still_open)


def loose_events() -> Iterator[Event]:
    """Yield the events that no entry stands for."""
    for event in Event.objects.order_by("id").iterator(chunk_size=ENTRIES_PAGE):
        if not stands_in(links_of([event.link]).get(event.link), event.pk.hex, (Kind.EVENT,)):
            yield event


def links_of(ids: Iterable[int | None]) -> dict[int | None, Stored]:
    """Return links by their ids."""
    wanted = {identity for identity in ids if identity is not None}
    rows = Link.objects.filter(pk__in=wanted)
    return {row[0]: stored(row) for row in rows.values_list("id", "at", "lost", "entries", "hash")}


def stands_in(link: Stored | None, subject: str, kinds: Sequence[Kind]) -> bool:
    """Test whether a link holds an entry of one of these kinds for a subject."""
    entries = (link.entries if link is not None else None) or ()
    return any(entry.subject == subject and entry.kind in kinds for entry in entries)


def checkpoints() -> Iterator[Checkpoint]:
    """Yield the checkpoints, the newest first."""
    below = None
    while True:
        rows = Checkpoint.objects.order_by("-number")
        if below is not None:
            rows = rows.filter(number__lt=below)
        page = list(rows[:CHECKPOINTS_PAGE])
        yield from page
        if len(page) < CHECKPOINTS_PAGE:
            return
        below = page[-1].number


def _rows(statement: str, values: list[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows: list[Any] = cursor.fetchall()
    return rows


# Where each kind of entry finds its salt, its way back to the chain, and its content.
_PLACES = {
    Kind.OPENED: ("opening_salt", "opened_link", ContentKind.REQUEST),
    Kind.WRITTEN: ("opening_salt", "opened_link", ContentKind.REQUEST),
    Kind.CLOSED: ("outcome_salt", "closed_link", ContentKind.ANSWER),
    Kind.GIVEN_UP: ("outcome_salt", "closed_link", ContentKind.ANSWER),
}


@cache
def _select(kind: str, names: tuple[str, ...]) -> tuple[str, tuple[int, ...]]:
    """Return the statement that fetches rows by id, and which of the columns are fractions."""
    fields = _fields(kind)
    chosen = [_plain(fields[name]) for name in names]
    fractions = [
        index for index, name in enumerate(names) if isinstance(fields[name], models.FloatField)
    ]
    identity = _plain(fields["id"])
    if kind == Kind.EVENT:
        head = f"{identity}, t.salt, t.link, NULL, NULL"
        source = f"{Event._meta.db_table} AS t"
    else:
        salt, link, content = _PLACES[Kind(kind)]
        head = f"{identity}, t.{salt}, t.{link}, content.body, content.salt"
        source = (
            f"{InferenceRecord._meta.db_table} AS t LEFT JOIN {InferenceContent._meta.db_table} "
            f"AS content ON content.record_id = t.id AND content.kind = {content.value}"
        )
    is_postgresql = connection.vendor == "postgresql"
    among = "ANY(%s::uuid[])" if is_postgresql else "(SELECT value FROM json_each(%s))"
    operator = "=" if is_postgresql else "IN"
    statement = f"SELECT {', '.join([head, *chosen])} FROM {source} WHERE t.id {operator} {among}"  # noqa: S608
    return statement, tuple(fractions)


def _plain(field: models.Field[Any, Any]) -> str:
    """Return the SQL that gives a column's value as `formats.plain` does, but for fractions."""
    column, is_postgresql = f"t.{field.column}", connection.vendor == "postgresql"
    if isinstance(field, models.DateTimeField):
        as_text = f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
        # SQLite stores that text; an expression keeps the driver from parsing it.
        return as_text if is_postgresql else f"({column} || '')"
    if isinstance(field, models.BooleanField):
        return f"{column}::int" if is_postgresql else f"(+{column})"
    if isinstance(field, models.UUIDField) and is_postgresql:
        return f"replace({column}::text, '-', '')"
    return column


@cache
def _fields(kind: str) -> dict[str, models.Field[Any, Any]]:
    model = Event if kind == Kind.EVENT else InferenceRecord
    return {str(field.column): field for field in model._meta.concrete_fields}
