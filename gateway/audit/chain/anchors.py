"""Places outside the database that keep the checkpoints: GATEWAY_AUDIT_ANCHORS.

    file:///path                      a line is appended; the file should belong to another user
    tls://host:6514, tcp://, udp://   a syslog message, as `gateway.audit.siem` sends its own
    unix:///dev/log                   the same, to this machine's syslog
    https://host/path                 a POST of the line

Each line is one JSON object that holds the statement and its signature. A place that was away gets
what it missed. A line may come twice: whoever reads them takes equal ones for one.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import orjson
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.utils import timezone

from gateway.audit import siem
from gateway.audit.models import Anchor, Checkpoint
from models_registry import egress, egress_ledger
from models_registry.errors import ModelError, ModelMisconfigured

logger = logging.getLogger(__name__)

SYSLOG = ("tls", "tcp", "udp", "unix")
TIMEOUT_S = 3.0
# What one look sends to one place at most; the next goes on.
BATCH_MAX = 500

_down: set[str] = set()


def check(address: str) -> None:
    """Pass if an address names a place.

    Raises:
        ImproperlyConfigured: with a sentence that says what is wrong.
    """
    parts = urlsplit(address)
    if parts.scheme not in _SENDERS:
        raise ImproperlyConfigured(f"a place must begin with one of {', '.join(_SENDERS)}.")
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/"):
            raise ImproperlyConfigured("file: takes an absolute path after //.")
        return
    # What is said holds no address: it may hold what it should not.
    try:
        if parts.scheme in SYSLOG:
            egress.parse_receiver(address)
        else:
            egress.validate_endpoint(address.partition("?")[0])
    except (ValidationError, ModelMisconfigured) as exc:
        reason = " ".join(exc.messages) if isinstance(exc, ValidationError) else str(exc)
        raise ImproperlyConfigured(f"{parts.scheme}: {reason}") from exc


def is_ours(address: str) -> bool:
    """Test whether a place is a file that this user may change at will."""
    parts = urlsplit(address)
    if parts.scheme != "file":
        return False
    path = Path(unquote(parts.path))
    owned = path if path.exists() else path.parent
    return not owned.exists() or owned.stat().st_uid == os.geteuid()


def said(checkpoint: Checkpoint) -> dict[str, str]:
    """Return what is told of a checkpoint, anywhere."""
    return {
        "key": checkpoint.signed_by,
        "signature": checkpoint.signature,
        "statement": checkpoint.statement,
    }


def line(checkpoint: Checkpoint) -> str:
    """Return what a place gets of a checkpoint."""
    return orjson.dumps(said(checkpoint)).decode()


def deliver() -> None:
    """Send to every place what it has not got yet."""
    for address in settings.GATEWAY_AUDIT_ANCHORS:
        try:
            _catch_up(address)
        except (OSError, ModelError) as exc:
            if address not in _down:
                logger.error(
                    "anchor.failed", extra={"place": urlsplit(address).scheme, "error": str(exc)}
                )
            _down.add(address)
        else:
            if address in _down:
                logger.info("anchor.back", extra={"place": urlsplit(address).scheme})
            _down.discard(address)


def _catch_up(address: str) -> None:
    newest = Checkpoint.objects.order_by("number").last()
    if newest is None:
        return
    # The newest vouches for all: a new place needs no history.
    anchor, _ = Anchor.objects.get_or_create(
        pk=address, defaults={"number": newest.number - 1, "delivered_at": timezone.now()}
    )
    pending = Checkpoint.objects.filter(number__gt=anchor.number).order_by("number")
    for checkpoint in pending[:BATCH_MAX]:
        _SENDERS[urlsplit(address).scheme](address, line(checkpoint))
        Anchor.objects.filter(pk=address, number__lt=checkpoint.number).update(
            number=checkpoint.number, delivered_at=timezone.now()
        )


def _append(address: str, text: str) -> None:
    """Append to a file and wait for the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(Path(unquote(urlsplit(address).path)), flags, 0o640)
    try:
        data = f"{text}\n".encode()
        if os.write(descriptor, data) != len(data):
            raise OSError("the file took only a part of a line")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _post(address: str, text: str) -> None:
    limits = egress.Limits(
        deadline_at=time.monotonic() + TIMEOUT_S,
        first_byte_s=TIMEOUT_S,
        idle_s=TIMEOUT_S,
        max_bytes=64 * 1024,
    )
    headers = {"Content-Type": "application/json"}
    with egress.exchange(
        "POST",
        address,
        headers=headers,
        body=text.encode(),
        limits=limits,
        purpose=egress_ledger.CHECKPOINTS,
    ) as reply:
        egress.require_success(reply)
        reply.read()


def _to_syslog(address: str, text: str) -> None:
    message = siem.message(
        severity=siem.NOTICE, at=timezone.now(), about="checkpoint", text=text
    ).encode()
    egress.send_syslog(address, [message], timeout_s=TIMEOUT_S, purpose=egress_ledger.CHECKPOINTS)


_SENDERS: dict[str, Callable[[str, str], None]] = {
    "file": _append,
    "http": _post,
    "https": _post,
    **dict.fromkeys(SYSLOG, _to_syslog),
}
