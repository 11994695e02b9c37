"""The index that finds words in prompts and answers: SQLite's FTS5, PostgreSQL's tsvector with GIN.

A row for each record that has content, written some seconds after the record was closed and never
on the way of a call (`gateway.audit.indexing`). Its key sorts by time, so a search walks from the
newest back and ends when a page is full, however common a word is. What is a word is decided here,
once for both databases: letters and digits; each character of a script without spaces by itself.

PostgreSQL's GIN knows no order. Each row therefore also holds its hour and its day as words, and a
search asks for the last hour, then the day, then the month, until it has enough (docs/adr/0017).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from gateway.audit.criteria import UnreadableCriteria

INDEX = "audit_contentindex"
# Of one record, in characters; the longest texts first. PostgreSQL takes 1 MB of words.
INDEXED_MAX = 200_000
WORD_MAX = 64
COUNT_MAX = 10_001
# On PostgreSQL one page of a search looks so far back: first an hour, then a day, then a month.
REACHES = (timedelta(hours=1), timedelta(days=1), timedelta(days=31))

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A key is the microsecond and ten bits of the id, which parts records of the same microsecond.
_KEY_BITS = 10
_KEY_MAX = (1 << 63) - 1

# What is in a body and not said by anybody.
_TECHNICAL = frozenset({"role", "finish_reason", "type"})
_SPACES = str.maketrans({chr(number): " " for number in range(128) if not chr(number).isalnum()})
_OTHER = re.compile(r"[\W_]+")
_LONG = re.compile(rf"(\w{{{WORD_MAX}}})\w+")
# Scripts that put no spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han, Hangul.
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
_TERM = re.compile(r'(?P<no>-?)(?:"(?P<phrase>[^"]*)"?|(?P<word>\S+))')


# Words


def words_of(bodies: Iterable[object]) -> str:
    """Return the words of a record's content, in their order, each text once."""
    told = ""
    for text in sorted((text for body in bodies for text in _texts(body)), key=len, reverse=True):
        if len(told) >= INDEXED_MAX:
            break
        # What the caller sent is mostly in the prompt too.
        if text not in told:
            told += f"\n{text}"
    return normalized(told[:INDEXED_MAX])


def normalized(text: str) -> str:
    """Return a text as its words, in lower case and with one form for each character."""
    if text.isascii():
        found = text.lower().translate(_SPACES)
    else:
        found = unicodedata.normalize("NFKC", text).casefold()
        found = _OTHER.sub(" ", _SPACELESS.sub(r" \g<0> ", found))
    return " ".join(_LONG.sub(r"\1", found).split())


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in _TECHNICAL:
                yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What is looked for: phrases of one or more words that must, and must not, be there."""

    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> Query:
        """Return what somebody typed: words, "phrases", and -words that must not be there.

        Raises:
            UnreadableCriteria: there is no word in it that must be there.
        """
        wanted: list[str] = []
        unwanted: list[str] = []
        for term in _TERM.finditer(text):
            words = normalized(term["word"] if term["phrase"] is None else term["phrase"])
            if words:
                (unwanted if term["no"] else wanted).append(words)
        if not wanted:
            raise UnreadableCriteria("There is no word in it that could be looked for.")
        return cls(wanted=tuple(wanted), unwanted=tuple(unwanted))


# Rows


def key_of(opened_at: datetime, record_id: UUID) -> int:
    """Return a record's place in the order of the index."""
    micros = (opened_at - _EPOCH) // timedelta(microseconds=1)
    return (micros << _KEY_BITS) | (record_id.int & ((1 << _KEY_BITS) - 1))


def place_of(key: int) -> tuple[datetime, UUID]:
    """Return a time and an id that have this key."""
    micros, bits = divmod(key, 1 << _KEY_BITS)
    return _EPOCH + timedelta(microseconds=micros), UUID(int=bits)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One record's row in the index."""

    record_id: UUID
    opened_at: datetime
    words: str


