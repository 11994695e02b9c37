"""The worker's half of the line: claim, forward, stream back, close.

`forward` gets the ids of a batch, claims them with one statement and runs each in its own greenlet.
Whatever happens in there ends in exactly one close of the record, committed before the web process
is told.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from features import postprocess
from gateway import concurrency, process
from gateway.audit import records
from gateway.audit.models import State
from gateway.audit.records import Outcome
from gateway.audit.store import Claim
from gateway.audit.writer import ClaimJob, CloseJob
from gateway.errors import AuditUnavailable, ClientLeft, InternalError
from gateway.frames import Chunk, End
from models_registry import revisions
from models_registry.egress import Cancellation, Limits
from models_registry.errors import (
    BackendRateLimited,
    BackendTimedOut,
    InferenceCancelled,
    ModelError,
)
from models_registry.providers import get_provider
from models_registry.providers.embedding import Texts
from models_registry.providers.types import Completion, ModelConfig, Prompt
from prompts.budget import estimate_answer, estimate_prompt

logger = logging.getLogger(__name__)

CALLS_MAX = 2
BACKOFF_S = 0.25
# A claim that the writer does not answer: the database is away, maintenance sends the ids again.
CLAIM_TIMEOUT_S = 30.0

_running: dict[UUID, Cancellation] = {}


def forward(record_ids: Sequence[UUID]) -> None:
    """Serve those of the records that nobody else has; return when all of them are closed."""
    claims = _claim(record_ids)
    if len(claims) == 1:
        _serve(claims[0])
        return
    done: SimpleQueue[None] = SimpleQueue()
    for claim in claims:
        concurrency.start(_serve_and_tell, claim, done)
    for _ in claims:
        done.get()


def cancel(record_id: UUID) -> None:
    """Stop the model call of a record, if it is made here."""
    cancellation = _running.get(record_id)
    if cancellation is not None:
        cancellation.cancel()


def _claim(record_ids: Sequence[UUID]) -> list[Claim]:
    parts = process.parts()
    won: SimpleQueue[list[Claim] | Exception] = SimpleQueue()
    parts.writer.submit(ClaimJob(ids=record_ids, worker=parts.id, then=won.put))
    try:
        claims = won.get(timeout=CLAIM_TIMEOUT_S)
    except Empty:
        return []
    return [] if isinstance(claims, Exception) else claims


def _serve_and_tell(claim: Claim, done: SimpleQueue[None]) -> None:
    try:
        _serve(claim)
    finally:
        done.put(None)


def _serve(claim: Claim) -> None:
    """Forward one claimed record and close it, whatever happens."""
    cancellation = _running[claim.id] = Cancellation()
    attempt = _Attempt(claim, cancellation)
    attempt.queue_ms = attempt.elapsed_ms()
    retry_after_s = None
    try:
        outcome = attempt.run()
    except ModelError as exc:
        outcome = attempt.failed(exc)
        retry_after_s = exc.retry_after_s if isinstance(exc, BackendRateLimited) else None
    except Exception:
        logger.exception("inference.internal_error", extra={"record_id": str(claim.id)})
        outcome = attempt.ended(State.FAILED, error_code=InternalError.code)
    finally:
        del _running[claim.id]
    _close(claim, outcome, attempt.next_number, retry_after_s)


@dataclass(slots=True)
class _Attempt:
    """The call of a model for one record, and what is known of it so far."""

    claim: Claim
    cancellation: Cancellation
    next_number: int = 0
    calls: int = 0
    queue_ms: float = 0.0
    pieces: list[str] = field(default_factory=list)
    first_token_ms: float | None = None

    def run(self) -> Outcome:
        """Return the outcome of an answered inference.

        Raises:
            ModelError: there is no answer, or not the whole of it.
        """
        model = revisions.get(self.claim.revision_id)
        question = question_in(self.claim.request)
        limits = self._limits(model)
        while True:
            self.calls += 1
            try:
                return self._answered(self._ask(model, question, limits), question)
            except ModelError as exc:
                if not self._may_ask_again(exc, limits):
                    raise
                time.sleep(BACKOFF_S * random.uniform(0.5, 1.5))  # noqa: S311  # jitter

    def _may_ask_again(self, error: ModelError, limits: Limits) -> bool:
        is_untouched = not self.next_number and not self.cancellation.is_cancelled
        has_time = limits.deadline_at - time.monotonic() > 4 * BACKOFF_S
        return error.is_retryable and is_untouched and has_time and self.calls < CALLS_MAX

    def _limits(self, model: ModelConfig) -> Limits:
        remaining_s = (self.claim.deadline_at - timezone.now()).total_seconds()
        if model.deadline_s is not None:
            remaining_s = min(remaining_s, model.deadline_s)
        if remaining_s <= 0:
            raise BackendTimedOut("The call waited for a worker until its deadline.")
        return Limits(
            deadline_at=time.monotonic() + remaining_s,
            first_byte_s=model.first_byte_s or settings.GATEWAY_FIRST_BYTE_S,
            idle_s=model.idle_s or settings.GATEWAY_IDLE_S,
            max_bytes=settings.GATEWAY_ANSWER_MAX_BYTES,
        )

    def _ask(self, model: ModelConfig, question: Prompt | Texts, limits: Limits) -> Completion:
        if isinstance(question, Texts):
            return self._embed(model, question, limits)
        ask = self._stream if self.claim.is_streamed else self._complete
        return ask(model, question, limits)

    def _embed(self, model: ModelConfig, texts: Texts, limits: Limits) -> Completion:
        embedding = get_provider(model.provider).embed(
            texts,
            model,
            limits=limits,
            cancellation=self.cancellation,
            correlation_id=self.claim.correlation_id,
        )
        self._note_first_token()
        return Completion(
            text=embedding.as_text(), prompt_tokens=embedding.prompt_tokens, completion_tokens=0
        )

    def _complete(self, model: ModelConfig, prompt: Prompt, limits: Limits) -> Completion:
        completion = get_provider(model.provider).complete(
            prompt,
            model,
            limits=limits,
            cancellation=self.cancellation,
            correlation_id=self.claim.correlation_id,
        )
        text = postprocess.clean(
            completion.text,
            feature=self.claim.feature,
            family=model.family,
            inputs=self.claim.request["inputs"],
        )
        self._note_first_token()
        return replace(completion, text=text)

    def _stream(self, model: ModelConfig, prompt: Prompt, limits: Limits) -> Completion:
        cleaner = postprocess.cleaner(
            feature=self.claim.feature, inputs=self.claim.request["inputs"]
        )
        last = None
        for delta in get_provider(model.provider).stream(
            prompt,
            model,
            limits=limits,
            cancellation=self.cancellation,
            correlation_id=self.claim.correlation_id,
        ):
            last = delta
            if delta.text:
                self._note_first_token()
                self._deliver(cleaner.feed(delta.text))
            elif not self.next_number and delta.finish_reason is None:
                # A tool call begins, which comes whole at the end: the request may begin to answer.
                self._note_first_token()
                self._push("")
        self._deliver(cleaner.flush())
        return Completion(
            text="".join(self.pieces),
            finish_reason=last.finish_reason if last else None,
            prompt_tokens=last.prompt_tokens if last else None,
            completion_tokens=last.completion_tokens if last else None,
            tool_calls=last.tool_calls if last else (),
        )

    def _deliver(self, text: str) -> None:
        if text:
            self.pieces.append(text)
            self._push(text)

    def _push(self, text: str) -> None:
        chunk = Chunk(number=self.next_number, last=self.next_number, text=text)
        self.next_number += 1
        process.parts().replies.push(self.claim.web_process, self.claim.id, chunk)

    def _note_first_token(self) -> None:
        if self.first_token_ms is None:
            self.first_token_ms = self.elapsed_ms()

    def elapsed_ms(self) -> float:
        """Return how long ago the record was opened."""
        return (timezone.now() - self.claim.opened_at).total_seconds() * 1000

    def _answered(self, completion: Completion, question: Prompt | Texts) -> Outcome:
        counts = (completion.prompt_tokens, completion.completion_tokens)
        return replace(
            self.ended(State.ANSWERED),
            answer=completion.text,
            tool_calls=completion.tool_calls,
            finish_reason=completion.finish_reason,
            prompt_tokens=(
                completion.prompt_tokens
                if completion.prompt_tokens is not None
                else estimate_prompt(question)
            ),
            completion_tokens=(
                completion.completion_tokens
                if completion.completion_tokens is not None
                else estimate_answer(completion.text, completion.tool_calls)
            ),
            are_tokens_estimated=None in counts,
        )

    def failed(self, error: ModelError) -> Outcome:
        """Return the outcome of an inference that the model did not answer."""
        if isinstance(error, InferenceCancelled):
            return self.ended(State.CANCELLED, error_code=ClientLeft.code)
        return replace(
            self.ended(State.FAILED, error_code=error.code),
            error_detail=str(error),
            backend_status=error.status,
        )

    def ended(self, state: State, *, error_code: str = "") -> Outcome:
        """Return the outcome as far as it is known whatever happened."""
        return Outcome(
            state=state,
            answer="".join(self.pieces) if self.pieces else None,
            queue_ms=self.queue_ms,
            connect_ms=self.cancellation.connect_ms,
            first_token_ms=self.first_token_ms,
            total_ms=self.elapsed_ms(),
            model_calls=self.calls,
            error_code=error_code,
        )


def question_in(request: dict[str, Any]) -> Prompt | Texts:
    """Return what a record asks its model."""
    question = request["prompt"]
    return Texts.from_dict(question) if "texts" in question else Prompt.from_dict(question)


def _close(claim: Claim, outcome: Outcome, number: int, retry_after_s: float | None) -> None:
    """Commit the outcome, then tell the web process; return when both are done."""
    parts = process.parts()
    done: SimpleQueue[None] = SimpleQueue()
    row = records.closing(claim.id, outcome, worker=parts.id, claimed_at=claim.claimed_at)

    def tell(is_ours: bool) -> None:
        # If somebody else closed the record, its request was told already.
        if is_ours:
            end = _end(claim, outcome, number, retry_after_s)
            parts.replies.push(claim.web_process, claim.id, end)
        done.put(None)

    def tell_late() -> None:
        # The client will not get the last byte, so the record must not say that it did.
        row.update(state=State.FAILED.value, error_code=AuditUnavailable.code)
        end = End(state=State.FAILED, error_code=AuditUnavailable.code)
        parts.replies.push(claim.web_process, claim.id, end)
        done.put(None)

    parts.writer.submit(CloseJob(row=row, then=tell, when_late=tell_late))
    done.get()
    _log(claim, outcome)


def _end(claim: Claim, outcome: Outcome, number: int, retry_after_s: float | None) -> End:
    return End(
        number=number,
        state=str(outcome.state),
        text="" if claim.is_streamed else outcome.answer or "",
        tool_calls=outcome.tool_calls,
        finish_reason=outcome.finish_reason,
        prompt_tokens=outcome.prompt_tokens,
        completion_tokens=outcome.completion_tokens,
        error_code=outcome.error_code,
        error_detail=outcome.error_detail,
        backend_status=outcome.backend_status,
        retry_after_s=retry_after_s,
    )


def _log(claim: Claim, outcome: Outcome) -> None:
    facts = {
        "record_id": str(claim.id),
        "correlation_id": claim.correlation_id,
        "state": str(outcome.state),
        "error_code": outcome.error_code,
        "total_ms": round(outcome.total_ms or 0.0, 1),
        "model_calls": outcome.model_calls,
    }
    level = logging.INFO if outcome.state == State.ANSWERED else logging.WARNING
    logger.log(level, "inference.closed", extra=facts)
