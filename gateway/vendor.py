"""The vendor route: a call that no model of the house serves goes to the vendor as it came.

This process forwards it itself, with a record of its own, for the token that GitLab sent must
reach the vendor and nothing else: no record, no message, no worker (docs/adr/0014). What the vendor
answers, errors too, goes back as it is, and is on record like every other answer.
"""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from uuid import UUID

from django.conf import settings

from features.errors import NoModelAssigned
from features.policy import VENDOR_ROUTE, Decision
from features.snapshot import Snapshot
from gateway import process
from gateway.audit import records
from gateway.audit.models import CallerKind, State
from gateway.audit.records import Outcome
from gateway.audit.store import Row
from gateway.calls import Call
from gateway.errors import GatewayError, StreamBroken, VendorFailed
from gateway.own_record import OwnRecord
from models_registry import egress
from models_registry.egress import Cancellation, Limits, Reply
from models_registry.errors import ModelError

# Bytes that are no UTF-8 survive the way into a text and back.
ODD_BYTES = "surrogateescape"
# Where a body holds the key of a model: GitLab's flat fields, and its model_metadata.
KEY_IN_BODY = re.compile(r'("(?:model_)?api_key"\s*:\s*)"(?:[^"\\]|\\.)*"')


class Diverted(Exception):
    """This call is the vendor's to answer: raised by the pipeline, caught by the frame."""

    def __init__(self, call: Call, decision: Decision, config: Snapshot) -> None:
        """Keep what the record says of it."""
        super().__init__("the call goes to the vendor")
        self.call = call
        self.decision = decision
        self.config = config


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What is passed on of a request. `path` begins with a slash and holds the query."""

    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class VendorAnswer:
    """What came back. A stream's first piece is there; closing `pieces` early is a client gone."""

    status: int
    headers: Mapping[str, str]
    is_streamed: bool
    pieces: Iterator[bytes]


def divert(call: Call, decision: Decision, config: Snapshot) -> Diverted:
    """Return what sends a call to the vendor.

    Raises:
        NoModelAssigned: its caller has no token that the vendor would take.
    """
    if call.caller.kind != CallerKind.INSTANCE:
        raise NoModelAssigned(
            "No rule assigns a model to this feature, and the vendor route takes only calls that"
            " GitLab itself sends, with its own token."
        )
    return Diverted(call, decision, config)


def forward(diverted: Diverted, message: Message) -> VendorAnswer:
    """Return the vendor's answer: whole and with its outcome committed, or as it comes.

    Raises:
        ModelError: there is none.
        GatewayError: it cannot be recorded.
    """
    call, cancellation = diverted.call, Cancellation()
    with ExitStack() as stack:
        record = stack.enter_context(OwnRecord(_opening(diverted, message)))
        stack.enter_context(_stopped_with(call.has_left, record.id, cancellation))
        record.model_calls += 1
        reply = stack.enter_context(
            egress.exchange(
                "POST",
                settings.GATEWAY_VENDOR_ROUTE_URL.rstrip("/") + message.path,
                headers=message.headers,
                body=message.body,
                limits=_limits(call),
                cancellation=cancellation,
                pool_key=VENDOR_ROUTE,
                purpose=VENDOR_ROUTE,
            )
        )
        is_streamed = call.is_streamed and reply.status < 300
        if is_streamed:
            pieces = _stream(record, reply, stack.pop_all())
            next(pieces)  # from here on, closing the iterator closes the record
        else:
            pieces = iter([_whole(record, reply)])
    return VendorAnswer(
        status=reply.status, headers=reply.headers, is_streamed=is_streamed, pieces=pieces
    )


def _whole(record: OwnRecord, reply: Reply) -> bytes:
    """Return the whole body, after its outcome was committed."""
    body = reply.read()
    outcome = Outcome(state=State.ANSWERED, answer=body.decode(errors="replace"))
    if reply.status >= 300:
        outcome = Outcome(
            state=State.FAILED,
            answer=outcome.answer,
            error_code=VendorFailed.code,
            error_detail=f"It answered with status {reply.status}.",
            backend_status=reply.status,
        )
    record.finish(outcome)
    return body


def _stream(record: OwnRecord, reply: Reply, stack: ExitStack) -> Iterator[bytes]:
    """Yield once when the first bytes are there, then the body; it ends if that is on record.

    A piece ends where a character ends, so that what is in the journal is what was sent.
    """
    is_begun = False
    try:
        with stack:
            arriving = reply.chunks()
            first = next(arriving, b"")
            record.note_first_token()
            is_begun = True
            yield b""
            for text in codecs.iterdecode(chain((first,), arriving), "utf-8", ODD_BYTES):
                yield record.deliver(text).encode(errors=ODD_BYTES)
            record.finish(Outcome(state=State.ANSWERED, answer=record.delivered))
    except (GatewayError, ModelError) as exc:
        if is_begun:
            raise StreamBroken(str(exc)) from exc
        raise


def _opening(diverted: Diverted, message: Message) -> Row:
    """Return the row that opens the record: the body as the vendor gets it, but for keys in it."""
    sent = KEY_IN_BODY.sub(r'\1"(removed)"', message.body.decode(errors="replace"))
    content = {"inputs": {}, "prompt": {"text": sent}}
    decision = diverted.decision
    return records.opening_alone(diverted.call, decision, diverted.config, content) | {
        "policy": f"{VENDOR_ROUTE}; {decision.reason}"[:255],
        "model_name": VENDOR_ROUTE,
    }


def _limits(call: Call) -> Limits:
    return Limits(
        deadline_at=time.monotonic() + call.deadline_s,
        first_byte_s=settings.GATEWAY_FIRST_BYTE_S,
        idle_s=settings.GATEWAY_IDLE_S,
        max_bytes=settings.GATEWAY_ANSWER_MAX_BYTES,
    )


@contextmanager
def _stopped_with(
    has_left: Callable[[], bool], record_id: UUID, cancellation: Cancellation
) -> Iterator[None]:
    """Stop the exchange when the client leaves; who watches the other requests watches this one."""

    def look(now: float) -> None:
        if has_left():
            cancellation.cancel()

    waiters = process.parts().waiters
    waiter = waiters.add(record_id, look)
    try:
        yield
    finally:
        waiters.remove(waiter)
