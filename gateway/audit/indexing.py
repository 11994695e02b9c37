"""Bringing the content index up to date, in small steps beside the calls.

Every closed record gets a row, also one without content: what has no row is still to be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import orjson
from django.db import transaction

from gateway.audit import contentindex, settled
from gateway.audit.chores import Chore
from gateway.audit.contentindex import Entry
from gateway.audit.models import InferenceContent
from gateway.audit.settled import Look, Row

NAME = "content index"
# Some milliseconds of work, for which an embedded web process stands still.
BATCH = 20


def step(reached: datetime | None, *, now: datetime, batch: int = BATCH) -> Look:
    """Index what is missing since `reached`, at most a batch; return how far that came."""
    taken: dict[int, UUID] = {}

    def done(rows: Sequence[Row]) -> set[UUID]:
        taken.update(contentindex.indexed(rows[0].opened_at, rows[-1].opened_at))
        return set(taken.values())

    found = settled.look(reached, now=now, limit=batch, done=done)
    if found.todo:
        entries = _entries(found.todo)
        with transaction.atomic():
            contentindex.add(entries, taken=taken)
    return found


CHORE = Chore(name=NAME, step=lambda reached, now: step(reached, now=now))


def _entries(rows: Sequence[Row]) -> list[Entry]:
    bodies: dict[UUID, list[object]] = {row.id: [] for row in rows}
    for record_id, body in InferenceContent.objects.filter(record_id__in=bodies).values_list(
        "record_id", "body"
    ):
        bodies[record_id].append(orjson.loads(body))
    return [
        Entry(
            record_id=row.id,
            opened_at=row.opened_at,
            words=contentindex.words_of(bodies[row.id]),
        )
        for row in rows
    ]
