"""Who does the sync of groups, and when: a worker where there is one, else the web process.

The wish is a row (`features.sync.state.SyncRun`); a message only wakes a worker. Maintenance looks
for wishes that nobody took and for what the schedule asks.
"""

from __future__ import annotations

import logging
from datetime import datetime

from django.conf import settings
from django.db import connection
from django.utils import timezone
from kombu.exceptions import KombuError
from redis import RedisError

from features.sync import run
from features.sync.state import SyncRun
from gateway import concurrency
from gateway.audit.models import ProcessKind
from gateway.celery import app

logger = logging.getLogger(__name__)

TASK = "gateway.tasks.sync_groups"
SCHEDULE = "the schedule"


def start(*, by: str, accepts_loss: bool = False) -> SyncRun:
    """Return the run that a person asked for, or the one that is under way."""
    asked = SyncRun.ask(by=by, accepts_loss=accepts_loss)
    if not settings.REDIS_URL:
        concurrency.start(perform, name="group-sync")
        return asked
    try:
        app.send_task(TASK, retry=False)
    except (KombuError, RedisError, OSError) as exc:
        # Maintenance finds the row.
        logger.warning("sync.not_sent", extra={"error": type(exc).__name__})
    return asked


def start_if_due(kind: ProcessKind, *, now: datetime) -> None:
    """Begin what the schedule asks for, and what was asked for and not begun."""
    is_ours = kind == ProcessKind.WORKER or not settings.REDIS_URL
    if is_ours and SyncRun.is_due(now=now):
        SyncRun.ask(by=SCHEDULE)
        concurrency.start(perform, name="group-sync")


def perform() -> None:
    """Do the run that waits, if one does, beside everything else."""
    try:
        run.perform(now=timezone.now())
    except Exception:
        logger.exception("sync.broke")
    finally:
        connection.close()
