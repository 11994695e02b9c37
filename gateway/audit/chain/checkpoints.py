"""Signed checkpoints: what the lanes hold, stated so often that little can be undone unseen.

A checkpoint names every lane that grew since the one before, with its count of links and its last
hash, and the digest of the one before. So the newest vouches for all. It is signed with a key that
the database does not know, and goes to places outside (`gateway.audit.chain.anchors`).

No process is in charge: each looks when the next one is due, and the quickest takes the number. If
that one dies, another takes the next.
"""

from __future__ import annotations

import logging
import random
import threading
from contextlib import suppress
from datetime import datetime, timedelta

from django.conf import settings
from django.db import Error as DatabaseError  # InterfaceError too
from django.db import IntegrityError, close_old_connections, transaction
from django.utils import timezone

from gateway import concurrency
from gateway.audit.chain import anchors, formats, keys, lanes
from gateway.audit.models import Checkpoint, Lane, LaneHead, Link

logger = logging.getLogger(__name__)

# Processes that wait for the same moment do not all wake at once.
JITTER_S = 2.0
RETRY_S = 5.0
STOP_S = 3.0

# A lane, its count of links, and the hash of the last.
Head = tuple[int, int, bytes]

_stopping = threading.Event()
_ended = threading.Event()
_ended.set()


def start() -> None:
    """Write a checkpoint whenever one is due, until `stop`."""
    _stopping.clear()
    _ended.clear()
    concurrency.start(_run, name="checkpoints")


def stop() -> None:
    """End, and sign what was written since; call when the writer has stopped."""
    _stopping.set()
    _ended.wait(STOP_S)
    with suppress(DatabaseError):
        if _grown():
            write(now=timezone.now())
            anchors.deliver()


def _run() -> None:
    pause_s = 0.0
    while not _stopping.wait(pause_s):
        pause_s = _look()
    _ended.set()


def _look() -> float:
    """Write a checkpoint if it is due; return how long to wait."""
    try:
        left_s = due_in_s(now=timezone.now())
        if left_s <= 0:
            left_s = settings.GATEWAY_AUDIT_CHECKPOINT_S
            if write(now=timezone.now()) is not None:
                anchors.deliver()
    except DatabaseError as exc:
        logger.warning("checkpoint.failed", extra={"error": type(exc).__name__})
        return RETRY_S
    except Exception:
        logger.exception("checkpoint.failed")
        return RETRY_S
    finally:
        close_old_connections()
    return left_s + random.uniform(0, JITTER_S)  # noqa: S311  # jitter


def due_in_s(*, now: datetime) -> float:
    """Return when the next checkpoint is due; 0 or less for now."""
    newest = Checkpoint.objects.order_by("number").last()
    if newest is None:
        return 0.0
    age_s = (now - newest.at).total_seconds()
    interval_s: float = settings.GATEWAY_AUDIT_CHECKPOINT_S
    # Younger than nothing: the clock was set back, and waiting for it could take long.
    return 0.0 if age_s < -interval_s else interval_s - age_s


def write(*, now: datetime) -> Checkpoint | None:
    """Sign and commit what the lanes hold; None if another process was quicker.

    Raises:
        KeyUnusable: there is no key to sign with.
    """
    try:
        with transaction.atomic():
            return _write(now)
    except IntegrityError:
        return None


def _write(now: datetime) -> Checkpoint:
    last = Checkpoint.objects.order_by("number").last()
    heads = _grown()
    statement = formats.checkpoint_statement(
        number=last.number + 1 if last else 1,
        at=formats.plain(now),
        previous=formats.checkpoint_digest(last.statement) if last else "",
        heads=heads,
    )
    signature = keys.sign(statement)
    checkpoint = Checkpoint.objects.create(
        number=last.number + 1 if last else 1,
        at=now,
        statement=statement,
        signature=signature.text,
        signed_by=signature.signed_by,
    )
    for lane, count, _ in heads:
        LaneHead.objects.filter(pk=lane).update(number=count, seen_at=now)
    # Its writer began another lane long ago, or is gone.
    finished = now - timedelta(seconds=2 * lanes.NEW_AFTER_S)
    LaneHead.objects.filter(seen_at__lt=finished).delete()
    return checkpoint


def _grown() -> list[Head]:
    """Return the heads of the lanes that hold more than the last checkpoint said."""
    grown = []
    for noted in LaneHead.objects.order_by("lane"):
        links = Link.objects.filter(
            pk__gt=formats.link_id(noted.lane, 0), pk__lt=formats.link_id(noted.lane + 1, 0)
        )
        newest = links.order_by("-pk").values_list("pk", "hash").first()
        if newest is not None:
            _, number = formats.lane_and_number(newest[0])
            head = (noted.lane, number, bytes(newest[1]))
        else:
            statement = Lane.objects.values_list("statement", flat=True).get(pk=noted.lane)
            head = (noted.lane, 0, formats.genesis(statement))
        if head[1] > noted.number:
            grown.append(head)
    return grown
