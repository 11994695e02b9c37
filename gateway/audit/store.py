"""The SQL of the hot path: open, claim and close records in batches.

Raw SQL, because a batch must cost one round trip and one commit, whatever its size: PostgreSQL
takes all rows as one JSON parameter and all tables in one statement, SQLite takes `executemany`
inside one transaction. Column lists are read from the models, so a new column needs no edit here.
What opens or closes records brings the link that chains it (`gateway.audit.chain`).
Measured beside the ORM: benchmarks and `docs/adr/0005`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from gateway.audit.models import (
    ContentKind,
    Event,
    InferenceContent,
    InferenceRecord,
    Link,
)

# A row is a mapping from column to value; these two columns are not the record's own.
Row = dict[str, Any]

RECORD = InferenceRecord._meta.db_table
CONTENT = InferenceContent._meta.db_table
LINK = Link._meta.db_table
EVENT = Event._meta.db_table
OPEN = "state IN ('queued', 'running')"
# What a column holds as long as nothing is known: None, or empty where NULL is not allowed.
BLANK: Row = {
    str(field.column): field.get_default() for field in InferenceRecord._meta.concrete_fields
}

# What an outcome may set, apart from the state.
OUTCOME_COLUMNS = (
    "closed_at",
    "queue_ms",
    "connect_ms",
    "first_token_ms",
    "total_ms",
    "prompt_tokens",
    "completion_tokens",
    "are_tokens_estimated",
    "model_calls",
    "error_code",
    "error_detail",
    "backend_status",
)
CLOSE_COLUMNS = ("state", *OUTCOME_COLUMNS, "closed_link", "outcome_salt")
EVENT_COLUMNS = tuple(str(field.column) for field in Event._meta.concrete_fields)
CLAIMED_COLUMNS = (
    "id",
    "web_process",
    "revision_id",
    "feature",
    "is_streamed",
    "opened_at",
    "deadline_at",
    "claimed_at",
    "correlation_id",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a worker gets of a record that it won."""

    id: UUID
    web_process: str
    revision_id: int
    feature: str
    is_streamed: bool
    opened_at: datetime
    deadline_at: datetime
    claimed_at: datetime
    correlation_id: str
    request: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkRow:
    """A row of the chain, committed with what it chains."""

    id: int
    at: int
    lost: bytes
    entries: bytes
    hash: bytes

    def values(self) -> list[int | bytes]:
        """Return the values in the order of LINK_COLUMNS."""
        return [self.id, self.at, self.lost, self.entries, self.hash]


LINK_COLUMNS = ("id", "at", "lost", "entries", "hash")


class Store:
    """The statements; one instance belongs to the one thread whose connection it uses.

    A statement outside `together` is committed when it returns.
    """

    def together(self) -> AbstractContextManager[None]:
        """Commit everything inside at once, or nothing."""
        raise NotImplementedError

    def open(self, rows: Sequence[Row], link: LinkRow) -> None:
        """Insert records and their requests; `request` in a row is the content, None for none."""
        raise NotImplementedError

    def claim(self, ids: Sequence[UUID], *, worker: str, now: datetime) -> list[Claim]:
        """Give this worker those of the records that are still queued, with their requests."""
        raise NotImplementedError

    def close(self, rows: Sequence[Row], link: LinkRow) -> set[UUID]:
        """Close records and add their answers; return the ids that were still open.

        A row holds `id`, CLOSE_COLUMNS, `answer` (content or None) with its salt, and `worker`: the
        worker that must hold the claim, or None where the caller may close whoever holds it. No
        two rows may have the same id.
        """
        raise NotImplementedError

    def note(self, row: Row, link: LinkRow) -> None:
        """Insert an event."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Drop the connection, so that the next batch begins with a new one."""
        connection.close()


