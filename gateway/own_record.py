"""OwnRecord: the record of a call that the web process serves itself, without a worker.

It is committed before anything is done, and its outcome before the caller gets the last of it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from queue import SimpleQueue
from types import TracebackType

from gateway import process
from gateway.audit import records
from gateway.audit.models import State
from gateway.audit.records import Outcome
from gateway.audit.store import Row
from gateway.audit.writer import CloseJob
from gateway.errors import AuditUnavailable, ClientLeft, GatewayError, InternalError
from models_registry.errors import ModelError


class OwnRecord:
    """One record between its opening and its end.

    Leaving the context before `finish` closes the record with the reason for that.
    """

    def __init__(self, row: Row) -> None:
        """Take the row that opens the record."""
        self._row = row
        self._opened_at = time.monotonic()
        self._is_closed = False

    def __enter__(self) -> OwnRecord:
        """Commit the opening.

        Raises:
            AuditUnavailable: it cannot be committed, so nothing may be done.
        """
        try:
            records.write(self._row)
        except AuditUnavailable as exc:
            self._give_up(exc)  # it may be committed yet
            raise
        return self

    def finish(self, outcome: Outcome) -> None:
        """Commit the outcome; what it says was given may be given now.

        Raises:
            AuditUnavailable: it cannot be committed in time.
        """
        timed = replace(outcome, total_ms=self._elapsed_ms())
        row = records.closing(self._row["id"], timed, worker=process.parts().id)
        done: SimpleQueue[bool] = SimpleQueue()

        def tell_late() -> None:
            # The caller will not get it, so the record must not say that it did.
            row.update(state=State.FAILED.value, error_code=AuditUnavailable.code)
            done.put(False)

        self._is_closed = True
        process.parts().writer.submit(CloseJob(row=row, then=done.put, when_late=tell_late))
        if not done.get():
            raise AuditUnavailable

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._is_closed:
            self._give_up(error)

    def _give_up(self, error: BaseException | None) -> None:
        self._is_closed = True
        state, failure = _end_of(error)
        records.close_soon(
            self._row["id"],
            Outcome(
                state=state,
                total_ms=self._elapsed_ms(),
                error_code=failure.code,
                error_detail=str(failure),
            ),
        )

    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self._opened_at) * 1000


def _end_of(error: BaseException | None) -> tuple[State, GatewayError | ModelError]:
    """Return how a call ended that was left with this error."""
    match error:
        case ClientLeft():
            return State.CANCELLED, error
        case GatewayError() | ModelError():
            return State.FAILED, error
        case _:
            return State.FAILED, InternalError()
