"""Forwarding what is on record, without content, to the SIEM that GATEWAY_SIEM_URL names.

Each closed record is sent at least once, within seconds; after an outage of the receiver, or of
Enclave, what is missing is sent first. One process does it (`gateway.audit.chores`). Whoever takes
over sends the last minute again, so a receiver may see a record twice and tells by its id.

Syslog: RFC 5424, over TCP or TLS with counted octets (RFC 6587, 5425), over UDP (RFC 5426) or into
a local socket. HTTP: a POST of JSON lines, which any status from 200 to 299 acknowledges.
Over TCP and TLS a batch counts as delivered when the receiver, told that this was all, hangs up.
UDP and local sockets acknowledge nothing.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings

from gateway.audit import export, settled
from gateway.audit.chores import Chore, Trouble
from gateway.audit.models import InferenceRecord, State
from gateway.audit.settled import SETTLED_AFTER, Look, Row
from models_registry import egress, egress_ledger
from models_registry.egress import Limits
from models_registry.errors import ModelError

NAME = "siem"
BATCH = 500
TIMEOUT_S = 10.0
REPLY_MAX_BYTES = 64 * 1024

HTTP = ("http://", "https://")
FACILITY = 13  # "log audit"; RFC 5424, table 1
INFORMATIONAL, NOTICE, WARNING = 6, 5, 4
SEVERITIES = {
    State.ANSWERED: INFORMATIONAL,
    State.REFUSED: NOTICE,
    State.CANCELLED: NOTICE,
    State.FAILED: WARNING,
    State.INTERRUPTED: WARNING,
}


class Forwarder:
    """What this process knows of the receiver: the records of the last minute that it has."""

    def __init__(self) -> None:
        """Know nothing: whatever is not settled will be sent, again perhaps."""
        self._sent: dict[UUID, datetime] = {}

    def step(self, reached: datetime | None, now: datetime) -> Look:
        """Send what is missing since `reached`, at most a batch; nothing from before the first.

        Raises:
            Trouble: the receiver did not take it.
        """
        since = reached or now - SETTLED_AFTER
        found = settled.look(since, now=now, limit=BATCH, done=self._done)
        if found.todo:
            records = InferenceRecord.objects.in_bulk([row.id for row in found.todo])
            try:
                send([records[row.id] for row in found.todo if row.id in records])
            except ModelError as exc:
                raise Trouble(str(exc)) from exc
            self._sent |= {row.id: row.opened_at for row in found.todo}
        self._sent = {key: at for key, at in self._sent.items() if at >= found.reached}
        return found

    def _done(self, rows: Sequence[Row]) -> set[UUID]:
        return {row.id for row in rows if row.id in self._sent}


def chore() -> Chore | None:
    """Return the chore of forwarding, if there is where to."""
    return Chore(name=NAME, step=Forwarder().step) if settings.GATEWAY_SIEM_URL else None


def check_receiver(url: str) -> None:
    """Pass if records could be sent to this address.

    Raises:
        ModelMisconfigured: they could not.
    """
    if url and not url.startswith(HTTP):
        egress.parse_receiver(url)


def send(records: Sequence[InferenceRecord]) -> None:
    """Hand records to the receiver; they are there when this returns.

    Raises:
        ModelError: they are not, or not all.
    """
    url: str = settings.GATEWAY_SIEM_URL
    if url.startswith(HTTP):
        _post(url, "".join(f"{as_line(record)}\n" for record in records).encode())
    else:
        messages = [as_syslog(record).encode() for record in records]
        egress.send_syslog(url, messages, timeout_s=TIMEOUT_S)


def as_line(record: InferenceRecord) -> str:
    """Return what is on record about a call, as JSON on one line of printable ASCII."""
    return export.as_json(export.row(record))


def as_syslog(record: InferenceRecord) -> str:
    """Return a record as a message of RFC 5424; its JSON stands in MSG."""
    return message(
        severity=SEVERITIES.get(State(record.state), WARNING),
        at=record.closed_at or record.opened_at,
        about="inference",
        text=as_line(record),
    )


def message(*, severity: int, at: datetime, about: str, text: str) -> str:
    """Return a message of RFC 5424: `about` is its MSGID, `text` its MSG."""
    stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"<{FACILITY * 8 + severity}>1 {stamp} {_host()} enclave - {about} - {text}"


def _host() -> str:
    name = platform.node()
    return name[:255] if name and name.isascii() and name.isprintable() and " " not in name else "-"


def _post(url: str, body: bytes) -> None:
    headers = {"Content-Type": "application/x-ndjson"}
    if settings.GATEWAY_SIEM_AUTHORIZATION:
        headers["Authorization"] = settings.GATEWAY_SIEM_AUTHORIZATION
    limits = Limits(
        deadline_at=time.monotonic() + TIMEOUT_S,
        first_byte_s=TIMEOUT_S,
        idle_s=TIMEOUT_S,
        max_bytes=REPLY_MAX_BYTES,
    )
    with egress.exchange(
        "POST",
        url,
        headers=headers,
        body=body,
        limits=limits,
        pool_key=NAME,
        purpose=egress_ledger.SIEM,
    ) as reply:
        egress.require_success(reply)
        reply.rest(max_bytes=REPLY_MAX_BYTES, within_s=1.0)
