"""How gunicorn serves: greenlets, bounded requests, and an end that lets streams finish.

`WEB_CONCURRENCY` sets the number of processes (gunicorn reads it; 1 unless told otherwise). No
preloading: each process opens its own database connection and reply stream after the fork.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gunicorn import glogging
from gunicorn.workers.ggevent import GeventWorker

IDLE_GRACE_S = 1.5  # gunicorn takes up to 1 s to stop accepting
worker_connections = 12_000
backlog = 4096
keepalive = 75  # seconds; also what a client gets to send its headers
timeout = 60
graceful_timeout = 75  # longer than the longest deadline of a request
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 16 * 1024
forwarded_allow_ips = "127.0.0.1"
control_socket_disable = True
accesslog = None  # one line of our own per request replaces it
loglevel = "warning"


class Worker(GeventWorker):
    """Gunicorn's worker, which lets streams finish but does not wait for idle connections.

    Gunicorn's own would wait for a client that only keeps its connection as long as for a stream.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Remember which connections wait for their next request, and how long they may."""
        super().__init__(*args, **kwargs)
        self._idle: dict[gevent.Greenlet, gevent.Timeout] = {}

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Wait for a request: as long as connections are kept, and hardly when we are stopping."""
        patience_s = keepalive if self.alive else IDLE_GRACE_S
        connection = gevent.getcurrent()
        with gevent.Timeout(patience_s, False) as patience:
            self._idle[connection] = patience
            try:
                yield
            finally:
                del self._idle[connection]

    def handle_exit(self, number: int, frame: Any) -> None:
        """Stop accepting, and soon after end the waits that have not become requests."""
        super().handle_exit(number, frame)
        gevent.spawn_later(IDLE_GRACE_S, self._close_idle)

    def _close_idle(self) -> None:
        for connection, patience in tuple(self._idle.items()):
            connection.kill(patience, block=False)


worker_class = Worker


class OneLine(logging.Filter):
    """Tell a stream that we broke on purpose in one line: its cause is logged where it arose.

    Gunicorn's other lines stay, but without what a client wrote: a request line or a header can
    hold a token.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the record; never drop one."""
        from gateway.errors import StreamBroken

        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, StreamBroken):
            record.msg, record.args, record.exc_info = "stream.broken", (), None
        elif error is not None:
            record.msg, record.args = "request.crashed", ()
        elif record.levelno == logging.WARNING and str(record.msg).startswith("Invalid request"):
            record.msg, record.args = "request.malformed", ()
        return True


class Logger(glogging.Logger):
    """Write gunicorn's lines in our format."""

    def setup(self, cfg: Any) -> None:
        """Replace the format of the one handler that gunicorn makes."""
        super().setup(cfg)
        from gateway.logs import JsonFormatter

        for handler in self.error_log.handlers:
            handler.setFormatter(JsonFormatter())
        if not any(isinstance(known, OneLine) for known in self.error_log.filters):
            self.error_log.addFilter(OneLine())


logger_class = Logger


def post_worker_init(worker: Any) -> None:
    """Start what a web process runs beside its requests."""
    from gateway import runtime

    runtime.start_web()


def worker_exit(server: Any, worker: Any) -> None:
    """Stop it; what is still open is closed or handed back."""
    from gateway import runtime

    runtime.stop()
