"""What the page of one record says, in words: outcome, who and what, where the time went.

Everything here is text from a record; whatever people or models could have written goes through
`visible`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from features.catalog import FEATURES
from gateway.audit.causes import CAUSES
from gateway.audit.escapes import visible
from gateway.audit.models import InferenceRecord, State

NOTHING = "-"

# State -> the kind of label; an open record is neither good nor bad.
LABELS = {
    State.QUEUED: "info",
    State.RUNNING: "info",
    State.ANSWERED: "success",
    State.FAILED: "danger",
    State.REFUSED: "warning",
    State.CANCELLED: "default",
    State.INTERRUPTED: "danger",
}

Fact = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A part of the time that an inference took, in milliseconds."""

    kind: str
    label: str
    ms: float

    @property
    def duration(self) -> str:
        """Return the time as a person reads it."""
        return duration(self.ms)


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading with its facts."""

    title: str
    facts: tuple[Fact, ...]


def outcome(record: InferenceRecord) -> str:
    """Return how it ended, in one sentence."""
    if record.error_code:
        return CAUSES.get(record.error_code, "A newer Enclave knows what this code means.")
    match record.state:
        case State.QUEUED:
            return "The call waits for a worker."
        case State.RUNNING:
            return "The model is being asked."
        case State.ANSWERED if record.model_calls:
            return "The model answered."
        case State.ANSWERED:
            return "Answered without asking a model."
        case _:
            return "No cause is on record."


def detail(record: InferenceRecord) -> str:
    """Return what was written down about the outcome, unless `outcome` says it already."""
    text = visible(record.error_detail)
    return "" if text == outcome(record) else text


def caller(record: InferenceRecord) -> str:
    """Return who asked: the most personal of what is known."""
    known = record.api_key_name or record.user_id or record.global_user_id or record.instance_id
    return visible(known) or NOTHING


def feature(record: InferenceRecord) -> str:
    """Return the feature's label; its slug if the catalog no longer has it."""
    entry = FEATURES.get(record.feature)
    return entry.label if entry else visible(record.feature)


def tokens(record: InferenceRecord) -> str:
    """Return prompt and completion tokens, and whether they were reported or estimated."""
    if record.prompt_tokens is None or record.completion_tokens is None:
        return NOTHING
    counted = f"{record.prompt_tokens:,} in, {record.completion_tokens:,} out"
    return f"{counted} (estimated)" if record.are_tokens_estimated else counted


def time_split(record: InferenceRecord) -> tuple[Span, ...]:
    """Return where the time went, in order; nothing while the record is open."""
    total = record.total_ms
    if total is None:
        return ()
    queue = record.queue_ms
    if queue is None:
        return (Span(kind="unknown", label="Total", ms=total),)
    first = record.first_token_ms
    waited = Span(kind="queue", label="Queue", ms=queue)
    if not record.is_streamed or first is None:
        return (waited, Span(kind="model", label="Model", ms=max(0.0, total - queue)))
    return (
        waited,
        Span(kind="first", label="First token", ms=max(0.0, first - queue)),
        Span(kind="model", label="Rest of the answer", ms=max(0.0, total - first)),
    )


def duration(ms: float | None) -> str:
    """Return milliseconds with as many digits as a person can use."""
    if ms is None:
        return NOTHING
    if ms < 10:
        return f"{ms:.1f} ms"
    return f"{ms:,.0f} ms" if ms < 10_000 else f"{ms / 1000:,.1f} s"


def moment(at: datetime | None, *, precision: str = "seconds") -> str:
    """Return a time in the time zone of the pages, in the order that sorts."""
    if at is None:
        return NOTHING
    return timezone.localtime(at).replace(tzinfo=None).isoformat(sep=" ", timespec=precision)


def summary(record: InferenceRecord) -> tuple[Fact, ...]:
    """Return what a person looks for first."""
    return (
        ("Asked by", f"{caller(record)} ({record.get_caller_kind_display()})"),
        ("Group", visible(record.group_path) or NOTHING),
        ("Feature", feature(record)),
        ("Model", visible(record.model_name) or NOTHING),
        (f"Opened ({timezone.get_current_timezone_name()})", moment(record.opened_at)),
        ("Tokens", tokens(record)),
    )


def sections(record: InferenceRecord) -> tuple[Section, ...]:
    """Return everything else that is on record."""
    return (
        Section(
            title="Caller",
            facts=(
                ("Kind", record.get_caller_kind_display()),
                ("Instance id", _text(record.instance_id)),
                ("GitLab user id", _text(record.user_id)),
                ("Global user id", _text(record.global_user_id)),
                ("API key", _text(record.api_key_name)),
                ("Correlation id", _text(record.correlation_id)),
            ),
        ),
        Section(
            title="Decision",
            facts=(
                ("Policy", _text(record.policy)),
                ("Configuration version", str(record.config_version)),
                ("Feature", _text(record.feature)),
                ("Route", _text(record.endpoint)),
                ("Prompt version", _text(record.prompt_version)),
                ("Prompt digest", _text(record.prompt_digest)),
            ),
        ),
        Section(
            title="Model",
            facts=(
                ("Model", _text(record.model_name)),
                ("Model revision", _number(record.revision_id)),
                ("Calls of the model", str(record.model_calls)),
                ("Status of the backend", _number(record.backend_status)),
                ("Error code", _text(record.error_code)),
                ("Streamed", "yes" if record.is_streamed else "no"),
            ),
        ),
        Section(
            title="When and where",
            facts=(
                ("Record id", str(record.pk)),
                ("Opened", moment(record.opened_at, precision="milliseconds")),
                ("Claimed by a worker", moment(record.claimed_at, precision="milliseconds")),
                ("Closed", moment(record.closed_at, precision="milliseconds")),
                ("Deadline", moment(record.deadline_at, precision="milliseconds")),
                ("Web process", _text(record.web_process)),
                ("Worker process", _text(record.worker_process)),
            ),
        ),
    )


def _text(text: str) -> str:
    return visible(text) or NOTHING


def _number(number: int | None) -> str:
    return NOTHING if number is None else str(number)
