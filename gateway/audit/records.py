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

from features import policy
from features.errors import UnknownFeature
from gateway import process
from gateway.audit import ladders
from gateway.audit.models import State
from gateway.audit.store import BLANK, OUTCOME_COLUMNS, Row
from gateway.audit.writer import CloseJob, OpenJob
from gateway.errors import AuditUnavailable
from gateway.ids import new_id
from models_registry.providers.types import ToolCall

if TYPE_CHECKING:
    from features.policy import Decision, Step
    from features.snapshot import Snapshot
    from gateway.calls import Call
    from gateway.pipeline import Prepared

DETAIL_MAX = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How an inference ended; durations in milliseconds. `answer` is what the client was given."""

    state: str
    answer: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    queue_ms: float | None = None
    connect_ms: float | None = None
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
        "policy": f"{prepared.decision.reason}{_calling(call)}"[:255],
        "ladder_digest": ladders.note(prepared.decision.ladder),
        "policy_ms": prepared.policy_ms,
        "render_ms": prepared.render_ms,
        "model_id": prepared.model.model_id,
        "model_name": prepared.model.name,
        "revision_id": prepared.model.revision_id,
        "prompt_version": rendered.version,
        "prompt_digest": rendered.digest,
        "request": orjson.dumps(content).decode(),
    }


def _calling(call: Call) -> str:
    """Return what is to be said of the names by which a caller calls the model or its family.

    In ASCII, escaped: they are a caller's words, and PostgreSQL takes no NUL.
    """
    if call.asked_model is not None:
        return f"; the client asks for model {call.asked_model[:60]!a}"
    named = call.named_model
    if named is None or not named.unknown_family:
        return ""
    return f"; GitLab calls the model's family {named.unknown_family[:60]!a}, served as General"


def opening_alone(
    call: Call, decision: Decision, config: Snapshot, content: Mapping[str, Any]
) -> Row:
    """Return the row that opens the record of a call that this process serves without a worker."""
    now = timezone.now()
    return {
        **_about(call, now=now, config_version=config.version),
        "state": State.RUNNING.value,
        "claimed_at": now,
        "worker_process": process.parts().id,
        "group_id": decision.group_id,
        "group_path": decision.group_path,
        "policy": decision.reason[:255],
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
            "ladder_digest": ladders.note(_ladder(call, config, groups)),
            "state": State.REFUSED.value,
            "closed_at": now,
            "error_code": getattr(refusal, "code", "refused"),
            "error_detail": str(refusal)[:DETAIL_MAX],
        }
    )


def _ladder(call: Call, config: Snapshot, groups: tuple[int, ...]) -> tuple[Step, ...]:
    """Return what led to a refusal; nothing where there is no such feature."""
    try:
        return policy.explain(config, feature=call.feature, group_ids=groups).ladder
    except UnknownFeature:
        return ()


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
        content: dict[str, Any] = {"text": outcome.answer, "finish_reason": outcome.finish_reason}
        if outcome.tool_calls:
            content["tool_calls"] = [call.as_dict() for call in outcome.tool_calls]
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
        "namespace_ids": ",".join(map(str, caller.namespace_ids)),
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
