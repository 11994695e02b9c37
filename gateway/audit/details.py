"""What the page of one record says, in words: outcome, who and what, decision, prompt.

Everything here is text from a record; whatever people or models could have written goes through
`visible`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone

from features.catalog import FEATURES
from features.policy import Step
from gateway.audit import timeline
from gateway.audit.causes import CAUSES
from gateway.audit.escapes import visible
from gateway.audit.models import InferenceRecord, State
from prompts import library

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A step as it is drawn: its share of the whole, and the shares before and after it."""

    kind: str
    label: str
    note: str
    fault: str
    duration: str
    before: float
    share: float
    after: float


def course(steps: tuple[timeline.Step, ...]) -> tuple[Bar, ...]:
    """Return the steps of a call as bars below one another."""
    whole = sum(step.ms for step in steps) or 1.0
    return tuple(
        Bar(
            kind=step.kind,
            label=step.label,
            note=step.note,
            fault=step.fault,
            duration=duration(step.ms),
            before=step.start_ms / whole,
            share=step.ms / whole,
            after=max(0.0, 1 - (step.start_ms + step.ms) / whole),
        )
        for step in steps
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


def clock(at: datetime | None) -> str:
    """Return the time of day, to the millisecond."""
    return moment(at, precision="milliseconds").rpartition(" ")[2]


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


def calls(record: InferenceRecord) -> tuple[Section, ...]:
    """Return who called, what was called, and when and where it was done."""
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
                ("Route", _text(record.endpoint)),
                ("Opened", moment(record.opened_at, precision="milliseconds")),
                ("Claimed by a worker", moment(record.claimed_at, precision="milliseconds")),
                ("Closed", moment(record.closed_at, precision="milliseconds")),
                ("Deadline", moment(record.deadline_at, precision="milliseconds")),
                ("Web process", _text(record.web_process)),
                ("Worker process", _text(record.worker_process)),
            ),
        ),
    )


def calls_url(record: InferenceRecord) -> str:
    """Return the list of all calls with this record's correlation id; "" if it has none."""
    if not record.correlation_id:
        return ""
    query = urlencode({"q": record.correlation_id})
    return f"{reverse('admin:audit_inferencerecord_changelist')}?{query}"


def decision(record: InferenceRecord) -> Section:
    """Return what policy decided."""
    return Section(
        title="Decision",
        facts=(
            ("Rule that decided", _text(record.policy) if record.policy else detail(record)),
            ("Feature", f"{feature(record)} ({_text(record.feature)})"),
            ("Group", _text(record.group_path)),
            ("Configuration version", str(record.config_version)),
        ),
    )


def rungs(ladder: tuple[Step, ...]) -> tuple[tuple[str, str, str], ...]:
    """Return a ladder's rungs: level, what its rule says, what holds from there on."""
    return tuple((visible(step.level), visible(step.rule), visible(step.effect)) for step in ladder)


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptFacts:
    """The prompt that made the text, and its definition if this release has the very same."""

    facts: tuple[Fact, ...]
    definition: str
    note: str


def prompt(record: InferenceRecord) -> PromptFacts:
    """Return which prompt made the text of a record."""
    facts = (
        ("Version", _text(record.prompt_version)),
        ("SHA-256 of the definition", _text(record.prompt_digest)),
    )
    if not record.prompt_digest:
        return PromptFacts(facts=facts, definition="", note="No prompt was rendered.")
    text = library.text_of(record.prompt_digest)
    note = (
        "This release holds the same definition; its digest is the record's."
        if text
        else "This release has no definition with this digest any more."
    )
    return PromptFacts(facts=facts, definition=text, note=note)


def _text(text: str) -> str:
    return visible(text) or NOTHING


def _number(number: int | None) -> str:
    return NOTHING if number is None else str(number)
