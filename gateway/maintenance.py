"""What every process does once in a while: renew its lease, and look after what was left behind.

Three holes that a queue without acknowledgements leaves, each closed by a look at the database:
- a message was lost: a record that is still queued is published again;
- a reply was lost: a record that is closed is told to its waiting request;
- a process died: what it held is closed as interrupted, never repeated, since the model may have
  been asked already.
"""

from __future__ import annotations

import logging
import os
import platform
import random
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import Error as DatabaseError  # InterfaceError too
from django.db import close_old_connections
from django.db.models import Q
from django.utils import timezone

from gateway import bus, concurrency, process, syncing
from gateway.audit import journal, ladders
from gateway.audit.models import (
    OPEN_STATES,
    ContentKind,
    InferenceContent,
    InferenceRecord,
    Process,
    ProcessKind,
    State,
)
from gateway.audit.records import Outcome, close_soon
from gateway.errors import InferenceFailed, ProcessLost, WorkerLost
from gateway.frames import Broken, End
from models_registry import egress_report
from models_registry.providers.types import ToolCall

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
EGRESS_EVERY_S = 10.0
# A request that heard nothing for so long may be waiting for what was lost.
SUSPICIOUS_AFTER_S = 2.0
REAP_BATCH = 500

# A hung database must not hold up the end of a process.
STOP_S = 3.0

_stopping = threading.Event()
_ended = threading.Event()
_ended.set()
# What the last look could not reach; nothing was looked at yet.
_missing: list[str] = ["the first look"]


def missing() -> list[str]:
    """Return what this process cannot reach, in words; empty if it can serve."""
    return list(_missing)


def start(process_id: str, kind: ProcessKind) -> None:
    """Write this process's lease row and look after things until `stop`."""
    _stopping.clear()
    _ended.clear()
    concurrency.start(_run, process_id, kind, name="maintenance")


def stop() -> None:
    """End after the current look, and wait for that: a look needs the parts of the process."""
    _stopping.set()
    _ended.wait(STOP_S)


