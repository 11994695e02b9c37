"""Work that one process does for all of them, beside the calls: each chore has one holder.

The holder renews its lease while it lives; when it dies, another process takes over within
GATEWAY_LEASE_S and goes on where the last step was written down. A chore that is behind gets a
tenth of the time of its process, so calls keep the rest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

from django.conf import settings
from django.db import Error as DatabaseError  # InterfaceError too
from django.db import close_old_connections
from django.db.models import Q
from django.utils import timezone

from gateway import concurrency
from gateway.audit import models
from gateway.audit.settled import Look

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
# The share of its process that a chore takes while it is behind.
SHARE = 0.1
STOP_S = 3.0


class Trouble(Exception):
    """A step could not be done now; the message says why, and an operator may read it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chore:
    """A chore: `step(reached, now)` does some of it and returns how far that came.

    Raises (from `step`): Trouble, if it has to be tried again later.
    """

    name: str
    step: Callable[[datetime | None, datetime], Look]


_stopping = threading.Event()
_running: list[SimpleQueue[None]] = []


def start(process_id: str, chores: Sequence[Chore]) -> None:
    """Look after the chores until `stop`, each beside the others."""
    _stopping.clear()
    for chore in chores:
        ended: SimpleQueue[None] = SimpleQueue()
        _running.append(ended)
        concurrency.start(_run, chore, process_id, ended, name=f"chore {chore.name}")


def stop() -> None:
    """End after the current steps."""
    _stopping.set()
    deadline = time.monotonic() + STOP_S
    while _running:
        try:
            _running.pop().get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            logger.warning("chore.did_not_stop")


def state_of(name: str) -> models.Chore | None:
    """Return how far a chore came; None if nobody ever did any of it."""
    return models.Chore.objects.filter(pk=name).first()


def _run(chore: Chore, process_id: str, ended: SimpleQueue[None]) -> None:
    # Not at once: a process that has just started has better to do.
    pause_s = LOOK_EVERY_S
    while not _stopping.wait(pause_s):
        began_at = time.monotonic()
        is_behind = False
        try:
            is_behind = do_some(chore, process_id, now=timezone.now())
        except DatabaseError as exc:
            logger.warning("chore.failed", extra={"error": type(exc).__name__})
        except Exception:
            logger.exception("chore.failed")
        finally:
            close_old_connections()
        worked_s = time.monotonic() - began_at
        pause_s = min(worked_s / SHARE - worked_s, LOOK_EVERY_S) if is_behind else LOOK_EVERY_S
    try:
        let_go(chore.name, process_id)
    except DatabaseError as exc:
        logger.warning("chore.failed", extra={"error": type(exc).__name__})
    finally:
        close_old_connections()
    ended.put(None)


def do_some(chore: Chore, process_id: str, *, now: datetime) -> bool:
    """Do a step if nobody else has the chore; return whether there is more to do at once."""
    held = _hold(chore.name, process_id, now=now)
    if held is None:
        return False
    facts: dict[str, object] = {"looked_at": now, "trouble": ""}
    is_behind = False
    try:
        look = chore.step(held.reached, now)
    except Trouble as exc:
        facts |= {"trouble": str(exc)[:255], "is_behind": True}
        if not held.trouble:
            logger.warning("chore.trouble", extra={"chore": chore.name})
    else:
        is_behind = look.is_behind
        facts |= {"reached": look.reached, "is_behind": is_behind}
    # Whoever took the chore over meanwhile knows better.
    models.Chore.objects.filter(pk=chore.name, holder=process_id).update(**facts)
    return is_behind


def _hold(name: str, process_id: str, *, now: datetime) -> models.Chore | None:
    """Return the chore if this process holds it from now on, else None."""
    lease = timedelta(seconds=settings.GATEWAY_LEASE_S)
    row = state_of(name) or models.Chore.objects.get_or_create(pk=name)[0]
    if row.holder == process_id and row.held_until and row.held_until - now > lease / 2:
        return row
    is_free = Q(holder=process_id) | Q(held_until=None) | Q(held_until__lt=now)
    won = models.Chore.objects.filter(is_free, pk=name).update(
        holder=process_id, held_until=now + lease
    )
    return row if won else None


def let_go(name: str, process_id: str) -> None:
    """Let another process take over at once."""
    models.Chore.objects.filter(pk=name, holder=process_id).update(held_until=None)
