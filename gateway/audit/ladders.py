"""The ladders that led to decisions of policy, kept as they were.

A record names its ladder by the digest. Few ladders serve all calls until somebody changes a rule,
so each is written once, about a second after its first call, and no call waits for it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import orjson

from features.policy import Step
from gateway.audit.models import PolicyLadder

_unsaved: dict[str, str] = {}


def note(ladder: tuple[Step, ...]) -> str:
    """Return the digest of a ladder, which `save` will write; "" for one without rungs."""
    return _note(ladder) if ladder else ""


@lru_cache(maxsize=4096)
def _note(ladder: tuple[Step, ...]) -> str:
    steps = orjson.dumps([step._asdict() for step in ladder]).decode()
    digest = hashlib.sha256(steps.encode()).hexdigest()
    _unsaved[digest] = steps
    return digest


def save() -> None:
    """Write the ladders that were noted and are not written yet."""
    if not _unsaved:
        return
    rows = [PolicyLadder(digest=digest, steps=steps) for digest, steps in list(_unsaved.items())]
    PolicyLadder.objects.bulk_create(rows, ignore_conflicts=True)
    for row in rows:
        _unsaved.pop(row.digest, None)


def forget() -> None:
    """Take every ladder for a new one again: what was written is gone."""
    _note.cache_clear()
    _unsaved.clear()


def find(digest: str) -> tuple[Step, ...]:
    """Return the ladder with a digest; none if it was not kept."""
    row = PolicyLadder.objects.filter(digest=digest).first()
    return tuple(Step(**step) for step in orjson.loads(row.steps)) if row else ()
