"""One page of the log, newest first: one statement that looks at a bounded number of records.

A page begins at a point in time and walks back along one index: that of the most telling filter,
else that of time itself. The other filters are applied to what the walk meets. The walk ends when
WALK_MAX records were met, whatever was found by then, so no filter can scan the table; the page
says how far back it looked and offers to go on. No OFFSET, no COUNT over the table
(docs/adr/0018).

The SQL is written out because Django cannot filter what was limited before; every value in it is
bound, and both databases take the same text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from gateway.audit import contentindex
from gateway.audit.conditions import (
    RECORD,
    Condition,
    arms,
    between,
    beyond,
    conditions,
    joined,
)
from gateway.audit.criteria import Criteria
from gateway.audit.models import InferenceRecord

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
PAGE_SIZE = 50
# Beyond this, "10,000+" tells a person as much.
COUNT_MAX = 10_000
# How many records one page looks at where no index answers alone, and how many hits of a search.
WALK_MAX = 10_000
HITS_WALK_MAX = 2_000
# How many calls of one correlation id are counted.
CALLS_MAX = 100

LISTED = (
    *("id", "opened_at", "state", "error_code", "error_detail", "feature", "model_name"),
    *("model_calls", "group_path", "api_key_name", "user_id", "global_user_id", "instance_id"),
    *("correlation_id", "total_ms"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A point in the order of the log: a record's time, and its id among those of the time."""

    opened_at: datetime
    record_id: UUID

    @classmethod
    def read(cls, text: str) -> Place:
        """Return the place that an address names.

        Raises:
            ValueError: it names none.
        """
        moment, _, record_id = text.partition("_")
        opened_at = datetime.strptime(moment, "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
        return cls(opened_at=opened_at, record_id=UUID(record_id))

    @classmethod
    def at(cls, key: int) -> Place:
        """Return a place that has this key in the content index."""
        opened_at, record_id = contentindex.place_of(key)
        return cls(opened_at=opened_at, record_id=record_id)

    @property
    def key(self) -> int:
        """Return the place in the order of the content index."""
        return contentindex.key_of(self.opened_at, self.record_id)

    @classmethod
    def of(cls, record: InferenceRecord) -> Place:
        """Return where a record stands."""
        return cls(opened_at=record.opened_at, record_id=record.pk)

    def __str__(self) -> str:
        moment = self.opened_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%f")
        return f"{moment}_{self.record_id.hex}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A page: its records, newest first, and how to go on.

    `older` and `newer` are the places to go on from; None at the ends. `count` is how many records
    were found from here on back, with `has_more` of at least as many; None on later pages.
    `looked_back_to` is set where the walk ended before the log did.
    """

    records: Sequence[Any]
    older: Place | None = None
    newer: Place | None = None
    count: int | None = None
    has_more: bool = False
    looked_back_to: datetime | None = None


def page(
    criteria: Criteria,
    *,
    before: Place | None = None,
    after: Place | None = None,
    is_grouped: bool = False,
    size: int = PAGE_SIZE,
    walk_max: int | None = None,
) -> Page:
    """Return the records that fulfil the criteria: the newest, or those next to a place.

    `is_grouped` shows of each correlation id the newest record, with `calls`, their number; not
    where words are looked for.
    """
    walk = _Walk.of(
        criteria,
        before=before,
        after=after,
        is_grouped=is_grouped and not criteria.words,
        size=size,
        walk_max=walk_max or WALK_MAX,
    )
    rows: list[Any] = list(InferenceRecord.objects.raw(*walk.statement()))
    head, records = rows[0], [row for row in rows if row.pk is not None]
    is_full = len(records) > size
    records = records[:size]
    ended_at = None if is_full else walk.ended_at(head)
    onward = Place.of(records[-1]) if is_full else ended_at
    behind = Place.of(records[0]) if records else before or after
    if walk.is_forward:
        return Page(records=records[::-1], older=behind, newer=onward)
    is_first = before is None
    return Page(
        records=records,
        older=onward,
        newer=None if is_first else behind,
        count=min(head.found, COUNT_MAX) if is_first else None,
        has_more=head.found > COUNT_MAX or walk.is_cut(head),
        looked_back_to=ended_at.opened_at if ended_at else None,
    )


def everything(criteria: Criteria, *, chunk: int = 1_000) -> Iterator[list[InferenceRecord]]:
    """Yield all records that fulfil the criteria, oldest first, whole, a chunk at a time."""
    place: Place | None = Place(opened_at=criteria.since or BEGINNING, record_id=UUID(int=0))
    while place is not None:
        found = page(criteria, after=place, size=chunk, walk_max=4 * chunk)
        ids = [record.pk for record in reversed(found.records)]
        whole = InferenceRecord.objects.in_bulk(ids)
        yield [whole[pk] for pk in ids if pk in whole]
        place = found.newer


@dataclass(frozen=True, kw_only=True, slots=True)
class _Walk:
    """Where a page's walk begins, along which indexes, how far, and what it lets through.

    `rest` are the conditions that no index answers: only with them a walk meets more records than
    it shows.
    """

    arms: tuple[Condition, ...]
    along: tuple[Condition, ...]
    rest: tuple[Condition, ...]
    hits: contentindex.Hits | None
    is_forward: bool
    is_counted: bool
    is_grouped: bool
    limit: int
    size: int

    @classmethod
    def of(
        cls,
        criteria: Criteria,
        *,
        before: Place | None,
        after: Place | None,
        is_grouped: bool,
        size: int,
        walk_max: int,
    ) -> _Walk:
        found, rest = arms(criteria)
        hits = None
        if criteria.words:
            found, rest = (), conditions(criteria)
            walk_max = min(walk_max, HITS_WALK_MAX)
        if is_grouped:
            rest = (*rest, _newest_of_its_calls(criteria))
        place, is_forward = before or after, after is not None
        along = list(between(criteria))
        if place is not None:
            along.append(beyond(place.opened_at, place.record_id, is_forward=is_forward))
        is_counted = place is None
        merged = COUNT_MAX + 1 if is_counted else size + 1
        limit = walk_max if rest else merged if len(found) > 1 else size + 1
        if criteria.words:
            hits = contentindex.find(
                criteria.words,
                since=criteria.since,
                until=criteria.until,
                before=before.key if before else None,
                after=after.key if after else None,
                limit=limit,
            )
        return cls(
            arms=found,
            along=tuple(along),
            rest=rest,
            hits=hits,
            is_forward=is_forward,
            is_counted=is_counted,
            is_grouped=is_grouped,
            limit=limit,
            size=size,
        )

    def statement(self) -> tuple[str, list[Any]]:
        """Return the page's one statement and its values; its first row is there for all pages."""
        order, back = _order(self.is_forward), _order(not self.is_forward)
        looked, values = self._looked(order)
        where, more = joined(self.rest, "looked")
        count, counted = self._count()
        columns = ", ".join(f"record.{name}" for name in LISTED)
        sql = (
            f"WITH {looked}, "  # noqa: S608  # names of ours only
            f"found AS MATERIALIZED (SELECT id, opened_at FROM looked WHERE {where}) "
            f"SELECT {columns}, head.met, head.found, head.end_at, head.end_id"
            f"{_CALLS if self.is_grouped else ''} FROM (SELECT "
            f"(SELECT COUNT(*) FROM {'looked' if self.hits is None else 'hit'}) AS met, "
            f"({count}) AS found, "
            f"(SELECT opened_at FROM looked ORDER BY {back} LIMIT 1) AS end_at, "
            f"(SELECT id FROM looked ORDER BY {back} LIMIT 1) AS end_id) AS head "
            f"LEFT JOIN (SELECT id, opened_at FROM found ORDER BY {order} LIMIT {self.size + 1}) "
            f"AS shown ON 1 = 1 LEFT JOIN {RECORD} AS record ON record.id = shown.id "
            f"ORDER BY {_order(self.is_forward, 'shown.')}"
        )
        return sql, [*values, *more, *counted]

    def is_cut(self, head: Any) -> bool:
        """Test whether the walk ended before the log did, whatever the page holds."""
        if self.hits is not None and self.hits.edge is not None:
            return True
        return (bool(self.rest) or len(self.arms) > 1) and head.met >= self.limit

    def ended_at(self, head: Any) -> Place | None:
        """Return where the walk ended before the log did, if it did."""
        if head.met < self.limit:
            edge = self.hits.edge if self.hits else None
            return None if edge is None else Place.at(edge)
        if head.end_id is None:
            return None
        return Place(opened_at=_moment(head.end_at), record_id=UUID(str(head.end_id)))

    def _looked(self, order: str) -> tuple[str, list[Any]]:
        """Return the walk: every record it meets, with what the other conditions look at."""
        names = dict.fromkeys(name for condition in self.rest for name in condition.columns)
        columns = ", ".join(f"r.{name}" for name in ("id", "opened_at", *names))
        if self.hits is not None:
            # CROSS JOIN: SQLite keeps the order, so it fetches what was hit and no more.
            sql = (
                f"hit AS MATERIALIZED ({self.hits.sql}), looked AS MATERIALIZED "  # noqa: S608
                f"(SELECT {columns} FROM hit CROSS JOIN {RECORD} AS r WHERE r.id = hit.record_id)"
            )
            return sql, list(self.hits.values)
        along, along_values = joined(self.along, "r")
        parts: list[str] = []
        values: list[Any] = []
        for arm in self.arms:
            parts.append(
                f"SELECT * FROM (SELECT {columns} FROM {RECORD} AS r "  # noqa: S608  # ours
                f"WHERE {arm.sql.format(r='r')} AND {along} ORDER BY {order} LIMIT {self.limit})"
                " AS arm"
            )
            values += [*arm.values, *along_values]
        merged = " UNION ".join(parts)
        if len(parts) > 1:
            merged = f"SELECT * FROM ({merged}) AS arms ORDER BY {order} LIMIT {self.limit}"  # noqa: S608
        return f"looked AS MATERIALIZED ({merged})", values

    def _count(self) -> tuple[str, list[Any]]:
        """Return how to count what the criteria fit, up to one more than COUNT_MAX."""
        if not self.is_counted:
            return "SELECT 0", []
        if self.rest or len(self.arms) > 1:
            return "SELECT COUNT(*) FROM found", []
        if self.hits is not None:
            return f"SELECT COUNT(*) FROM ({self.hits.count}) AS counted", list(self.hits.counted)  # noqa: S608
        where, values = joined((*self.arms, *self.along), "r")
        # In the order of the index, so that it is counted there and no row is fetched.
        inner = (
            f"SELECT 1 FROM {RECORD} AS r WHERE {where} "  # noqa: S608  # names of ours
            f"ORDER BY opened_at DESC LIMIT {COUNT_MAX + 1}"
        )
        return f"SELECT COUNT(*) FROM ({inner}) AS counted", values  # noqa: S608  # names of ours


_CALLS = (
    ", CASE WHEN record.correlation_id = '' THEN 1 ELSE (SELECT COUNT(*) FROM "  # noqa: S608
    f"(SELECT 1 FROM {RECORD} AS other WHERE NOT (other.correlation_id = '') "
    f"AND other.correlation_id = record.correlation_id LIMIT {CALLS_MAX + 1}) AS others) END "
    "AS calls"
)


def _newest_of_its_calls(criteria: Criteria) -> Condition:
    """Return that no newer record of the same correlation id fulfils the criteria."""
    also, values = joined((*between(criteria), *conditions(criteria)), "newer")
    return Condition(
        sql="({r}.correlation_id = '' OR NOT EXISTS (SELECT 1 FROM "  # noqa: S608  # names of ours
        f"{RECORD} AS newer WHERE NOT (newer.correlation_id = '') "
        "AND newer.correlation_id = {r}.correlation_id AND newer.opened_at >= {r}.opened_at "
        f"AND (newer.opened_at > {{r}}.opened_at OR newer.id > {{r}}.id) AND {also}))",
        values=tuple(values),
        columns=("correlation_id",),
    )


def _order(is_forward: bool, prefix: str = "") -> str:
    direction = "ASC" if is_forward else "DESC"
    return f"{prefix}opened_at {direction}, {prefix}id {direction}"


def _moment(value: Any) -> datetime:
    """Return a time that came out of a plain statement."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
