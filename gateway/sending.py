"""Waking the workers: micro-batches of record ids, one Celery message for all that wait.

A message is a wake-up signal and nothing more: it is lost or doubled without harm, because the
database decides who serves a record.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID, uuid4

from kombu.exceptions import KombuError, OperationalError
from redis import RedisError

from gateway import concurrency
from gateway.celery import app

logger = logging.getLogger(__name__)

BATCH_MAX = 500
QUEUE = "inference"
TASK = "gateway.tasks.forward"
# A hung Redis must answer 503 within 2 s, not after the worker's 15 s.
SOCKET_TIMEOUT_S = 1.5
# After a failure, do not make every request wait for the next time-out.
PAUSE_S = 0.5


class LocalSender:
    """Embedded mode: the same task runs eagerly, in this process, beside the request."""

    def send(self, record_ids: Sequence[UUID]) -> None:
        """Run the task for these records."""
        from gateway.tasks import forward

        # Called, not applied: Celery's tracing of an eager task costs a tenth of a request.
        concurrency.start(forward, [record_id.hex for record_id in record_ids])


class CelerySender:
    """Publishes through one held connection; `failed` is told which ids could not be sent.

    The message is built by hand (Celery's message protocol, version 2): `apply_async` costs 0.3 ms
    and a producer from a pool, which at one request in flight is a tenth of the whole.
    """

    def __init__(self, *, failed: Callable[[list[UUID]], None]) -> None:
        """Connect at the first message."""
        self._ids: SimpleQueue[UUID] = SimpleQueue()
        self._failed = failed
        self._producer: Any = None
        self._down_until = 0.0
        concurrency.start(self._run, name="sender")

    def send(self, record_ids: Sequence[UUID]) -> None:
        """Queue the ids; returns at once."""
        for record_id in record_ids:
            self._ids.put(record_id)

    def _run(self) -> None:
        while True:
            batch = [self._ids.get()]
            try:
                while len(batch) < BATCH_MAX:
                    batch.append(self._ids.get_nowait())
            except Empty:
                pass
            try:
                self._publish(batch)
            except Exception as exc:
                if not isinstance(exc, (KombuError, RedisError, OSError)):
                    logger.exception("sender.failed")
                self._failed(batch)

    def _publish(self, batch: list[UUID]) -> None:
        if time.monotonic() < self._down_until:
            raise OperationalError
        task_id = str(uuid4())
        try:
            self._held().publish(
                [[], {"record_ids": [record_id.hex for record_id in batch]}, _EMBED],
                exchange="",
                routing_key=QUEUE,
                serializer="json",
                headers={"lang": "py", "task": TASK, "id": task_id, "root_id": task_id} | _HEADERS,
                correlation_id=task_id,
                delivery_mode=1,
                retry=False,
            )
        except Exception as exc:
            self._drop()
            self._down_until = time.monotonic() + PAUSE_S
            logger.warning("sender.publish_failed", extra={"error": type(exc).__name__})
            raise

    def _held(self) -> Any:
        if self._producer is None:
            options = {
                **app.conf.broker_transport_options,
                "socket_timeout": SOCKET_TIMEOUT_S,
                "socket_connect_timeout": SOCKET_TIMEOUT_S,
                "retry_on_timeout": False,
            }
            connection = app.connection_for_write(transport_options=options)
            connection.ensure_connection(max_retries=0)  # by default it sleeps 2 s and tries again
            self._producer = connection.Producer(auto_declare=False)
        return self._producer

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.connection.release()
            except Exception as exc:
                logger.debug("sender.release_failed", extra={"error": type(exc).__name__})


_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_HEADERS = {
    "parent_id": None,
    "group": None,
    "argsrepr": "()",
    "kwargsrepr": "{}",
    "retries": 0,
    "timelimit": [None, None],
    "eta": None,
    "expires": None,
    "ignore_result": True,
}
