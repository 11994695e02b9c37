"""The bus between web processes and workers: messages of ids out, frames of answers back.

Each web process has one Redis stream for the answers to all its waiting requests, read by one
greenlet; each worker has one outbox that joins what goes to the same web process. No connection and
no key per request, no result backend. Without Redis both ends are this process and frames are
handed over directly.

Text lives in Redis only on its way: read entries are deleted, and a stream nobody reads expires.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import lru_cache
from queue import Empty, SimpleQueue
from typing import Any, Protocol
from uuid import UUID

import redis
from django.conf import settings

from gateway import concurrency, frames
from gateway.errors import GatewayError, InternalError
from gateway.frames import Broken, Chunk, Frame, Quiet

logger = logging.getLogger(__name__)

STREAM_MAX_ENTRIES = 100_000
STREAM_EXPIRES_S = 120
READ_BLOCK_MS = 1_000
RECONNECT_AFTER_S = 0.2
# How often each waiting request is asked what is wrong, in particular whether its client left.
LOOK_EVERY_S = 0.5
CANCEL_CHANNEL = "enclave:cancel"


class Waiter:
    """A request that waits for the frames of its record.

    `fault` is asked now and then what is wrong by now, so that the wait itself needs no timer. A
    wait that is to be told of silence says how long (`heartbeat_s`).
    """

    __slots__ = (
        "_beaten_at",
        "_frames",
        "active_at",
        "fault",
        "heartbeat_s",
        "is_committed",
        "opened_at",
        "record_id",
    )

    def __init__(self, record_id: UUID, fault: Callable[[float], GatewayError | None]) -> None:
        """Wait for this record's frames."""
        self.record_id = record_id
        self.fault = fault
        self.opened_at = self.active_at = self._beaten_at = time.monotonic()
        self.heartbeat_s: float | None = None
        self.is_committed = False
        self._frames: SimpleQueue[Frame] = SimpleQueue()

    def put(self, frame: Frame) -> None:
        """Hand over a frame; never blocks."""
        self.active_at = time.monotonic()
        self._frames.put(frame)

    def beat(self, now: float) -> None:
        """Hand over that nothing came, if that is wanted and due."""
        silent_since = max(self.active_at, self._beaten_at)
        if self.heartbeat_s is not None and now - silent_since >= self.heartbeat_s:
            self._beaten_at = now
            self._frames.put(Quiet())

    def get(self) -> Frame:
        """Return the next frame; a fault arrives as a `Broken` one."""
        return self._frames.get()


class Waiters:
    """All waiting requests of this web process, by record."""

    def __init__(self) -> None:
        """Begin with none."""
        self._by_id: dict[UUID, Waiter] = {}
        self._is_stopped = False

    def add(self, record_id: UUID, fault: Callable[[float], GatewayError | None]) -> Waiter:
        """Return a new waiter for the record."""
        waiter = self._by_id[record_id] = Waiter(record_id, fault)
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """Forget a waiter; frames that still come for it are dropped."""
        self._by_id.pop(waiter.record_id, None)

    def deliver(self, record_id: UUID, frame: Frame) -> None:
        """Give a frame to whom it belongs, if it still waits."""
        waiter = self._by_id.get(record_id)
        if waiter is not None:
            waiter.put(frame)

    def silent_for(self, seconds: float) -> list[Waiter]:
        """Return those that heard nothing for this long; the usual answer is none."""
        before = time.monotonic() - seconds
        return [w for w in list(self._by_id.values()) if w.active_at < before]

    def look(self) -> None:
        """Tell each request what is wrong with its wait: its client left, its time is up."""
        now = time.monotonic()
        for waiter in list(self._by_id.values()):
            try:
                error = waiter.fault(now)
            except Exception:  # the watch must outlive whatever one request meets
                logger.exception("bus.look_failed")
                error = InternalError()
            if error is not None:
                waiter.put(Broken(error=error))
            else:
                waiter.beat(now)

    def watch(self) -> None:
        """Look after all of them until `stop`: one timer, however many requests wait."""
        while not self._is_stopped:
            time.sleep(LOOK_EVERY_S)
            self.look()

    def stop(self) -> None:
        """End `watch`."""
        self._is_stopped = True

    def __len__(self) -> int:
        return len(self._by_id)


class Replies(Protocol):
    """The worker's end of the way back."""

    def push(self, web_process: str, record_id: UUID, frame: Frame) -> None:
        """Send a frame to the web process; returns at once."""


class LocalReplies:
    """Web and worker are one process."""

    def __init__(self, waiters: Waiters) -> None:
        """Deliver to these."""
        self._waiters = waiters

    def push(self, web_process: str, record_id: UUID, frame: Frame) -> None:
        """Hand the frame over."""
        self._waiters.deliver(record_id, frame)


