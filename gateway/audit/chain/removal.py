"""The one way in which something lawfully leaves the log: an event first, then the deletion.

An event says what may be missing from then on, by whom and why; it is chained like a record. Rules
name record ids, which sort by time, so that a verifier needs nothing but the id of what is gone.

On PostgreSQL the deletion takes the role that owns the tables (`gateway.audit.chain.guards`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from queue import Empty, SimpleQueue
from uuid import UUID

import orjson
from django.conf import settings
from django.utils import timezone

from gateway.audit.chain import guards
from gateway.audit.models import EventKind, InferenceContent, InferenceRecord
from gateway.audit.writer import NoteJob, Writer
from gateway.errors import AuditUnavailable
from gateway.ids import first_id, new_id

BATCH = 500


def erase(record_ids: Sequence[UUID], *, by: str, reason: str, writer: Writer) -> None:
    """Erase the content of these records, and its salts: nobody can test a guess any more.

    Raises:
        AuditUnavailable: it cannot be put on record, so nothing was erased.
    """
    for record_id in record_ids:
        _note(EventKind.ERASED, {"reason": reason}, by=by, record_id=record_id, writer=writer)
    _delete_contents(record_ids)


def expire(before: datetime, *, keep: Iterable[UUID], by: str, reason: str, writer: Writer) -> None:
    """Erase the content of all records opened before a time, but those to keep.

    Raises:
        AuditUnavailable: it cannot be put on record, so nothing was erased.
    """
    kept = set(keep)
    _note(EventKind.EXPIRED, _rule(before, kept, reason), by=by, writer=writer)
    old = InferenceContent.objects.filter(record_id__lt=first_id(before))
    for record_ids in _batches(old.values_list("record_id", flat=True).distinct(), kept):
        _delete_contents(record_ids)


def purge(before: datetime, *, keep: Iterable[UUID], by: str, reason: str, writer: Writer) -> None:
    """Delete all closed records opened before a time, but those to keep. Their links stay.

    Raises:
        AuditUnavailable: it cannot be put on record, so nothing was deleted.
    """
    old = InferenceRecord.objects.filter(pk__lt=first_id(before))
    kept = set(keep) | set(old.filter(closed_at__isnull=True).values_list("pk", flat=True))
    _note(EventKind.PURGED, _rule(before, kept, reason), by=by, writer=writer)
    for record_ids in _batches(old.values_list("pk", flat=True), kept):
        with guards.lifted():
            InferenceContent.objects.filter(record_id__in=record_ids).delete()
            InferenceRecord.objects.filter(pk__in=record_ids).delete()


def _rule(before: datetime, kept: set[UUID], reason: str) -> dict[str, object]:
    return {
        "below": first_id(before).hex,
        "kept": sorted(record_id.hex for record_id in kept),
        "reason": reason,
    }


def _note(
    kind: EventKind,
    detail: dict[str, object],
    *,
    by: str,
    writer: Writer,
    record_id: UUID | None = None,
) -> None:
    """Commit an event and wait for it."""
    row = {
        "id": new_id(),
        "kind": kind.value,
        "at": timezone.now(),
        "by": by,
        "record_id": record_id,
        "detail": orjson.dumps(detail).decode(),
    }
    done: SimpleQueue[Exception | None] = SimpleQueue()
    writer.submit(NoteJob(row=row, then=done.put))
    try:
        error = done.get(timeout=settings.GATEWAY_AUDIT_TIMEOUT_S)
    except Empty:
        raise AuditUnavailable from None
    if error is not None:
        raise AuditUnavailable from error


def _delete_contents(record_ids: Sequence[UUID]) -> None:
    with guards.lifted():
        InferenceContent.objects.filter(record_id__in=record_ids).delete()


def _batches(record_ids: Iterable[UUID], kept: set[UUID]) -> Iterable[list[UUID]]:
    going = [record_id for record_id in record_ids if record_id not in kept]
    return (going[at : at + BATCH] for at in range(0, len(going), BATCH))