def indexed(since: datetime, until: datetime) -> dict[int, UUID]:
    """Return the records of a time that are in the index, by their keys."""
    key = "rowid" if _is_sqlite() else "key"
    sql = f"SELECT {key}, record_id FROM {INDEX} WHERE {key} BETWEEN %s AND %s"  # noqa: S608  # ours
    bounds = [key_of(since, UUID(int=0)), key_of(until, UUID(int=0)) + (2 << _KEY_BITS)]
    with connection.cursor() as cursor:
        cursor.execute(sql, bounds)
        return {row[0]: UUID(str(row[1])) for row in cursor.fetchall()}


def add(entries: Sequence[Entry], *, taken: Iterable[int] = ()) -> None:
    """Write rows for records that have none; `taken` are the keys of the same time in use."""
    if not entries:
        return
    used = set(taken)
    rows: list[tuple[Any, ...]] = []
    for entry in entries:
        key = key_of(entry.opened_at, entry.record_id)
        while key in used:
            key += 1
        used.add(key)
        rows.append(_row(key, entry))
    if _is_sqlite():
        sql = f"INSERT INTO {INDEX} (rowid, record_id, words) VALUES (%s, %s, %s)"  # noqa: S608  # ours
    else:
        sql = (
            f"INSERT INTO {INDEX} (key, record_id, words) VALUES "  # noqa: S608  # names of ours
            "(%s, %s, to_tsvector('simple', %s) || array_to_tsvector(%s))"
        )
    with connection.cursor() as cursor:
        cursor.executemany(sql, rows)


def forget(records: Iterable[tuple[UUID, datetime]]) -> None:
    """Take records out of the index, by id and time; call it where their content is deleted."""
    given = list(records)
    if not given:
        return
    key = "rowid" if _is_sqlite() else "key"
    # A key can have been moved up to make room for a neighbour's.
    sql = f"DELETE FROM {INDEX} WHERE {key} BETWEEN %s AND %s AND record_id = %s"  # noqa: S608  # ours
    with connection.cursor() as cursor:
        cursor.executemany(
            sql,
            [
                (first := key_of(at, record_id), first + (1 << _KEY_BITS), _id(record_id))
                for record_id, at in given
            ],
        )


def _row(key: int, entry: Entry) -> tuple[Any, ...]:
    row = (key, _id(entry.record_id), entry.words)
    return row if _is_sqlite() else (*row, [_hour(entry.opened_at), _day(entry.opened_at)])


# Search


@dataclass(frozen=True, kw_only=True, slots=True)
class Hits:
    """A statement for the ids of the records that hold the words, newest first, and its values.

    It finds none beyond the key `edge`, if that is set. `count` is a statement with a row for
    each, at most COUNT_MAX, and `counted` its values.
    """

    sql: str
    values: tuple[Any, ...]
    count: str
    counted: tuple[Any, ...]
    edge: int | None = None


def find(
    text: str,
    *,
    since: datetime | None,
    until: datetime | None,
    before: int | None,
    after: int | None,
    limit: int,
) -> Hits:
    """Return the hits of a search in a time, on one side of a key of the index.

    Raises:
        UnreadableCriteria: the text holds nothing that could be looked for.
    """
    query = Query.read(text)
    low, high = _bounds(since, until, before, after)
    direction = "DESC" if after is None else "ASC"
    if not _is_sqlite():
        return _postgresql_hits(query, low, high, is_forward=after is not None, limit=limit)
    where = f"FROM {INDEX} WHERE {INDEX} MATCH %s AND rowid BETWEEN %s AND %s"
    values = (_match(query), low, high)
    return Hits(
        sql=f"SELECT record_id {where} ORDER BY rowid {direction} LIMIT {limit}",
        values=values,
        count=f"SELECT rowid {where} LIMIT {COUNT_MAX}",
        counted=values,
    )


def _bounds(
    since: datetime | None, until: datetime | None, before: int | None, after: int | None
) -> tuple[int, int]:
    """Return the first and the last key that may be hit; none if the last is the smaller one."""
    lows, highs = [0], [_KEY_MAX]
    if since is not None:
        lows.append(key_of(since, UUID(int=0)))
    if after is not None:
        lows.append(after + 1)
    if until is not None:
        highs.append(key_of(until, UUID(int=0)) + (1 << _KEY_BITS) - 1)
    if before is not None:
        highs.append(before - 1)
    return min(max(lows), _KEY_MAX), max(min(highs), -1)


