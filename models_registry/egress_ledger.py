"""What went through the door since it was last written down, in this process's memory.

`egress.py` notes, `egress_report.py` writes down. Noting costs a lock and an addition: it happens
on the way of every call.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple

# Who goes through the door, as the report names them.
MODEL = "model"
GITLAB = "GitLab"
SIEM = "SIEM"
CHECKPOINTS = "checkpoints"

# A caller may name addresses; what comes beyond this many is counted together.
DESTINATIONS_MAX = 1_000
OTHERS = "(others)"


class Destination(NamedTuple):
    """A server and what for; `host` and `port` as they were checked, so never a whole URL."""

    host: str
    port: int
    purpose: str


@dataclass(kw_only=True, slots=True)
class Tally:
    """How often a destination was reached and refused; times are time.time(), 0 for never."""

    reached: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    refused: int = 0
    refused_at: float = 0.0
    reason: str = ""


def as_entry(host: str, port: int) -> str:
    """Return host and port as GATEWAY_EGRESS_ALLOW wants them: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_lock = threading.Lock()
_tallies: dict[Destination, Tally] = {}


def reached(host: str, port: int, purpose: str) -> None:
    """Note a connection that was made or used again."""
    now = time.time()
    with _lock:
        tally = _of(Destination(host, port, purpose))
        tally.reached += 1
        tally.first_at = tally.first_at or now
        tally.last_at = now


def refused(host: str, port: int, purpose: str, *, reason: str) -> None:
    """Note an address that was not dialed."""
    with _lock:
        tally = _of(Destination(host, port, purpose))
        tally.refused += 1
        tally.refused_at = time.time()
        tally.reason = reason


def take() -> dict[Destination, Tally]:
    """Return what was noted, and begin anew."""
    with _lock:
        taken = dict(_tallies)
        _tallies.clear()
    return taken


def put_back(tallies: dict[Destination, Tally]) -> None:
    """Add what could not be written down to what was noted since."""
    with _lock:
        for destination, older in tallies.items():
            tally = _of(destination)
            tally.reached += older.reached
            tally.first_at = older.first_at or tally.first_at
            tally.last_at = tally.last_at or older.last_at
            tally.refused += older.refused
            tally.reason = tally.reason or older.reason
            tally.refused_at = tally.refused_at or older.refused_at


def _start_over() -> None:
    """Leave to the parent what it noted, and its lock."""
    global _lock
    _lock = threading.Lock()
    _tallies.clear()


os.register_at_fork(after_in_child=_start_over)


def _of(destination: Destination) -> Tally:
    tally = _tallies.get(destination)
    if tally is None:
        if len(_tallies) >= DESTINATIONS_MAX:
            destination = Destination(OTHERS, 0, destination.purpose)
        tally = _tallies.setdefault(destination, Tally())
    return tally
