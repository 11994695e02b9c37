"""Group commit: one writer per process owns the connection through which records are written.

Requests and workers hand in jobs and go on; the writer takes all that wait, writes them with one
statement for each kind and one commit for all, and calls each job's `then`. One waiting job pays
for one small commit, a hundred share it. No request holds a connection.

What opens or closes records is chained with the same commit: the writer has the process's lane.

What happens to a batch that fails:
- the database is gone: opens and claims are told at once, closes are kept and tried again, and
  since nobody knows whether the last link was committed, the next one begins a new lane;
- one row is bad: the batch is split, and only that row's job fails.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseError  # InterfaceError too
from django.db import connection
from django.utils import timezone

from gateway import concurrency
from gateway.audit import store
from gateway.audit.chain import lanes
from gateway.audit.chain.lanes import Lane
from gateway.audit.store import Claim, Row

logger = logging.getLogger(__name__)

BATCH_MAX = 500
RETRY_CLOSE_EVERY_S = 1.0


@dataclass(kw_only=True, slots=True)
class OpenJob:
    """Insert one record. `then(None)` after the commit, `then(error)` if there is none."""

    row: Row
    then: Callable[[Exception | None], None]


@dataclass(kw_only=True, slots=True)
class ClaimJob:
    """Claim records for this worker. `then(claims)` or `then(error)`."""

    ids: Sequence[UUID]
    worker: str
    then: Callable[[list[Claim] | Exception], None]


@dataclass(kw_only=True, slots=True)
class CloseJob:
    """Close one record, sooner or later.

    `then(True)` once the outcome is committed, `then(False)` if somebody else had closed it.
    `when_late()` is called once if it could not be committed within GATEWAY_AUDIT_TIMEOUT_S; the
    writer then goes on trying with whatever `row` holds, and does not call `then`.
    """

    row: Row
    then: Callable[[bool], None]
    when_late: Callable[[], None]
    submitted_at: float = field(default_factory=time.monotonic)
    is_late: bool = False

    def tell_late(self) -> None:
        """Call `when_late`, once."""
        if not self.is_late:
            self.is_late = True
            self.when_late()


@dataclass(kw_only=True, slots=True)
class NoteJob:
    """Insert one event. `then(None)` after the commit, `then(error)` if there is none."""

    row: Row
    then: Callable[[Exception | None], None]


Job = OpenJob | ClaimJob | CloseJob | NoteJob


class Writer:
    """The process's one writer; `start` it once, `submit` from anywhere."""

    def __init__(self, process_id: str = "") -> None:
        """Nothing runs before `start`; the lane is of this process."""
        self._process_id = process_id
        self._lane: Lane | None = None
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._unclosed: list[CloseJob] = []
        self._thread = concurrency.NativeThread()
        self._is_down = False
        self._stopped: SimpleQueue[None] = SimpleQueue()

    def start(self) -> None:
        """Begin to work, beside the caller."""
        concurrency.start(self._run, name="audit-writer")

    def submit(self, job: Job) -> None:
        """Hand in a job; returns at once."""
        self._jobs.put(job)

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """Finish what was handed in, then end; closes that cannot be written are left open."""
        self._jobs.put(None)
        try:
            self._stopped.get(timeout=timeout_s)
        except Empty:
            logger.error("audit.writer_did_not_stop")

    def _run(self) -> None:
        is_stopping = False
        while not is_stopping:
            batch = self._take()
            is_stopping = None in batch
            try:
                self._write(self._unclosed_again() + [job for job in batch if job is not None])
            except Exception:
                logger.exception("audit.writer_failed")
        self._on_connection(lambda: connection.close())
        self._stopped.put(None)

    def _take(self) -> list[Job | None]:
        """Return all that waits, at least one job unless closes are due to be tried again."""
        batch: list[Job | None] = []
        try:
            batch.append(self._jobs.get(timeout=RETRY_CLOSE_EVERY_S if self._unclosed else None))
            while len(batch) < BATCH_MAX:
                batch.append(self._jobs.get_nowait())
        except Empty:
            pass
        return batch

    def _write(self, jobs: list[Job]) -> None:
        """Write all jobs together; if one of them is bad, each alone."""
        jobs, later = _one_close_each(jobs)
        self._write_together(jobs)
        if later:
            self._write(later)

    def _write_together(self, jobs: list[Job]) -> None:
        flush = _Flush(jobs)
        error = self._attempt(flush)
        if _is_bad_row(error) and len(jobs) > 1:
            for job in jobs:
                self._write_together([job])
            return
        for opened in flush.opens:
            opened.then(error)
        for noted in flush.notes:
            noted.then(error)
        for claim in flush.claims:
            claim.then(error or flush.won_by(claim))
        for close in flush.closes:
            if _is_bad_row(error):
                # No later try can succeed; the reaper closes the record without this outcome.
                logger.error("audit.close_refused", extra={"record_id": str(close.row["id"])})
                close.tell_late()
            elif error is not None:
                self._keep(close)
            elif not close.is_late:
                close.then(close.row["id"] in flush.closed)

    def _unclosed_again(self) -> list[Job]:
        again: list[Job] = list(self._unclosed)
        self._unclosed = []
        return again

    def _keep(self, job: CloseJob) -> None:
        """Try this close again later; tell its owner once that it is late."""
        self._unclosed.append(job)
        age_s = time.monotonic() - job.submitted_at
        if age_s + RETRY_CLOSE_EVERY_S >= settings.GATEWAY_AUDIT_TIMEOUT_S:
            job.tell_late()

    def _attempt(self, flush: _Flush) -> Exception | None:
        """Return the error that kept a batch from being committed; log the first of an outage."""
        try:
            self._on_connection(lambda: self._commit(flush))
        except Exception as exc:
            self._on_connection(_disconnect)
            if not _is_bad_row(exc):
                self._lane = None
            if not self._is_down:
                logger.error("audit.store_failed", extra={"error": type(exc).__name__})
            self._is_down = not _is_bad_row(exc)
            return exc
        if self._is_down:
            logger.info("audit.store_back")
            self._is_down = False
        return None

    def _commit(self, flush: _Flush) -> None:
        """Commit a batch; the lane has grown only if that succeeds."""
        if self._lane is None or self._lane.is_old():
            self._lane = lanes.begin(self._process_id)
        lane = self._lane.copy()
        flush.write(store.for_connection(), lane)
        self._lane = lane

    def _on_connection(self, work: Callable[[], Any]) -> Any:
        """Run on the thread that owns the connection.

        SQLite sleeps in C while another process holds its lock: beside a worker it gets a native
        thread. Alone it is quicker without: each of its calls would wait for the interpreter.
        """
        if connection.vendor == "sqlite" and settings.REDIS_URL:
            return self._thread.run(work)
        return work()


