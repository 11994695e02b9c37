"""The arithmetic of the chain: what is hashed and tagged, to the byte. No database, no clock.

Each writer has a lane. Each of its commits appends one link to it, in the same transaction, and a
link holds one entry for each record that the commit opened or closed:

    entry   kind, subject, commitment to the facts, commitment to the content, tag
    link    hash(previous hash, lane, number, time, lost entries of the previous link, entries)

A commitment is a salted hash; the salt stands beside what it protects, so that erasing both leaves
the chain whole and the commitment worthless. A tag is a MAC under a key that exists for one link
only: the next key is made of it, and it is forgotten. Whoever breaks in later can sign what comes,
not what was. The first key of a lane is known to its writer and to the auditors.

Format, reasons and test vectors: docs/adr/0015.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import orjson

HASH_BYTES = 32
TAG_BYTES = 16
NO_CONTENT = bytes(HASH_BYTES)
LANE_SHIFT = 32

_BODY = struct.Struct(">c16s32s32s")
_ENTRY = struct.Struct(">c16s32s32s16s")
_HEAD = struct.Struct(">IIQHH")

_sha256 = hashlib.sha256
# RFC 2104: the key, padded to a block, is combined with these two bytes.
_BLOCK_BYTES = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class Kind(StrEnum):
    """What an entry says happened to its subject."""

    OPENED = "o"
    WRITTEN = "w"  # opened and closed at once: a refusal
    CLOSED = "c"  # by the worker that held it
    GIVEN_UP = "g"  # by another process: the client left, or a process died
    EVENT = "e"


class Entry(NamedTuple):
    """One entry as it stands in a link; `subject` is a record's or an event's id, in 32 digits."""

    kind: str
    subject: str
    facts: bytes
    content: bytes
    tag: bytes


def link_id(lane: int, number: int) -> int:
    """Return the id of a link: links sort by lane and then by number."""
    return (lane << LANE_SHIFT) | number


def lane_and_number(link: int) -> tuple[int, int]:
    """Return what `link_id` put together."""
    return link >> LANE_SHIFT, link & 0xFFFFFFFF


# Commitments


def plain(value: Any) -> Any:
    """Return a value as it is committed to; what a database gives back must come out the same.

    Numbers with a fraction are text: `repr` is one text for one number, everywhere.
    """
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime):
        utc = value if value.tzinfo is UTC else value.astimezone(UTC)
        return utc.isoformat(" ", "microseconds")[:26]
    if isinstance(value, UUID):
        return value.hex
    return value


def facts_text(values: Sequence[Any]) -> bytes:
    """Return the canonical text of plain values: a JSON array without spaces, UTF-8."""
    return orjson.dumps(values)


def commit_to_facts(salt: str, text: bytes) -> bytes:
    """Return the commitment to facts under a salt of 32 hexadecimal digits."""
    return _sha256(b"enclave facts 1\n" + salt.encode() + text).digest()


def commit_to_content(salt: str | None, body: str | None) -> bytes:
    """Return the commitment to a content as it is stored; none has a commitment of its own."""
    if body is None:
        return NO_CONTENT
    return _sha256(b"enclave content 1\n" + (salt or "").encode() + body.encode()).digest()


# Links


class Head(NamedTuple):
    """What a link says beside its entries. `lost`: entries of the link before that did not happen.

    A close is entered before the database says whether the record was still open.
    """

    lane: int
    number: int
    at: int
    lost: tuple[int, ...]
    size: int

    def packed(self) -> bytes:
        """Return its bytes."""
        head = _HEAD.pack(self.lane, self.number, self.at, self.size, len(self.lost))
        return head + pack_lost(self.lost)


def pack_entry(kind: str, subject: UUID, facts: bytes, content: bytes) -> bytes:
    """Return an entry's bytes without its tag."""
    return _BODY.pack(kind.encode(), subject.bytes, facts, content)


