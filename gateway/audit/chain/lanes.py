"""The lane of one writer, as the writer knows it: it turns rows into entries, entries into links.

A lane lives in its writer's memory: its last hash, and the key of the next link. Both are lost with
the process, so a restarted process begins a new lane. A writer that does not know whether its last
commit reached the database begins a new one too, and so does one whose lane is a day old.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db import IntegrityError, models, transaction
from django.db.models import Max
from django.utils import timezone

from gateway.audit.chain import formats, keys
from gateway.audit.chain.formats import Kind
from gateway.audit.models import OPEN_STATES, Event, InferenceRecord, LaneHead
from gateway.audit.models import Lane as LaneRow
from gateway.audit.store import BLANK, OUTCOME_COLUMNS, LinkRow, Row

NEW_AFTER_S = 24 * 3600.0
ATTEMPTS = 20
SALT_BYTES = 16

CLAIM = ("claimed_at", "worker_process")
OUTCOME = ("state", *OUTCOME_COLUMNS)
LOCATORS = ("id", "opened_link", "closed_link", "opening_salt", "outcome_salt")
OPENING = tuple(name for name in BLANK if name not in {*CLAIM, *OUTCOME, *LOCATORS})
# What each kind of entry commits to. A new column of the record is part of its opening, unless it
# is listed as part of the outcome.
COLUMNS: dict[str, tuple[str, ...]] = {
    Kind.OPENED: OPENING,
    Kind.WRITTEN: OPENING + OUTCOME,
    Kind.CLOSED: OUTCOME + CLAIM,
    Kind.GIVEN_UP: OUTCOME,
    Kind.EVENT: tuple(
        str(field.column)
        for field in Event._meta.concrete_fields
        if field.column not in ("id", "salt", "link")
    ),
}


@dataclass(kw_only=True, slots=True)
class Lane:
    """The end of a lane. Work on a `copy` until the commit is certain."""

    id: int
    hash: bytes
    key: bytes
    number: int = 0
    at: int = 0
    lost: tuple[int, ...] = ()
    began_at: float

    def copy(self) -> Lane:
        """Return a twin that can be thrown away."""
        return replace(self)

    def is_old(self) -> bool:
        """Test whether the next link should begin another lane."""
        return time.monotonic() - self.began_at > NEW_AFTER_S

    # What a commit writes

    def opened(self, rows: Sequence[Row]) -> LinkRow:
        """Return the link for rows that open records, and note in each where its entry is."""
        salts, link = _salts(2 * len(rows)), formats.link_id(self.id, self.number + 1)
        entries = []
        for row in rows:
            is_open = row["state"] in OPEN_STATES
            kind = Kind.OPENED if is_open else Kind.WRITTEN
            row["opened_link"] = link
            row["closed_link"] = None if is_open else link
            row["opening_salt"], row["request_salt"] = salts.pop(), salts.pop()
            facts = _facts(kind, row)
            entries.append(
                formats.pack_entry(
                    kind,
                    row["id"],
                    formats.commit_to_facts(row["opening_salt"], facts),
                    formats.commit_to_content(row["request_salt"], row["request"]),
                )
            )
        return self._append(entries)

    def closed(self, rows: Sequence[Row]) -> LinkRow:
        """Return the link for rows that close records, and note in each where its entry is."""
        salts, link = _salts(2 * len(rows)), formats.link_id(self.id, self.number + 1)
        entries = []
        for row in rows:
            kind = Kind.GIVEN_UP if row["claimed_at"] is None else Kind.CLOSED
            row["closed_link"] = link
            row["outcome_salt"], row["answer_salt"] = salts.pop(), salts.pop()
            row["worker_process"] = row["worker"]
            facts = _facts(kind, row)
            entries.append(
                formats.pack_entry(
                    kind,
                    row["id"],
                    formats.commit_to_facts(row["outcome_salt"], facts),
                    formats.commit_to_content(row["answer_salt"], row["answer"]),
                )
            )
        return self._append(entries)

    def noted(self, row: Row) -> LinkRow:
        """Return the link for an event, and note in its row where its entry is."""
        row["link"] = formats.link_id(self.id, self.number + 1)
        (row["salt"],) = _salts(1)
        facts = formats.commit_to_facts(row["salt"], _facts(Kind.EVENT, row))
        return self._append([formats.pack_entry(Kind.EVENT, row["id"], facts, formats.NO_CONTENT)])

    def lose(self, rows: Sequence[Row], closed: set[UUID]) -> None:
        """Remember which closes of the link just made did not happen; the next link says so."""
        self.lost = tuple(index for index, row in enumerate(rows) if row["id"] not in closed)

    def _append(self, bodies: Sequence[bytes]) -> LinkRow:
        """Return the next link, and forget the key that made it."""
        self.number += 1
        # A clock that was set back does not turn the order around.
        self.at = max(self.at, time.time_ns() // 1000)
        head = formats.Head(self.id, self.number, self.at, self.lost, len(bodies)).packed()
        tags = formats.tags(self.key, head, bodies)
        entries = b"".join(body + tag for body, tag in zip(bodies, tags, strict=True))
        self.hash = formats.link_hash(self.hash, head, entries)
        self.key = formats.next_key(self.key)
        link = LinkRow(
            id=formats.link_id(self.id, self.number),
            at=self.at,
            lost=formats.pack_lost(self.lost),
            entries=entries,
            hash=self.hash,
        )
        self.lost = ()
        return link


def begin(process_id: str) -> Lane:
    """Return a new lane; its beginning is signed and committed.

    Raises:
        KeyUnusable: a key is missing.
        DatabaseError: it cannot be written.
    """
    for _ in range(ATTEMPTS):
        number = (LaneRow.objects.aggregate(last=Max("id"))["last"] or 0) + 1
        try:
            return _begin(number, process_id)
        except IntegrityError:
            continue  # another process took the number
    raise IntegrityError(f"no number for a lane after {ATTEMPTS} attempts")


def _begin(number: int, process_id: str) -> Lane:
    shared, auditor, ephemeral = keys.agree()
    now = timezone.now()
    statement = formats.lane_statement(
        lane=number,
        process=process_id,
        started_at=formats.plain(now),
        columns=COLUMNS,
        auditor=auditor,
        ephemeral=ephemeral,
    )
    signature = keys.sign(statement)
    with transaction.atomic():
        LaneRow.objects.create(
            id=number,
            statement=statement,
            signature=signature.text,
            signed_by=signature.signed_by,
        )
        LaneHead.objects.create(lane=number, number=-1, seen_at=now)
    return Lane(
        id=number,
        hash=formats.genesis(statement),
        key=formats.first_key(shared, statement),
        began_at=time.monotonic(),
    )


def _facts(kind: Kind, row: Row) -> bytes:
    return formats.facts_text(
        [row[name] if convert is None else convert(row[name]) for name, convert in _PLAIN[kind]]
    )


def _fraction(value: float | None) -> str | None:
    """Return a number as text; a whole one comes back from such a column as a fraction."""
    return None if value is None else repr(float(value))


# Text and whole numbers are plain already.
_CONVERT: dict[type[models.Field[Any, Any]], Callable[[Any], Any]] = {
    models.FloatField: _fraction,
    models.DateTimeField: formats.plain,
    models.BooleanField: formats.plain,
    models.UUIDField: formats.plain,
}
_FIELDS = {
    str(field.column): field
    for model in (InferenceRecord, Event)
    for field in model._meta.concrete_fields
}
_PLAIN = {
    kind: [(name, _CONVERT.get(type(_FIELDS[name]))) for name in names]
    for kind, names in COLUMNS.items()
}


def _salts(count: int) -> list[str]:
    digits = os.urandom(SALT_BYTES * count).hex()
    size = 2 * SALT_BYTES
    return [digits[at : at + size] for at in range(0, len(digits), size)]
