"""What is written about a call: the row that opens its record, and the rows that close it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from django.conf import settings
from django.utils import timezone

from gateway import process
from gateway.audit.models import State
from gateway.audit.store import BLANK, OUTCOME_COLUMNS, Row
from gateway.audit.writer import CloseJob, OpenJob
from gateway.errors import AuditUnavailable
from gateway.ids import new_id

if TYPE_CHECKING:
    from features.snapshot import Snapshot
    from gateway.calls import Call
    from gateway.pipeline import Prepared

DETAIL_MAX = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How an inference ended; durations in milliseconds. `answer` is what the client was given."""

    state: str
    answer: str | None = None
    finish_reason: str | None = None
    queue_ms: float | None = None
    first_token_ms: float | None = None
    total_ms: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    are_tokens_estimated: bool = False
    model_calls: int = 0
    error_code: str = ""
    error_detail: str = ""
    backend_status: int | None = None


def opening(call: Call, prepared: Prepared) -> Row:
    """Return the row that opens the record of a call that will be forwarded."""
    rendered = prepared.rendered
    content = {"inputs": rendered.inputs, "prompt": rendered.prompt.as_dict()}
    if rendered.cut:
        content["cut"] = {name: asdict(cut) for name, cut in rendered.cut.items()}
    return {
        **_about(call, now=timezone.now(), config_version=prepared.config_version),
        "state": State.QUEUED.value,
        "group_id": prepared.decision.group_id,
        "group_path": prepared.decision.group_path,
        "policy": prepared.decision.reason[:255],
        "model_id": prepared.model.model_id,
        "model_name": prepared.model.name,
        "revision_id": prepared.model.revision_id,
        "prompt_version": rendered.version,
        "prompt_digest": rendered.digest,
        "request": orjson.dumps(content).decode(),
    }


def refuse(call: Call, refusal: Exception, config: Snapshot, groups: tuple[int, ...]) -> None:
    """Record that policy said no; nothing was sent to a model.

    Of several groups the deepest is named: a refusal has no group that decided it for all.

    Raises:
        AuditUnavailable: the refusal cannot be recorded.
    """
    now = timezone.now()
    write(
        {
            **_about(call, now=now, config_version=config.version),
            **_deepest(config, groups),
            "state": State.REFUSED.value,
            "closed_at": now,
            "error_code": getattr(refusal, "code", "refused"),
            "error_detail": str(refusal)[:DETAIL_MAX],
        }
    )


def _deepest(config: Snapshot, groups: tuple[int, ...]) -> Row:
    known = [config.groups[pk] for pk in groups if pk in config.groups]
    if not known:
        return {}
    group = max(known, key=lambda entry: len(entry.lineage))
    return {"group_id": group.group_id, "group_path": group.path}


def skip(call: Call, reason: str) -> None:
    """Record a call that was answered empty without asking a model.

    Raises:
        AuditUnavailable: it cannot be recorded.
    """
    now = timezone.now()
    write(
        {
            **_about(call, now=now, config_version=0),
            "state": State.ANSWERED.value,
            "closed_at": now,
            "error_detail": reason[:DETAIL_MAX],
        }
    )


def write(row: Row) -> None:
    """Commit one row and wait for it.

    Raises:
        AuditUnavailable: it was not committed within GATEWAY_AUDIT_TIMEOUT_S.
    """
    done: SimpleQueue[Exception | None] = SimpleQueue()
    process.parts().writer.submit(OpenJob(row=row, then=done.put))
    try:
        error = done.get(timeout=settings.GATEWAY_AUDIT_TIMEOUT_S)
    except Empty:
        raise AuditUnavailable from None
    if error is not None:
        raise AuditUnavailable from error


def closing(
    record_id: UUID,
    outcome: Outcome,
    *,
    worker: str | None,
    claimed_at: datetime | None = None,
) -> Row:
    """Return the row that closes a record.

    `worker` is the one that must hold it, since `claimed_at`; None for any.
    """
    answer = None
    if outcome.answer is not None:
        content = {"text": outcome.answer, "finish_reason": outcome.finish_reason}
        answer = orjson.dumps(content).decode()
    row: Row = {name: getattr(outcome, name, None) for name in OUTCOME_COLUMNS}
    return row | {
        "id": record_id,
        "state": str(outcome.state),
        "closed_at": timezone.now(),
        "error_detail": outcome.error_detail[:DETAIL_MAX],
        "answer": answer,
        "worker": worker,
        "claimed_at": claimed_at,
    }


def close_soon(
    record_id: UUID, outcome: Outcome, *, then: Callable[[], None] = lambda: None
) -> None:
    """Close a record whoever holds it, without waiting; nothing happens if it is closed already.

    `then` is called when it is closed, by this or by somebody else.
    """
    process.parts().writer.submit(
        CloseJob(
            row=closing(record_id, outcome, worker=None),
            then=lambda _: then(),
            when_late=lambda: None,
        )
    )


def _about(call: Call, *, now: datetime, config_version: int) -> dict[str, Any]:
    """Return what every record says of its call."""
    caller = call.caller
    known: Mapping[str, Any] = {
        "id": new_id(),
        "opened_at": now,
        "deadline_at": now + timedelta(seconds=call.deadline_s),
        "caller_kind": str(caller.kind),
        "instance_id": caller.instance_id[:255],
        "user_id": caller.user_id[:255],
        "global_user_id": caller.global_user_id[:255],
        "api_key_id": caller.api_key_id,
        "api_key_name": caller.api_key_name,
        "feature": call.feature,
        "endpoint": call.endpoint[:100],
        "is_streamed": call.is_streamed,
        "correlation_id": call.correlation_id[:255],
        "config_version": config_version,
        "web_process": process.parts().id,
        "request": None,
    }
    return {**BLANK, **known}