def unpack_entries(data: bytes) -> list[Entry]:
    """Return the entries of a link.

    Raises:
        struct.error: the data is no whole number of entries.
        UnicodeDecodeError: a kind is no letter.
    """
    return [
        Entry(kind.decode("ascii"), subject.hex(), facts, content, tag)
        for kind, subject, facts, content, tag in _ENTRY.iter_unpack(data)
    ]


def unpack_bodies(data: bytes) -> list[bytes]:
    """Return the entries of a link without their tags."""
    return [data[at : at + _BODY.size] for at in range(0, len(data), _ENTRY.size)]


def pack_lost(lost: Sequence[int]) -> bytes:
    """Return the numbers of lost entries, as they are hashed and stored."""
    return struct.pack(f">{len(lost)}H", *lost)


def unpack_lost(data: bytes) -> tuple[int, ...]:
    """Return what `pack_lost` packed.

    Raises:
        struct.error: the data is no whole number of numbers.
    """
    return tuple(number for (number,) in struct.iter_unpack(">H", data))


def tags(key: bytes, head: bytes, bodies: Iterable[bytes]) -> list[bytes]:
    """Return the MAC of each entry of a link at its place: HMAC-SHA-256, the first half.

    With the key's two blocks hashed once: `hmac.digest` takes three times as long for many.
    """
    block = key.ljust(_BLOCK_BYTES, b"\0")
    inner, outer = _sha256(block.translate(_INNER)), _sha256(block.translate(_OUTER))
    found = []
    for index, body in enumerate(bodies):
        message = inner.copy()
        message.update(head + index.to_bytes(2, "big") + body)
        mac = outer.copy()
        mac.update(message.digest())
        found.append(mac.digest()[:TAG_BYTES])
    return found


def link_hash(previous: bytes, head: bytes, entries: bytes) -> bytes:
    """Return the hash of a link."""
    return _sha256(b"enclave link 1\n" + previous + head + entries).digest()


# Lanes


def lane_statement(
    *,
    lane: int,
    process: str,
    started_at: str,
    columns: Mapping[str, Sequence[str]],
    auditor: str,
    ephemeral: str,
) -> str:
    """Return what a lane begins with; signed, so that only Enclave can begin one.

    `columns` names the facts of each kind of entry, in order: it stays true when tables change.
    `auditor` and `ephemeral` are X25519 public keys: with the private one of either, and only with
    it, the first key can be made.
    """
    return orjson.dumps(
        {
            "auditor": auditor,
            "columns": {str(kind): list(names) for kind, names in columns.items()},
            "enclave": "lane 1",
            "ephemeral": ephemeral,
            "lane": lane,
            "process": process,
            "started_at": started_at,
        },
        option=orjson.OPT_SORT_KEYS,
    ).decode()


def genesis(statement: str) -> bytes:
    """Return the hash before the first link."""
    return _sha256(b"enclave lane 1\n" + statement.encode()).digest()


def first_key(shared: bytes, statement: str) -> bytes:
    """Return the key of the first link, from the secret that writer and auditors share."""
    return hmac.digest(shared, b"enclave seed 1\n" + statement.encode(), "sha256")


def next_key(key: bytes) -> bytes:
    """Return the key of the next link; there is no way back."""
    return _sha256(b"enclave key 1\n" + key).digest()


# Checkpoints


def checkpoint_statement(
    *, number: int, at: str, previous: str, heads: Sequence[tuple[int, int, bytes]]
) -> str:
    """Return what a checkpoint says: each lane that grew, its count of links and its last hash."""
    return orjson.dumps(
        {
            "at": at,
            "enclave": "checkpoint 1",
            "heads": [[lane, count, digest.hex()] for lane, count, digest in heads],
            "number": number,
            "previous": previous,
        },
        option=orjson.OPT_SORT_KEYS,
    ).decode()


def checkpoint_digest(statement: str) -> str:
    """Return what the next checkpoint says of this one."""
    return _sha256(b"enclave checkpoint 1\n" + statement.encode()).hexdigest()
