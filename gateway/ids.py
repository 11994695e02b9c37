"""Ids that any process can make alone and that sort by time."""

from __future__ import annotations

import os
import time
from datetime import datetime
from uuid import UUID


def new_id() -> UUID:
    """Return a UUID of version 7: milliseconds, then 74 random bits.

    Source: RFC 9562, section 5.7.
    """
    millis = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    high = (millis << 16) | 0x7000 | (random >> 68)
    low = (0b10 << 62) | (random & ((1 << 62) - 1))
    return UUID(int=(high << 64) | low)


def first_id(moment: datetime) -> UUID:
    """Return an id that sorts before every id made from this moment on, and after all others."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
