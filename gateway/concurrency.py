"""The few places where plain threads and gevent greenlets differ.

Production patches the standard library (gunicorn -k gevent, celery -P gevent), so the code is plain
synchronous Python everywhere; here stands what patching does not decide.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from gevent import monkey, spawn
from gevent.threadpool import ThreadPool

T = TypeVar("T")


def is_gevent() -> bool:
    """Test whether this process runs on greenlets."""
    return bool(monkey.is_module_patched("threading"))


def start(target: Callable[..., None], *args: Any, name: str = "") -> None:
    """Run something beside the caller: a greenlet (3 µs) where patched, else a daemon thread."""
    if is_gevent():
        spawn(target, *args)
    else:
        threading.Thread(target=target, args=args, name=name or None, daemon=True).start()


class NativeThread:
    """One native thread that runs blocking C calls, so that a greenlet's wait stops nobody else.

    SQLite sleeps inside the C library when another process holds its lock; on the hub that would
    stop every stream of the process. Without gevent the caller's thread is as good.
    """

    def __init__(self) -> None:
        """Make the thread at its first use, in the process that uses it."""
        self._pool: Any = None

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Return what the function returns, or raise what it raises."""
        if not is_gevent():
            return function(*args)
        if self._pool is None:
            self._pool = ThreadPool(1)
        return self._pool.apply(function, args)  # type: ignore[no-any-return]
