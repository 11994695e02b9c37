"""The web process's half of the line: open the record, wake a worker, wait for the answer.

A request waits on one queue, whatever happens to it: the writer's failure, the worker's frames, the
maintenance's findings, and that its client left all arrive there. So it waits without a timer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from django.conf import settings

from gateway import process
from gateway.audit import records
from gateway.audit.models import State
from gateway.audit.records import Outcome
from gateway.audit.writer import OpenJob
from gateway.bus import LOOK_EVERY_S, Waiter
from gateway.calls import Answer, Ending, Stream
from gateway.errors import (
    AuditUnavailable,
    ClientLeft,
    GatewayError,
    InferenceFailed,
    InternalError,
    ReplyTimedOut,
    StreamBroken,
    WorkerLost,
)
from gateway.frames import Broken, Chunk, End, Frame, Quiet
from models_registry.providers.names import served_name

if TYPE_CHECKING:
    from gateway.calls import Call
    from gateway.pipeline import Prepared

logger = logging.getLogger(__name__)

# The worker keeps the deadline; the web process gives its "timed out" a moment to arrive.
GRACE_S = 0.5


def answer(call: Call, prepared: Prepared) -> Answer:
    """Return the whole answer, after its outcome was committed.

    Raises:
        GatewayError: there is none; the record says why.
    """
    with _Inference(call, prepared) as inference:
        end = inference.next_frame()
        if not isinstance(end, End):
            raise inference.broken("a plain call was answered in pieces")
        return Answer(
            record_id=inference.waiter.record_id,
            model=prepared.model.name,
            family=prepared.model.family,
            text=end.text,
            finish_reason=end.finish_reason,
            prompt_tokens=end.prompt_tokens,
            completion_tokens=end.completion_tokens,
            context_tokens=prepared.rendered.context_tokens,
            tool_calls=end.tool_calls,
        )


def stream(call: Call, prepared: Prepared) -> Stream:
    """Return the answer as it comes, once its first piece is there.

    Raises:
        GatewayError: it failed before the first piece; the record says why.
    """
    inference = _Inference(call, prepared)
    pieces = _pieces(inference, call.heartbeat_s)
    next(pieces)  # up to the first frame: from here on, closing the iterator closes the record
    return Stream(
        record_id=inference.waiter.record_id,
        model=prepared.model.name,
        family=prepared.model.family,
        served_name=served_name(prepared.model),
        pieces=pieces,
    )


def _pieces(inference: _Inference, heartbeat_s: float | None) -> Generator[str, None, Ending]:
    """Yield once when the first frame is there, then the text; return how it ended.

    The last piece is followed by a clean end only if the outcome is committed.
    """
    with inference:
        frame = inference.next_frame()
        inference.waiter.heartbeat_s = heartbeat_s
        yield ""
        while not isinstance(frame, End):
            try:
                text = frame.text if isinstance(frame, Chunk) else ""
                yield inference.deliver(text) if text else ""
                frame = inference.next_frame()
            except GatewayError as exc:
                # The format has no word for "failed": only a cut connection is honest.
                raise StreamBroken(str(exc)) from exc
        return Ending(
            prompt_tokens=frame.prompt_tokens,
            completion_tokens=frame.completion_tokens,
            finish_reason=frame.finish_reason,
            tool_calls=frame.tool_calls,
        )


class _Inference:
    """One record between its opening and its end, as the waiting request sees it.

    Leaving the context before the end came closes the record with what was delivered: nobody waits
    for it any more, and a worker that goes on is stopped.
    """

    def __init__(self, call: Call, prepared: Prepared) -> None:
        self._call = call
        self._parts = process.parts()
        self._row = records.opening(call, prepared)
        self._opened_at = time.monotonic()
        self._deadline_at = self._opened_at + call.deadline_s + GRACE_S
        # The look at it comes up to LOOK_EVERY_S late.
        self._commit_by = self._opened_at + settings.GATEWAY_AUDIT_TIMEOUT_S - LOOK_EVERY_S
        self._next_number = 0
        self._failure: GatewayError | None = None
        self._has_ended = False
        self._is_given_up = False
        self._delivered: list[str] = []
        self.waiter: Waiter = self._parts.waiters.add(self._row["id"], self._fault)
        self._parts.writer.submit(OpenJob(row=self._row, then=self._opened))

    def __enter__(self) -> _Inference:
        return self

    def _opened(self, error: Exception | None) -> None:
        """Go on after the commit; runs on the writer, so it only hands over."""
        if error is not None:
            self.waiter.put(End(state=State.FAILED, error_code=AuditUnavailable.code))
            return
        self.waiter.is_committed = True
        if self._has_ended:
            self._close()
        elif not self._is_given_up:
            self._parts.send([self.waiter.record_id])
        # Given up: the request will read that nothing was sent, so nothing may be sent.

    def next_frame(self) -> Frame:
        """Return the next chunk, or the end of an inference that was answered.

        Raises:
            GatewayError: it ended otherwise.
        """
        try:
            return self._checked(self.waiter.get())
        except GatewayError as exc:
            self._failure = exc
            raise

    def deliver(self, text: str) -> str:
        """Return a piece that may be sent, because it is in the journal.

        Raises:
            AuditUnavailable: it cannot be written down, so it must not be sent.
        """
        try:
            self._parts.journal.append(self.waiter.record_id, text)
        except OSError as exc:
            self._failure = AuditUnavailable()
            raise self._failure from exc
        self._delivered.append(text)
        return text

    def _checked(self, frame: Frame) -> Frame:
        if isinstance(frame, Broken):
            raise frame.error
        if isinstance(frame, Quiet):
            return frame
        if isinstance(frame, Chunk):
            if frame.number != self._next_number:
                raise self.broken("A piece of the answer was lost on the way.")
            self._next_number = frame.last + 1
            return frame
        if frame.state == State.ANSWERED and frame.number not in (-1, self._next_number):
            raise self.broken("A piece of the answer was lost on the way.")
        self._has_ended = True
        if frame.state == State.ANSWERED:
            return frame
        raise InferenceFailed(
            frame.error_detail or "The inference failed.",
            code=frame.error_code or InternalError.code,
            backend_status=frame.backend_status,
            retry_after_s=frame.retry_after_s,
        )

    def _fault(self, now: float) -> GatewayError | None:
        """Return why this wait must end now, if it must; once."""
        fault: GatewayError | None = None
        if self._is_given_up:
            return None
        if now >= self._deadline_at:
            fault = ReplyTimedOut()
        elif not self.waiter.is_committed and now >= self._commit_by:
            fault = AuditUnavailable()
        elif self._call.has_left():
            fault = ClientLeft()
        self._is_given_up = fault is not None
        return fault

    def broken(self, detail: str) -> InferenceFailed:
        """Return the error for an answer that cannot be trusted."""
        return InferenceFailed(detail, code="reply_lost")

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        self._parts.waiters.remove(self.waiter)
        if self._has_ended:
            self._forget()
            return
        self._has_ended = True
        if self._failure is None and error is not None:
            self._failure = _failure_of(error)
        self._parts.cancel(self.waiter.record_id)
        if self.waiter.is_committed:
            self._close()

    def _close(self) -> None:
        failure = self._failure or InternalError()
        records.close_soon(
            self.waiter.record_id,
            Outcome(
                state=_END_STATES.get(type(failure), State.FAILED),
                answer="".join(self._delivered) if self._delivered else None,
                total_ms=(time.monotonic() - self._opened_at) * 1000,
                error_code=failure.code,
                error_detail=str(failure),
            ),
            then=self._forget,
        )

    def _forget(self) -> None:
        if self._delivered:
            self._parts.journal.forget(self.waiter.record_id)


def _failure_of(error: BaseException) -> GatewayError:
    """Return why the context was left: a closed generator is a client that is gone."""
    if isinstance(error, GatewayError):
        return error
    return ClientLeft() if isinstance(error, GeneratorExit) else InternalError()


_END_STATES: dict[type[GatewayError], State] = {
    ClientLeft: State.CANCELLED,
    WorkerLost: State.INTERRUPTED,
}