class RedisReplies:
    """The worker's outbox: one greenlet, one connection, one entry per web process and flush.

    Chunks wait GATEWAY_FLUSH_WINDOW_MS for company (a quarter of the cost of a slow stream is
    waking up for single tokens); a first chunk and an end never wait.
    """

    def __init__(self) -> None:
        """Connect at the first frame."""
        self._outbox: SimpleQueue[tuple[str, UUID, Frame]] = SimpleQueue()
        self._redis = connect()
        self._expiry_renewed_at: dict[str, float] = {}
        concurrency.start(self._run, name="reply-outbox")

    def push(self, web_process: str, record_id: UUID, frame: Frame) -> None:
        """Queue the frame."""
        self._outbox.put((web_process, record_id, frame))

    def _run(self) -> None:
        window_s = settings.GATEWAY_FLUSH_WINDOW_MS / 1000
        while True:
            waiting = [self._outbox.get()]
            _drain(self._outbox, waiting)
            if window_s and all(_may_wait(frame) for _, _, frame in waiting):
                time.sleep(window_s)
                _drain(self._outbox, waiting)
            self._send(waiting)

    def _send(self, waiting: list[tuple[str, UUID, Frame]]) -> None:
        """Write to Redis; what cannot be written is told to the web process by the database."""
        by_process: dict[str, list[tuple[UUID, Frame]]] = {}
        for web_process, record_id, frame in waiting:
            by_process.setdefault(web_process, []).append((record_id, frame))
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for web_process, batch in by_process.items():
                    key = stream_key(web_process)
                    entry = {b"f": frames.pack(_joined(batch))}
                    pipe.xadd(key, entry, maxlen=STREAM_MAX_ENTRIES, approximate=True)
                    if self._is_expiry_due(key):
                        pipe.expire(key, STREAM_EXPIRES_S)
                pipe.execute()
        except redis.RedisError as exc:
            logger.warning("bus.push_failed", extra={"error": type(exc).__name__})

    def _is_expiry_due(self, key: str) -> bool:
        """Test whether the stream's expiry must be renewed: now and then, not for each entry."""
        now = time.monotonic()
        if now - self._expiry_renewed_at.get(key, -STREAM_EXPIRES_S) < STREAM_EXPIRES_S / 4:
            return False
        self._expiry_renewed_at[key] = now
        return True


def _may_wait(frame: Frame) -> bool:
    return isinstance(frame, Chunk) and frame.number > 0


def _drain(
    outbox: SimpleQueue[tuple[str, UUID, Frame]], into: list[tuple[str, UUID, Frame]]
) -> None:
    try:
        while len(into) < 2_000:
            into.append(outbox.get_nowait())
    except Empty:
        pass


def _joined(batch: list[tuple[UUID, Frame]]) -> list[tuple[UUID, Frame]]:
    """Join the chunks of each stream into one frame."""
    joined: dict[UUID, list[Frame]] = {}
    for record_id, frame in batch:
        own = joined.setdefault(record_id, [])
        if own and isinstance(frame, Chunk) and isinstance(own[-1], Chunk):
            own[-1] = Chunk(number=own[-1].number, last=frame.last, text=own[-1].text + frame.text)
        else:
            own.append(frame)
    return [(record_id, frame) for record_id, own in joined.items() for frame in own]


class RedisInbox:
    """The web process's end: reads its stream and delivers to the waiters."""

    def __init__(self, web_process: str, waiters: Waiters) -> None:
        """Read the stream of this process."""
        self._key = stream_key(web_process)
        self._waiters = waiters
        self._redis = connect(socket_timeout_s=READ_BLOCK_MS / 1000 + 2)
        self._is_running = True
        concurrency.start(self._run, name="reply-inbox")

    def stop(self) -> None:
        """Stop reading after the current wait."""
        self._is_running = False

    def _run(self) -> None:
        last = b"0"
        while self._is_running:
            try:
                last = self._read(last)
            except redis.RedisError as exc:
                logger.warning("bus.read_failed", extra={"error": type(exc).__name__})
                time.sleep(RECONNECT_AFTER_S)
            except Exception:
                logger.exception("bus.inbox_failed")

    def _read(self, last: bytes) -> bytes:
        """Deliver what came after `last`, delete it, and return the new last id."""
        found = self._redis.xread({self._key: last}, count=200, block=READ_BLOCK_MS)
        for _, entries in found or ():
            for entry_id, fields in entries:
                for record_id, frame in frames.unpack(fields[b"f"]):
                    self._waiters.deliver(record_id, frame)
                last = entry_id
            self._redis.xtrim(self._key, minid=_after(last), approximate=False)
        return last


def _after(entry_id: bytes) -> str:
    millis, number = entry_id.decode().split("-")
    return f"{millis}-{int(number) + 1}"


def stream_key(web_process: str) -> str:
    """Return the name of a web process's stream."""
    return f"enclave:replies:{web_process}"


def connect(*, socket_timeout_s: float = 2.0) -> Any:
    """Return a client of its own pool; a hung Redis is noticed after the time-out."""
    # A unix socket has no keep-alive, and redis-py refuses to be asked for one.
    keepalive = {} if settings.REDIS_URL.startswith("unix://") else {"socket_keepalive": True}
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=2.0,
        **keepalive,
    )


def publish_cancel(record_id: UUID) -> None:
    """Ask whichever worker has the record to stop its model call."""
    try:
        _client().publish(CANCEL_CHANNEL, record_id.hex)
    except redis.RedisError as exc:
        logger.warning("bus.cancel_failed", extra={"error": type(exc).__name__})


def is_reachable() -> bool:
    """Test whether Redis answers; without Redis there is nothing to reach."""
    if not settings.REDIS_URL:
        return True
    try:
        return bool(_client().ping())
    except redis.RedisError:
        return False


@lru_cache(maxsize=1)
def _client() -> Any:
    return connect()


def listen_for_cancels(cancel: Callable[[UUID], None]) -> None:
    """Call `cancel` for each record whose caller left, as long as there is a Redis to hear from.

    A lost message is harmless: the call then ends by itself or at its deadline.
    """
    while settings.REDIS_URL:
        try:
            with connect(socket_timeout_s=30).pubsub(ignore_subscribe_messages=True) as channel:
                channel.subscribe(CANCEL_CHANNEL)
                while True:
                    message = channel.get_message(timeout=10)
                    if message is not None:
                        cancel(UUID(message["data"].decode()))
        except (redis.RedisError, ValueError) as exc:
            logger.warning("bus.cancel_listener_failed", extra={"error": type(exc).__name__})
            time.sleep(RECONNECT_AFTER_S)
