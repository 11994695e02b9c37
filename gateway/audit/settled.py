"""Going over the log once, as it grows: what is closed and not done with yet.

Calls are closed in any order, and a commit can come later than the time it bears. So no single
cursor tells what was seen: a look goes over all records from the last point before which everything
is closed, done with and older than SETTLED_AFTER, and asks of each whether it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from gateway.audit.conditions import RECORD, between, beyond, joined
from gateway.audit.criteria import Criteria
from gateway.audit.models import InferenceRecord

# Longer than a statement may hang (30 s) and the clocks of two machines differ.
SETTLED_AFTER = timedelta(seconds=60)
CHUNK = 2_000
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A record, as far as it is needed to go over the log."""

    id: UUID
    opened_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a look found: closed records to do, oldest first.

    When they are done, everything opened before `reached` is. `is_behind` if there is more to do.
    """

    todo: tuple[Row, ...]
    reached: datetime
    is_behind: bool


def look(
    reached: datetime | None,
    *,
    now: datetime,
    limit: int,
    done: Callable[[Sequence[Row]], set[UUID]],
) -> Look:
    """Return what is to be done since `reached`; `done` tells which of some rows are."""
    start = reached or BEGINNING
    settled = max(start, now - SETTLED_AFTER)
    todo: list[Row] = []
    at: Row | None = None
    while rows := _next_rows(start, at):
        ready = done(rows)
        for row in rows:
            if row.closed_at is None:
                settled = min(settled, row.opened_at)
            elif row.id not in ready:
                if len(todo) == limit:
                    return Look(
                        todo=tuple(todo), reached=min(settled, row.opened_at), is_behind=True
                    )
                todo.append(row)
        at = rows[-1]
        if len(rows) < CHUNK:
            break
    return Look(todo=tuple(todo), reached=settled, is_behind=False)


def _next_rows(start: datetime, after: Row | None) -> list[Row]:
    begins = between(Criteria(since=start))
    if after is not None:
        begins = (beyond(after.opened_at, after.id, is_forward=True),)
    where, values = joined(begins, "r")
    rows = InferenceRecord.objects.raw(
        f"SELECT id, opened_at, closed_at FROM {RECORD} AS r WHERE {where} "  # noqa: S608  # ours
        f"ORDER BY opened_at, id LIMIT {CHUNK}",
        values,
    )
    return [Row(id=row.pk, opened_at=row.opened_at, closed_at=row.closed_at) for row in rows]