class SqliteStore(Store):
    """SQLite: one explicit transaction for all that is written together."""

    def __init__(self) -> None:
        """Begin outside a transaction."""
        self._cursor: Any = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run everything inside in one transaction: one write to the disk."""
        with self._transaction():
            yield

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Yield a cursor inside BEGIN IMMEDIATE … COMMIT; an outer transaction is joined."""
        if self._cursor is not None:
            yield self._cursor
            return
        connection.ensure_connection()
        cursor = self._cursor = connection.connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")
        finally:
            self._cursor = None
            cursor.close()

    def open(self, rows: Sequence[Row], link: LinkRow) -> None:
        with self._transaction() as cursor:
            cursor.executemany(_insert(RECORD, tuple(BLANK)), _sqlite_rows(rows, tuple(BLANK)))
            _sqlite_contents(
                cursor,
                (
                    (row["id"], ContentKind.REQUEST, row["request"], row["request_salt"])
                    for row in rows
                ),
            )
            cursor.execute(_insert(LINK, LINK_COLUMNS), link.values())

    def claim(self, ids: Sequence[UUID], *, worker: str, now: datetime) -> list[Claim]:
        request = (
            f"(SELECT body FROM {CONTENT} WHERE record_id = {RECORD}.id "  # noqa: S608
            f"AND kind = {ContentKind.REQUEST.value})"
        )
        statement = (
            f"UPDATE {RECORD} SET state = 'running', claimed_at = ?, worker_process = ? "  # noqa: S608
            "WHERE id IN (SELECT value FROM json_each(?)) AND state = 'queued' "
            f"RETURNING {', '.join(CLAIMED_COLUMNS)}, {request}"
        )
        stamp = _sqlite_value(now)
        wanted = orjson.dumps([record_id.hex for record_id in ids]).decode()
        with self._transaction() as cursor:
            won = cursor.execute(statement, [stamp, worker, wanted]).fetchall()
        return [_claim(row, parse_time=_sqlite_time) for row in won]

    def close(self, rows: Sequence[Row], link: LinkRow) -> set[UUID]:
        names = CLOSE_COLUMNS
        statement = (
            f"UPDATE {RECORD} SET {', '.join(f'{name} = ?' for name in names)} "  # noqa: S608
            f"WHERE id = ? AND {OPEN} AND (? IS NULL OR worker_process = ?)"
        )
        closed: set[UUID] = set()
        with self._transaction() as cursor:
            for row in rows:
                values = [_sqlite_value(row[name]) for name in names]
                worker = row["worker"]
                cursor.execute(statement, [*values, row["id"].hex, worker, worker])
                if cursor.rowcount == 1:
                    closed.add(row["id"])
            _sqlite_contents(
                cursor,
                (
                    (row["id"], ContentKind.ANSWER, row["answer"], row["answer_salt"])
                    for row in rows
                    if row["id"] in closed
                ),
            )
            cursor.execute(_insert(LINK, LINK_COLUMNS), link.values())
        return closed

    def note(self, row: Row, link: LinkRow) -> None:
        with self._transaction() as cursor:
            cursor.executemany(_insert(EVENT, EVENT_COLUMNS), _sqlite_rows([row], EVENT_COLUMNS))
            cursor.execute(_insert(LINK, LINK_COLUMNS), link.values())


