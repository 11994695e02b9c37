"""Starting and stopping what one process runs beside its requests or tasks."""

from __future__ import annotations

import gc
import logging
from uuid import UUID, uuid4

from django.conf import settings

from features import snapshot
from gateway import bus, concurrency, forwarding, maintenance, process
from gateway.audit import chores, indexing, siem
from gateway.audit.chain import checkpoints, keys
from gateway.audit.chores import Chore
from gateway.audit.journal import Journal
from gateway.audit.models import ProcessKind, State
from gateway.audit.records import Outcome, close_soon
from gateway.audit.writer import Writer
from gateway.bus import LocalReplies, RedisInbox, RedisReplies, Waiters
from gateway.errors import QueueUnavailable
from gateway.frames import End
from gateway.sending import CelerySender, LocalSender

logger = logging.getLogger(__name__)


def start_web() -> None:
    """Start what a web process needs; with no REDIS_URL it is its own worker."""
    keys.require()
    process_id, waiters = uuid4().hex, Waiters()
    writer = Writer(process_id)
    writer.start()
    if settings.REDIS_URL:
        RedisInbox(process_id, waiters)
        sender: CelerySender | LocalSender = CelerySender(failed=_tell_not_sent)
        cancel = bus.publish_cancel
    else:
        sender, cancel = LocalSender(), forwarding.cancel
    process.set_parts(
        process.Parts(
            id=process_id,
            writer=writer,
            journal=Journal(process_id),
            waiters=waiters,
            replies=LocalReplies(waiters),
            send=sender.send,
            cancel=cancel,
        )
    )
    concurrency.start(waiters.watch, name="waiters")
    snapshot.start_polling()
    maintenance.start(process_id, ProcessKind.WEB)
    chores.start(process_id, _chores())
    checkpoints.start()
    _settle()
    logger.info("process.started", extra={"kind": "web", "mode": _mode()})


def start_worker() -> None:
    """Start what a worker process needs."""
    keys.require()
    process_id = uuid4().hex
    writer = Writer(process_id)
    writer.start()
    process.set_parts(
        process.Parts(
            id=process_id,
            writer=writer,
            journal=Journal(process_id),
            waiters=Waiters(),
            replies=RedisReplies(),
            send=lambda _: None,
            cancel=forwarding.cancel,
        )
    )
    concurrency.start(bus.listen_for_cancels, forwarding.cancel, name="cancel-listener")
    maintenance.start(process_id, ProcessKind.WORKER)
    chores.start(process_id, _chores())
    checkpoints.start()
    _settle()
    logger.info("process.started", extra={"kind": "worker", "mode": _mode()})


def stop() -> None:
    """Write what is still to be written; call after the last request or task."""
    try:
        parts = process.parts()
    except process.NotStarted:
        return
    chores.stop()
    maintenance.stop()
    parts.waiters.stop()
    parts.writer.stop()
    checkpoints.stop()
    parts.journal.close()
    process.set_parts(None)


def _chores() -> list[Chore]:
    return [chore for chore in (indexing.CHORE, siem.chore()) if chore is not None]


def _settle() -> None:
    """Take what was imported out of the garbage collector's sight: it lives as long as we do."""
    gc.collect()
    gc.freeze()


def _mode() -> str:
    return "server" if settings.REDIS_URL else "embedded"


def _tell_not_sent(record_ids: list[UUID]) -> None:
    """Answer 503 to the requests whose ids could not be published, and close their records."""
    waiters = process.parts().waiters
    for record_id in record_ids:
        error = QueueUnavailable()
        close_soon(
            record_id,
            Outcome(state=State.FAILED, error_code=error.code, error_detail=str(error)),
        )
        waiters.deliver(
            record_id,
            End(state=State.FAILED, error_code=error.code, error_detail=str(error)),
        )