def _match(query: Query) -> str:
    """Return the query in FTS5's language; words hold only letters and digits."""
    wanted = " AND ".join(f'"{words}"' for words in query.wanted)
    return " NOT ".join((f"({wanted})", *(f'"{words}"' for words in query.unwanted)))


def _postgresql_hits(query: Query, low: int, high: int, *, is_forward: bool, limit: int) -> Hits:
    oldest, newest = _ends()
    low, high = max(low, oldest), min(high, newest)
    slices = _slices(low, high, is_forward=is_forward)
    where = f"FROM {INDEX} WHERE words @@ ({_tsquery(query)}) AND key BETWEEN %s AND %s"
    order = f"ORDER BY key {'ASC' if is_forward else 'DESC'} LIMIT {limit}"
    hits = " UNION ALL ".join([f"(SELECT record_id {where} {order})"] * len(slices))
    count = " UNION ALL ".join([f"(SELECT 1 {where} LIMIT {COUNT_MAX})"] * len(slices))
    values = tuple(
        value
        for first, last in slices
        for value in (*query.wanted, *query.unwanted, _moments(first, last), first, last)
    )
    edge = slices[-1][1] if is_forward else slices[-1][0]
    return Hits(
        # The slices are in order, and one is looked at only if those before it had too few.
        sql=f"SELECT record_id FROM ({hits}) AS slices LIMIT {limit}",  # noqa: S608  # names of ours
        values=values,
        count=f"SELECT 1 FROM ({count}) AS slices LIMIT {COUNT_MAX}",  # noqa: S608  # names of ours
        counted=values,
        edge=edge if low < edge < high else None,
    )


def _slices(low: int, high: int, *, is_forward: bool) -> list[tuple[int, int]]:
    """Return the keys between which to look, in the order to look: the nearest hour first."""
    if is_forward:
        edges = [low, *(key_of(_time_of(low) + reach, UUID(int=0)) for reach in REACHES)]
        pairs = [(near, far - 1) for near, far in pairwise(edges)]
    else:
        edges = [high, *(key_of(_time_of(high) - reach, UUID(int=0)) - 1 for reach in REACHES)]
        pairs = [(far + 1, near) for near, far in pairwise(edges)]
    inside = [(max(low, first), min(high, last)) for first, last in pairs]
    return [(first, last) for first, last in inside if first <= last] or [(low, high)]


def _ends() -> tuple[int, int]:
    """Return the first and the last key of the index."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT min(key), max(key) FROM {INDEX}")  # noqa: S608  # a name of ours
        oldest, newest = cursor.fetchone()
    now = key_of(timezone.now(), UUID(int=0))
    return (now, now) if oldest is None else (oldest, newest)


def _tsquery(query: Query) -> str:
    phrase = "phraseto_tsquery('simple', %s)"
    terms = [phrase] * len(query.wanted) + [f"!!{phrase}"] * len(query.unwanted)
    return " && ".join((*terms, "%s::tsquery"))


def _moments(first: int, last: int) -> str:
    """Return the words of all hours, or of all days, that a slice touches, as a query."""
    since, until = _time_of(first), _time_of(last)
    is_short = until - since <= REACHES[1]
    step, name = (REACHES[0], _hour) if is_short else (REACHES[1], _day)
    names = [name(since + step * count) for count in range((until - since) // step + 1)]
    return " | ".join(f"'{found}'" for found in dict.fromkeys((*names, name(until))))


# Never equal to a word of a text, which has no colon.
def _hour(at: datetime) -> str:
    return f"h:{(at - _EPOCH) // timedelta(hours=1)}"


def _day(at: datetime) -> str:
    return f"d:{(at - _EPOCH) // timedelta(days=1)}"


def _time_of(key: int) -> datetime:
    return place_of(key)[0]


def _id(record_id: UUID) -> Any:
    return record_id.hex if _is_sqlite() else record_id


def _is_sqlite() -> bool:
    return connection.vendor == "sqlite"