class PostgresqlStore(Store):
    """PostgreSQL: each batch is one statement, so one round trip and one commit."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run everything inside in one transaction: one wait for the disk."""
        with _postgresql().transaction():
            yield

    def open(self, rows: Sequence[Row], link: LinkRow) -> None:
        names = tuple(BLANK)
        statement = (
            "WITH given AS MATERIALIZED (SELECT * FROM json_to_recordset(%s) AS "  # noqa: S608
            f"given ({_typed(names)}, request text, request_salt text)), "
            f"opened AS (INSERT INTO {RECORD} ({', '.join(names)}) "
            f"SELECT {', '.join(names)} FROM given), "
            f"linked AS ({_insert(LINK, LINK_COLUMNS, '%s')}) "
            f"INSERT INTO {CONTENT} (record_id, kind, body, salt) "
            f"SELECT id, {ContentKind.REQUEST.value}, request, request_salt FROM given "
            "WHERE request IS NOT NULL"
        )
        _postgresql().execute(statement, [_json(rows), *link.values()], prepare=True)

    def claim(self, ids: Sequence[UUID], *, worker: str, now: datetime) -> list[Claim]:
        statement = (
            f"UPDATE {RECORD} SET state = 'running', claimed_at = %s, worker_process = %s "  # noqa: S608
            "WHERE id = ANY(%s) AND state = 'queued' "
            f"RETURNING {', '.join(CLAIMED_COLUMNS)}, (SELECT body FROM {CONTENT} "
            f"WHERE record_id = {RECORD}.id AND kind = {ContentKind.REQUEST.value})"
        )
        values = [now, worker, list(ids)]
        won = _postgresql().execute(statement, values, prepare=True).fetchall()
        return [_claim(row, parse_time=lambda value: value) for row in won]

    def close(self, rows: Sequence[Row], link: LinkRow) -> set[UUID]:
        names = CLOSE_COLUMNS
        statement = (
            "WITH given AS MATERIALIZED (SELECT * FROM json_to_recordset(%s) AS "  # noqa: S608
            f"given (id uuid, worker text, answer text, answer_salt text, {_typed(names)})), "
            f"closed AS (UPDATE {RECORD} AS record SET "
            f"{', '.join(f'{name} = given.{name}' for name in names)} FROM given "
            f"WHERE record.id = given.id AND record.{OPEN} "
            "AND (given.worker IS NULL OR record.worker_process = given.worker) "
            "RETURNING record.id), "
            f"answered AS (INSERT INTO {CONTENT} (record_id, kind, body, salt) "
            f"SELECT given.id, {ContentKind.ANSWER.value}, given.answer, given.answer_salt "
            "FROM given JOIN closed USING (id) WHERE given.answer IS NOT NULL), "
            f"linked AS ({_insert(LINK, LINK_COLUMNS, '%s')}) "
            "SELECT id FROM closed"
        )
        values = [_json(rows), *link.values()]
        won = _postgresql().execute(statement, values, prepare=True).fetchall()
        return {row[0] for row in won}

    def note(self, row: Row, link: LinkRow) -> None:
        statement = (
            f"WITH linked AS ({_insert(LINK, LINK_COLUMNS, '%s')}) "
            f"{_insert(EVENT, EVENT_COLUMNS, '%s')}"
        )
        values = [*link.values(), *(row[name] for name in EVENT_COLUMNS)]
        _postgresql().execute(statement, values)


def for_connection() -> Store:
    """Return the store for the database that the settings name."""
    return SqliteStore() if connection.vendor == "sqlite" else PostgresqlStore()


def _claim(row: Sequence[Any], *, parse_time: Any) -> Claim:
    values = dict(zip(CLAIMED_COLUMNS, row[:-1], strict=True))
    return Claim(
        **values
        | {
            "id": values["id"] if isinstance(values["id"], UUID) else UUID(values["id"]),
            "is_streamed": bool(values["is_streamed"]),
            "opened_at": parse_time(values["opened_at"]),
            "deadline_at": parse_time(values["deadline_at"]),
            "claimed_at": parse_time(values["claimed_at"]),
            "request": orjson.loads(row[-1]),
        }
    )


@cache
def _insert(table: str, names: tuple[str, ...], mark: str = "?") -> str:
    marks = ", ".join(mark for _ in names)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608


def _sqlite_contents(cursor: Any, contents: Iterable[tuple[UUID, int, str | None, str]]) -> None:
    cursor.executemany(
        _insert(CONTENT, ("record_id", "kind", "body", "salt")),
        [
            (record_id.hex, int(kind), body, salt)
            for record_id, kind, body, salt in contents
            if body is not None
        ],
    )


def _sqlite_rows(rows: Sequence[Row], names: Sequence[str]) -> list[list[Any]]:
    return [[_sqlite_value(row[name]) for name in names] for row in rows]


def _sqlite_value(value: Any) -> Any:
    """Return what Django's SQLite backend would store."""
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return value.isoformat(" ", "microseconds")[:26]  # in UTC, as all our times are
    return value


def _sqlite_time(value: str) -> datetime:
    return datetime.fromisoformat(f"{value}+00:00")


def _postgresql() -> Any:
    connection.ensure_connection()
    return connection.connection


@cache
def _typed(names: tuple[str, ...]) -> str:
    types = {
        field.column: field.db_type(connection) for field in InferenceRecord._meta.concrete_fields
    }
    return ", ".join(f"{name} {types[name]}" for name in names)


def _json(rows: Sequence[Row]) -> str:
    return orjson.dumps(rows).decode()
