"""The log with its chain as text, for a verifier that has neither our code nor our database.

JSON objects, one in each line, in this order: what this is, the events, the checkpoints, and
for each lane its beginning and then its links; last, records and events that no link vouches for.
An entry carries what the tables hold for it, as the text that was committed to: so every link can
be checked alone. The format stands in docs/adr/0016; `scripts/verify_audit_log.py` reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from django.utils import timezone

from gateway.audit.chain import anchors, formats, walk
from gateway.audit.chain.formats import Entry
from gateway.audit.chain.lanes import COLUMNS
from gateway.audit.chain.walk import Found, Read
from gateway.audit.models import Event, InferenceRecord, Lane


def lines(*, with_content: bool) -> Iterator[bytes]:
    """Yield the lines for the whole log; without content, nobody can check that."""
    with walk.snapshot():
        yield _line({"enclave": "proof 1", "at": formats.plain(timezone.now())})
        for event in Event.objects.order_by("id").iterator():
            yield _line({"event": _event(event)})
        for checkpoint in walk.checkpoints():
            yield _line({"checkpoint": anchors.said(checkpoint)})
        for lane in walk.lanes():
            yield from _lane(lane, with_content=with_content)
        yield from _loose()


def _lane(lane: Lane, *, with_content: bool) -> Iterator[bytes]:
    yield _line(
        {
            "lane": {
                "key": lane.signed_by,
                "number": lane.pk,
                "signature": lane.signature,
                "statement": lane.statement,
            }
        }
    )
    names = walk.columns(lane.statement) or COLUMNS
    for read in walk.read(walk.links(lane.pk), names):
        yield _line({"link": _link(read, with_content=with_content)})


def _link(read: Read, *, with_content: bool) -> dict[str, Any]:
    link = read.link
    return {
        "at": link.head.at,
        "entries": [
            _entry(entry, found, with_content=with_content)
            for entry, found in zip(link.entries or (), read.found, strict=True)
        ],
        "hash": link.hash.hex(),
        "is_damaged": link.entries is None,
        "lost": link.head.lost,
        "number": link.head.number,
    }


def _entry(entry: Entry, found: Found | None, *, with_content: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "content": entry.content.hex(),
        "facts": entry.facts.hex(),
        "kind": entry.kind,
        "subject": entry.subject,
        "tag": entry.tag.hex(),
    }
    if found is not None:
        told["found"] = {
            "facts": found.facts.decode(),
            "link": found.link,
            "salt": found.salt,
        }
        if with_content:
            told["found"] |= {"content": found.content, "content_salt": found.content_salt}
    return told


def _event(event: Event) -> dict[str, Any]:
    return {
        "detail": event.detail,
        "id": event.pk.hex,
        "kind": event.kind,
        "link": event.link,
        "record": event.record_id.hex if event.record_id else None,
    }


def _loose() -> Iterator[bytes]:
    """Yield what the walk along the lanes did not come by."""
    for row in walk.loose(InferenceRecord.objects.all()):
        yield _line({"loose": {"id": row.record, "what": row.what}})
    for event in walk.loose_events():
        yield _line({"loose": {"id": event.pk.hex, "what": "event"}})


def _line(said: dict[str, Any]) -> bytes:
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS) + b"\n"