def _run(process_id: str, kind: ProcessKind) -> None:
    reap_at = egress_at = 0.0
    while not _stopping.is_set():
        try:
            renew_lease(process_id, kind, now=timezone.now())
            if kind == ProcessKind.WEB:
                look_after_waiters(now=timezone.now())
            if time.monotonic() >= reap_at:
                reap(now=timezone.now())
                syncing.start_if_due(kind, now=timezone.now())
                reap_at = time.monotonic() + settings.GATEWAY_LEASE_S / 3
            if time.monotonic() >= egress_at:
                write_egress()
                egress_at = time.monotonic() + EGRESS_EVERY_S
            ladders.save()
            _missing[:] = [] if bus.is_reachable() else ["the queue"]
        except DatabaseError as exc:
            if "the audit log" not in _missing:
                logger.warning("maintenance.failed", extra={"error": type(exc).__name__})
            _missing[:] = ["the audit log"]
        except Exception:
            logger.exception("maintenance.failed")
        finally:
            close_old_connections()
        _stopping.wait(LOOK_EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311  # jitter
    write_egress()
    with suppress(DatabaseError):
        ladders.save()
    close_old_connections()
    _ended.set()


def write_egress() -> None:
    """Write down who went through the door; if that fails, it is written the next time."""
    try:
        egress_report.flush()
    except DatabaseError as exc:
        logger.warning("egress_report.failed", extra={"error": type(exc).__name__})


def renew_lease(process_id: str, kind: ProcessKind, *, now: datetime) -> None:
    """Say that this process lives."""
    if not Process.objects.filter(pk=process_id).update(seen_at=now):
        Process.objects.create(
            id=process_id,
            kind=kind,
            host=_host(),
            pid=os.getpid(),
            started_at=now,
            seen_at=now,
        )


def look_after_waiters(*, now: datetime) -> None:
    """Help the requests that hear nothing: one SELECT for all of them, none in the usual case."""
    parts = process.parts()
    waiting = [w.record_id for w in parts.waiters.silent_for(SUSPICIOUS_AFTER_S) if w.is_committed]
    if not waiting:
        return
    found: list[dict[str, Any]] = list(InferenceRecord.objects.filter(pk__in=waiting).values())  # type: ignore[arg-type]  # a TypedDict is a dict
    queued = [row["id"] for row in found if row["state"] == State.QUEUED]
    _tell_lost([row for row in found if row["state"] == State.RUNNING], now=now)
    closed = {row["id"]: row for row in found if row["state"] not in OPEN_STATES}
    if queued:
        parts.send(queued)
    if closed:
        _tell_again(closed, now=now)


def _tell_lost(running: list[dict[str, Any]], *, now: datetime) -> None:
    """Tell the requests whose worker died; each closes its record with what it delivered."""
    workers = {row["worker_process"] for row in running}
    expired = now - timedelta(seconds=settings.GATEWAY_LEASE_S)
    alive = set(
        Process.objects.filter(pk__in=workers, seen_at__gte=expired).values_list("pk", flat=True)
    )
    for row in running:
        if row["worker_process"] not in alive:
            process.parts().waiters.deliver(row["id"], Broken(error=WorkerLost()))


def _tell_again(closed: dict[UUID, dict[str, Any]], *, now: datetime) -> None:
    """Deliver outcomes from the database; a request that got its own already is gone by now."""
    answers = InferenceContent.objects.filter(record_id__in=closed, kind=ContentKind.ANSWER)
    texts = dict(answers.values_list("record_id", "body"))
    for record_id, row in closed.items():
        if row["is_streamed"] and row["state"] == State.ANSWERED:
            # Pieces may still be on their way; if its end does not come soon, it is lost.
            if row["closed_at"] < now - timedelta(seconds=SUSPICIOUS_AFTER_S):
                lost = InferenceFailed("The end of the answer was lost.", code="reply_lost")
                process.parts().waiters.deliver(record_id, Broken(error=lost))
            continue
        body = orjson.loads(texts[record_id]) if record_id in texts else {}
        process.parts().waiters.deliver(
            record_id,
            End(
                state=row["state"],
                text=body.get("text", ""),
                finish_reason=body.get("finish_reason"),
                prompt_tokens=row["prompt_tokens"],
                completion_tokens=row["completion_tokens"],
                error_code=row["error_code"],
                error_detail=row["error_detail"],
                backend_status=row["backend_status"],
                tool_calls=tuple(map(ToolCall.from_dict, body.get("tool_calls", ()))),
            ),
        )


def reap(*, now: datetime) -> int:
    """Close the records of web processes that died; return how many were found.

    Their requests are gone, so nobody else will. What a stream delivered stands in the journal of
    its process, which the machine it ran on has: others leave the record to it for a while. Past
    its deadline by a lease, an open record is lost whoever holds it.
    """
    lease = timedelta(seconds=settings.GATEWAY_LEASE_S)
    seen = {row.pk: row for row in Process.objects.filter(seen_at__gte=now - 60 * lease)}
    alive = [pk for pk, row in seen.items() if row.seen_at >= now - lease]
    is_lost = ~Q(web_process__in=alive) | Q(deadline_at__lt=now - 2 * lease)
    opened = InferenceRecord.objects.filter(state__in=OPEN_STATES, opened_at__lt=now - lease)
    lost = list(opened.filter(is_lost).values_list("pk", "web_process")[:REAP_BATCH])
    by_process: dict[str, list[UUID]] = {}
    for record_id, web_process in lost:
        by_process.setdefault(web_process, []).append(record_id)
    for web_process, record_ids in by_process.items():
        row = seen.get(web_process)
        is_elsewhere = row is not None and row.host != _host()
        if is_elsewhere and row is not None and row.seen_at >= now - 4 * lease:
            continue
        _interrupt(web_process, record_ids)
    _discard_journals(alive)
    return len(lost)


def _interrupt(web_process: str, record_ids: list[UUID]) -> None:
    texts = journal.delivered(web_process, record_ids)
    error = ProcessLost()
    for record_id in record_ids:
        close_soon(
            record_id,
            Outcome(
                state=State.INTERRUPTED,
                answer=texts.get(record_id),
                error_code=error.code,
                error_detail=str(error),
            ),
        )
    logger.warning("maintenance.reaped", extra={"records": len(record_ids)})


def _discard_journals(alive: list[str]) -> None:
    """Remove the journals of dead processes that have no open record any more."""
    dead = journal.owners() - set(alive) - {process.parts().id}
    if not dead:
        return
    opened = InferenceRecord.objects.filter(state__in=OPEN_STATES, web_process__in=dead)
    for process_id in dead - set(opened.values_list("web_process", flat=True)):
        journal.discard(process_id)


def _host() -> str:
    return platform.node()[:255]