class _Flush:
    """Jobs that share one commit, and what became of them."""

    def __init__(self, jobs: list[Job]) -> None:
        self.opens = [job for job in jobs if isinstance(job, OpenJob)]
        self.claims = [job for job in jobs if isinstance(job, ClaimJob)]
        self.closes = [job for job in jobs if isinstance(job, CloseJob)]
        self.notes = [job for job in jobs if isinstance(job, NoteJob)]
        self.won: dict[UUID, Claim] = {}
        self.closed: set[UUID] = set()

    def write(self, rows: store.Store, lane: Lane) -> None:
        """Run one statement for each kind of job, and commit."""
        kinds = sum(map(bool, (self.opens, self.claims, self.closes))) + len(self.notes)
        with rows.together() if kinds > 1 else nullcontext():
            if self.opens:
                opening = [job.row for job in self.opens]
                rows.open(opening, lane.opened(opening))
            if self.claims:
                ids = [record_id for job in self.claims for record_id in job.ids]
                worker = self.claims[0].worker
                won = rows.claim(ids, worker=worker, now=timezone.now())
                self.won = {claim.id: claim for claim in won}
            if self.closes:
                closing = [job.row for job in self.closes]
                self.closed = rows.close(closing, lane.closed(closing))
                lane.lose(closing, self.closed)
            for job in self.notes:
                rows.note(job.row, lane.noted(job.row))

    def won_by(self, job: ClaimJob) -> list[Claim]:
        """Return the claims that this job asked for and won; each goes to one job only.

        The same id comes twice when a message was sent again, and must not be served twice.
        """
        return [self.won.pop(record_id) for record_id in job.ids if record_id in self.won]


def _one_close_each(jobs: list[Job]) -> tuple[list[Job], list[Job]]:
    """Return the jobs with the first close of each record, and the closes that came after it."""
    first: list[Job] = []
    later: list[Job] = []
    closing: set[UUID] = set()
    for job in jobs:
        is_second = isinstance(job, CloseJob) and job.row["id"] in closing
        (later if is_second else first).append(job)
        if isinstance(job, CloseJob):
            closing.add(job.row["id"])
    return first, later


def _disconnect() -> None:
    try:
        connection.close()
    except DatabaseError:
        connection.connection = None


def _is_bad_row(error: Exception | None) -> bool:
    """Test whether the database works and only refused what it was given.

    By name: raw connections raise the driver's classes, opening one raises Django's.
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    return error is not None and not names & {"OperationalError", "InterfaceError", "OSError"}
