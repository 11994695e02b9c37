"""OwnRecord: the record of a call that the web process serves itself, without a worker.

It is committed before anything is done, and its outcome before the caller gets the last of it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from queue import SimpleQueue
from types import TracebackType
from uuid import UUID

from gateway import process
from gateway.audit import records
from gateway.audit.models import State
from gateway.audit.records import Outcome
from gateway.audit.store import Row
from gateway.audit.writer import CloseJob
from gateway.errors import AuditUnavailable, ClientLeft, GatewayError, InternalError
from models_registry.errors import InferenceCancelled, ModelError


class OwnRecord:
    """One record between its opening and its end.

    Leaving the context before `finish` closes the record with the reason for that.
    """

    def __init__(self, row: Row) -> None:
        """Take the row that opens the record."""
        self.id: UUID = row["id"]
        self.model_calls = 0
        self._row = row
        self._opened_at = time.monotonic()
        self._first_token_ms: float | None = None
        self._pieces: list[str] = []
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

    @property
    def delivered(self) -> str:
        """Return what may have been sent so far; bytes that are no text are replaced."""
        return "".join(self._pieces).encode(errors="surrogateescape").decode(errors="replace")

    def note_first_token(self) -> None:
        """Write down that the answer begins now."""
        self._first_token_ms = self._elapsed_ms()

    def deliver(self, text: str) -> str:
        """Return a piece that may be sent, because it is in the journal.

        Raises:
            AuditUnavailable: it cannot be written down, so it must not be sent.
        """
        try:
            process.parts().journal.append(self.id, text)
        except OSError as exc:
            raise AuditUnavailable from exc
        self._pieces.append(text)
        return text

    def finish(self, outcome: Outcome) -> None:
        """Commit the outcome; what it says was given may be given now.

        Raises:
            AuditUnavailable: it cannot be committed in time.
        """
        row = records.closing(self.id, self._timed(outcome), worker=process.parts().id)
        done: SimpleQueue[bool] = SimpleQueue()

        def tell_late() -> None:
            # The caller will not get it, so the record must not say that it did.
            row.update(state=State.FAILED.value, error_code=AuditUnavailable.code)
            done.put(False)

        self._is_closed = True
        process.parts().writer.submit(CloseJob(row=row, then=done.put, when_late=tell_late))
        if not done.get():
            raise AuditUnavailable
        self._forget()

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
        outcome = Outcome(
            state=state,
            answer=self.delivered if self._pieces else None,
            error_code=failure.code,
            error_detail=str(failure),
        )
        records.close_soon(self.id, self._timed(outcome), then=self._forget)

    def _timed(self, outcome: Outcome) -> Outcome:
        """Return the outcome with what this record knows of the way there."""
        return replace(
            outcome,
            total_ms=self._elapsed_ms(),
            first_token_ms=self._first_token_ms,
            model_calls=self.model_calls,
        )

    def _forget(self) -> None:
        if self._pieces:
            process.parts().journal.forget(self.id)

    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self._opened_at) * 1000


def _end_of(error: BaseException | None) -> tuple[State, GatewayError | ModelError]:
    """Return how a call ended that was left so; a closed generator is a client that is gone."""
    match error:
        case ClientLeft() | InferenceCancelled() | GeneratorExit():
            return State.CANCELLED, ClientLeft()
        case GatewayError() | ModelError():
            return State.FAILED, error
        case _:
            return State.FAILED, InternalError()
