"""Noticing that a client left, before there is anything to write to it."""

from __future__ import annotations

import socket  # looks at an accepted connection; opens none
from collections.abc import Callable

from django.http import HttpRequest

PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT


def watch(request: HttpRequest) -> Callable[[], bool]:
    """Return a function that tells whether the client of this request closed its connection."""
    connection = request.META.get("gunicorn.socket")
    # gevent's socket waits for data even when told not to; the one inside it does not.
    raw = getattr(connection, "_sock", connection)
    if raw is None:
        return lambda: False

    def has_left() -> bool:
        try:
            return raw.recv(1, PEEK) == b""  # type: ignore[no-any-return]
        except BlockingIOError:
            return False
        except OSError:
            return True

    return has_left
