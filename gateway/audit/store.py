"""The SQL of the hot path: open, claim and close records in batches.

Raw SQL, because a batch must cost one round trip and one commit, whatever its size: PostgreSQL
takes all rows as one JSON parameter and both tables in one statement, SQLite takes `executemany`
inside one transaction. Column lists are read from the models, so a new column needs no edit here.
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

from gateway.audit.models import ContentKind, InferenceContent, InferenceRecord

# A row is a mapping from column to value; these two columns are not the record's own.
Row = dict[str, Any]

RECORD = InferenceRecord._meta.db_table
CONTENT = InferenceContent._meta.db_table
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
CLAIMED_COLUMNS = (
    "id",
    "web_process",
    "revision_id",
    "feature",
    "is_streamed",
    "opened_at",
    "deadline_at",
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
    correlation_id: str
    request: dict[str, Any]


class Store:
    """The statements; one instance belongs to the one thread whose connection it uses.

    A statement outside `together` is committed when it returns.
    """

    def together(self) -> AbstractContextManager[None]:
        """Commit everything inside at once, or nothing."""
        raise NotImplementedError

    def open(self, rows: Sequence[Row]) -> None:
        """Insert records and their requests; `request` in a row is the content, None for none."""
        raise NotImplementedError

    def claim(self, ids: Sequence[UUID], *, worker: str, now: datetime) -> list[Claim]:
        """Give this worker those of the records that are still queued, with their requests."""
        raise NotImplementedError

    def close(self, rows: Sequence[Row]) -> set[UUID]:
        """Close records and add their answers; return the ids that were still open.

        A row holds `id`, `state`, OUTCOME_COLUMNS, `answer` (content or None) and `worker`: the
        worker that must hold the claim, or None where the caller may close whoever holds it.
        """
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

    def open(self, rows: Sequence[Row]) -> None:
        names = tuple(BLANK)
        marks = ", ".join("?" for _ in names)
        with self._transaction() as cursor:
            cursor.executemany(
                f"INSERT INTO {RECORD} ({', '.join(names)}) VALUES ({marks})",  # noqa: S608
                [[_sqlite_value(row[name]) for name in names] for row in rows],
            )
            _sqlite_contents(
                cursor,
                ((row["id"], ContentKind.REQUEST, row["request"]) for row in rows),
            )

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

    def close(self, rows: Sequence[Row]) -> set[UUID]:
        names = ("state", *OUTCOME_COLUMNS)
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
                    (row["id"], ContentKind.ANSWER, row["answer"])
                    for row in rows
                    if row["id"] in closed
                ),
            )
        return closed


class PostgresqlStore(Store):
    """PostgreSQL: each batch is one statement, so one round trip and one commit."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run everything inside in one transaction: one wait for the disk."""
        with _postgresql().transaction():
            yield

    def open(self, rows: Sequence[Row]) -> None:
        names = tuple(BLANK)
        statement = (
            "WITH given AS MATERIALIZED (SELECT * FROM json_to_recordset(%s) AS "  # noqa: S608
            f"given ({_typed(names)}, request text)), "
            f"opened AS (INSERT INTO {RECORD} ({', '.join(names)}) "
            f"SELECT {', '.join(names)} FROM given) "
            f"INSERT INTO {CONTENT} (record_id, kind, body) "
            f"SELECT id, {ContentKind.REQUEST.value}, request FROM given "
            "WHERE request IS NOT NULL"
        )
        _postgresql().execute(statement, [_json(rows)], prepare=True)

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

    def close(self, rows: Sequence[Row]) -> set[UUID]:
        names = ("state", *OUTCOME_COLUMNS)
        statement = (
            "WITH given AS MATERIALIZED (SELECT * FROM json_to_recordset(%s) AS "  # noqa: S608
            f"given (id uuid, worker text, answer text, {_typed(names)})), "
            f"closed AS (UPDATE {RECORD} AS record SET "
            f"{', '.join(f'{name} = given.{name}' for name in names)} FROM given "
            f"WHERE record.id = given.id AND record.{OPEN} "
            "AND (given.worker IS NULL OR record.worker_process = given.worker) "
            "RETURNING record.id), "
            f"answered AS (INSERT INTO {CONTENT} (record_id, kind, body) "
            f"SELECT given.id, {ContentKind.ANSWER.value}, given.answer FROM given "
            "JOIN closed USING (id) WHERE given.answer IS NOT NULL) "
            "SELECT id FROM closed"
        )
        won = _postgresql().execute(statement, [_json(rows)], prepare=True).fetchall()
        return {row[0] for row in won}


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
            "request": orjson.loads(row[-1]),
        }
    )


def _sqlite_contents(cursor: Any, contents: Iterable[tuple[UUID, int, str | None]]) -> None:
    cursor.executemany(
        f"INSERT INTO {CONTENT} (record_id, kind, body) VALUES (?, ?, ?)",  # noqa: S608
        [
            (record_id.hex, int(kind), body)
            for record_id, kind, body in contents
            if body is not None
        ],
    )


def _sqlite_value(value: Any) -> Any:
    """Return what Django's SQLite backend would store."""
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
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
