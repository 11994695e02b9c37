"""What a page may say of one record: whether it is as it was written, and what vouches for that.

A look at the record and its own links, in a few queries. It does not walk the lanes: that is
`manage.py audit verify`, and only that sees what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import orjson
from django.conf import settings

from gateway.audit.chain import formats, walk
from gateway.audit.chain.formats import Kind
from gateway.audit.chain.verify import Lawful, Sign, compare, moment
from gateway.audit.models import (
    OPEN_STATES,
    Anchor,
    Checkpoint,
    InferenceRecord,
    Lane,
    Link,
)

# A checkpoint that covers a link is among the first that were written after it.
CHECKPOINTS_LOOKED_AT = 5


class Cover(StrEnum):
    """What vouches for a record, from the least to the most."""

    NOT_YET = "not yet anchored"
    SIGNED = "covered by a signed checkpoint"
    ANCHORED = "covered by a signed checkpoint that is kept outside"


@dataclass(frozen=True, kw_only=True, slots=True)
class Integrity:
    """What is known of one record. `signs` are of tampering; that there are none is no proof.

    `checkpoint` is the number of the first that covers it, 0 for none yet.
    """

    cover: Cover
    checkpoint: int
    signs: tuple[Sign, ...]


def integrity_of(record_id: UUID) -> Integrity:
    """Return what the chain says of a record.

    Raises:
        InferenceRecord.DoesNotExist: there is no such record.
    """
    record = InferenceRecord.objects.only("state", "opened_link", "closed_link").get(pk=record_id)
    signs = _signs_at(record.opened_link, record_id, walk.OPENINGS) or [Sign.RECORD_INSERTED]
    newest = record.opened_link
    if record.state not in OPEN_STATES:
        signs += _signs_at(record.closed_link, record_id, walk.CLOSINGS) or [Sign.OUTCOME_INSERTED]
        newest = record.closed_link
    number = _checkpoint_of(newest)
    cover = Cover.SIGNED if number else Cover.NOT_YET
    places = Anchor.objects.filter(address__in=settings.GATEWAY_AUDIT_ANCHORS)
    if number and places.filter(number__gte=number).exists():
        cover = Cover.ANCHORED
    seen = dict.fromkeys(sign for sign in signs if sign is not None)
    return Integrity(cover=cover, checkpoint=number, signs=tuple(seen))


def _signs_at(link: int | None, record_id: UUID, kinds: tuple[Kind, ...]) -> list[Sign | None]:
    """Return what the record's entry in a link shows, None for nothing; empty without an entry."""
    stored = walk.links_of([link]).get(link)
    if stored is None or stored.entries is None:
        return []
    statement = Lane.objects.filter(pk=stored.head.lane).values_list("statement", flat=True).first()
    names = walk.columns(statement or "")
    for entry in stored.entries:
        if names is not None and entry.subject == record_id.hex and entry.kind in kinds:
            found = walk.fetch(entry.kind, [entry.subject], names[entry.kind])[entry.subject]
            signs = compare(entry, found)
            return [None, *(sign for sign in signs if not _is_lawful(sign, record_id))]
    return []


def _is_lawful(sign: Sign, record_id: UUID) -> bool:
    return sign is Sign.CONTENT_REMOVED and Lawful(lambda _: None).is_erased(record_id.hex)


def _checkpoint_of(link: int | None) -> int:
    """Return the number of the first checkpoint that covers a link, 0 for none."""
    if link is None:
        return 0
    at = Link.objects.filter(pk=link).values_list("at", flat=True).first()
    lane, number = formats.lane_and_number(link)
    later = Checkpoint.objects.filter(at__gte=moment(at or 0)).order_by("number")
    for checkpoint in later[:CHECKPOINTS_LOOKED_AT]:
        heads = orjson.loads(checkpoint.statement)["heads"]
        if any(head_lane == lane and count >= number for head_lane, count, _ in heads):
            return checkpoint.number
    return 0
