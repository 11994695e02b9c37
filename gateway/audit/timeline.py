"""Where the time of one call went, step by step, and whose step it ended in.

    policy → prompt → queue → connect → first token → answer

Policy and prompt come before the record is opened. Queue is everything from there until a worker
has it: the commit, the message, the wait. What was not measured is left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

from gateway.audit import causes
from gateway.audit.models import OPEN_STATES, InferenceRecord, State

# A record that was given up before the model answered ended here, if its cause says so.
CONNECTING = frozenset({"backend_unreachable", "backend_tls", "egress_denied"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A part of a call: when it began, counted from the first, and how long it took, in ms.

    `fault` names whose step it was that the call ended in; "" for all others.
    """

    kind: str
    label: str
    ms: float
    note: str = ""
    start_ms: float = 0.0
    fault: str = ""


def steps(record: InferenceRecord) -> tuple[Step, ...]:
    """Return the steps of a call that is closed; those that an open one has behind it."""
    found = tuple(_steps(record))
    starts = accumulate((step.ms for step in found), initial=0.0)
    placed = [replace(step, start_ms=start) for step, start in zip(found, starts, strict=False)]
    is_fault = record.error_code and record.state not in OPEN_STATES
    if placed and is_fault:
        place = _place_of_end(record, placed)
        placed[place] = replace(placed[place], fault=causes.owner(record.error_code))
    return tuple(placed)


def _steps(record: InferenceRecord) -> Iterator[Step]:
    if record.policy_ms is not None:
        yield Step(kind="policy", label="Policy", ms=record.policy_ms)
    if record.render_ms is not None:
        yield Step(kind="render", label="Prompt", ms=record.render_ms)
    total, queue = record.total_ms, record.queue_ms
    if total is None:
        return
    if queue is None:
        # Nobody took it, or whoever did left no times: a client that left, a process that died.
        yield Step(kind="unknown", label="Until it was closed", ms=total)
        return
    yield Step(kind="queue", label="Queue", ms=queue, note="commit, message, wait")
    connect = record.connect_ms or 0.0
    if record.connect_ms is not None:
        note = "" if record.connect_ms else "kept from before"
        yield Step(kind="connect", label="Connect", ms=record.connect_ms, note=note)
    asked = queue + connect
    first = record.first_token_ms
    if not record.is_streamed or first is None:
        yield Step(kind="model", label="Model", ms=max(0.0, total - asked))
        return
    yield Step(kind="first", label="First token", ms=max(0.0, first - asked))
    yield Step(kind="model", label="Rest of the answer", ms=max(0.0, total - first))


def _place_of_end(record: InferenceRecord, found: list[Step]) -> int:
    kinds = [step.kind for step in found]
    if record.state == State.REFUSED and "policy" in kinds:
        return kinds.index("policy")
    if record.error_code in CONNECTING and "connect" in kinds:
        return kinds.index("connect")
    return len(found) - 1
