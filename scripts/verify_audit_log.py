"""Verify Enclave's audit log apart from Enclave: one file, Python 3.11, no packages.

    python3 verify_audit_log.py PROOF --public-key KEY.pem [--checkpoints FILE] [--auditor-key FILE]

PROOF is what `manage.py audit proof` wrote, KEY.pem what `manage.py audit key` printed on the day
the gateway was set up, the first FILE holds the lines that were kept outside, and the auditors' key
is theirs. What is compared, and the format to the byte: docs/adr/0015 and 0016 of Enclave. Status:
0 no sign of tampering, 1 tampered with, 2 unusable, 3 nothing is covered by a checkpoint.

Ed25519 and X25519 are written here from RFC 8032 and RFC 7748, for verifying only: nothing below
handles a secret in constant time, or has to.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import struct
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

# Curve25519: the field, the order of the base point, Edwards' d, the square root of -1.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]

NOTHING = bytes(32)
OPENINGS, CLOSINGS = "ow", "cgw"


class Unusable(Exception):
    """The input is not what it should be; the message says how."""


# Curve25519


def add(a: Point, b: Point) -> Point:
    """Add two points in extended coordinates (RFC 8032, section 5.1.4)."""
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g = 2 * a[3] * b[3] * D % P
    h = 2 * a[2] * b[2] % P
    # Here e to h are the A to D of the document.
    x, y, z, t = f - e, h - g, h + g, f + e
    return x * y % P, z * t % P, y * z % P, x * t % P


def multiply(scalar: int, point: Point) -> Point:
    """Return a multiple of a point."""
    result: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def decode_point(data: bytes) -> Point | None:
    """Return the point that 32 bytes encode, if they do (RFC 8032, section 5.1.3)."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * ROOT % P
    if x * x % P != square or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = decode_point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def is_signature(key: bytes, message: bytes, signature: bytes) -> bool:
    """Test an Ed25519 signature (RFC 8032, section 5.1.7)."""
    if len(key) != 32 or len(signature) != 64 or BASE is None:
        return False
    public, r = decode_point(key), decode_point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if public is None or r is None or s >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + key + message).digest()
    left = multiply(s, BASE)
    right = add(r, multiply(int.from_bytes(digest, "little") % ORDER, public))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (
        left[1] * right[2] - right[1] * left[2]
    ) % P == 0


def x25519(private: bytes, public: bytes) -> bytes:
    """Return the shared secret (RFC 7748, section 5)."""
    scalar = int.from_bytes(private, "little") & ~7 & ((1 << 255) - 1) | (1 << 254)
    u = int.from_bytes(public, "little") & ((1 << 255) - 1)
    x2, z2, x3, z3, swap = 1, 0, u, 1, 0
    for bit in reversed(range(255)):
        now = scalar >> bit & 1
        if swap ^ now:
            x2, z2, x3, z3 = x3, z3, x2, z2
        swap = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, u * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


# Public key of an X25519 private one: its multiple of 9.
NINE = (9).to_bytes(32, "little")


def read_key(path: Path) -> bytes:
    """Return the 32 bytes of a PEM key: RFC 8410 puts them at the end of both kinds."""
    lines = path.read_text().strip().splitlines()
    if len(lines) < 3 or "KEY" not in lines[0]:
        raise Unusable(f"{path} holds no key in PEM format.")
    return base64.b64decode("".join(lines[1:-1]))[-32:]


# Hashes


def sha(domain: str, *parts: bytes) -> bytes:
    """Return a hash under a name that says what for."""
    return hashlib.sha256(f"enclave {domain} 1\n".encode() + b"".join(parts)).digest()


def checkpoint_in(line: str) -> dict[str, Any] | None:
    """Return the checkpoint in a line of a place outside; what syslog puts before it is skipped."""
    start = line.find('{"key":')
    try:
        said: dict[str, Any] = json.loads(line[start:]) if start >= 0 else {}
        said["says"] = json.loads(said["statement"])
        said["number"] = int(said["says"]["number"])
        return said
    except (ValueError, KeyError, TypeError):
        return None


# The log


class Verifier:
    """Reads a proof line by line; `signs` is what was found: (sign, record, place)."""

    def __init__(self, trusted: set[str], auditor: bytes | None, outside: list[Path]) -> None:
        self.signs: list[tuple[str, str, str]] = []
        self.seen: dict[str, int] = {}
        self.trusted, self.auditor, self.outside = trusted, auditor, outside
        # Checkpoints
        self.digests = {said["number"]: digest_of(said) for said in self.lines_outside()}
        self.told: dict[int, bytes] = {}
        self.is_outside, self.expected, self.below, self.newest_at = False, "", 0, ""
        self.heads: dict[int, dict[str, Any]] = {}
        # Events: what they excuse counts when their entry was seen.
        self.events: dict[str, dict[str, Any]] = {}
        self.confirmed: set[str] = set()
        self.excused: dict[str, list[tuple[str, str, str]]] = {}
        # The lane that is read
        self.lanes: set[int] = set()
        self.lane = self.number = 0
        self.previous: bytes | None = None
        self.key: bytes | None = None
        self.columns: list[str] = []
        self.pending: dict[str, Any] | None = None
        self.late: tuple[int, int] | None = None
        self.is_genuine = False

    def read(self, lines: Iterable[str]) -> None:
        """Read a whole proof."""
        remaining = iter(lines)
        if json.loads(next(remaining, "{}")).get("enclave") != "proof 1":
            raise Unusable("The first line is not that of a proof.")
        steps = {
            "event": self.read_event,
            "checkpoint": self.read_checkpoint,
            "lane": self.read_lane,
            "link": self.read_link,
            "loose": self.read_loose,
        }
        for line in remaining:
            ((what, said),) = json.loads(line).items()
            if what not in ("event", "checkpoint") and not self.lanes:
                self.end_checkpoints()
            steps[what](said)
        self.end_lane()
        for lane in sorted(set(self.heads) - self.lanes):
            self.found("lane_removed", place=f"lane {lane}")
        for event in set(self.excused) - self.confirmed:
            self.signs += self.excused[event]

    def found(self, sign: str, record: str = "", place: str = "") -> None:
        """Remember a sign of tampering."""
        self.signs.append((sign, record, place or f"link {self.lane}/{self.number}"))

    def count(self, what: str) -> None:
        """Count something that was seen."""
        self.seen[what] = self.seen.get(what, 0) + 1

    def is_signed(self, said: dict[str, Any]) -> bool:
        """Test whether a trusted key signed a statement."""
        return said["key"] in self.trusted and is_signature(
            bytes.fromhex(said["key"]),
            said["statement"].encode(),
            bytes.fromhex(said["signature"]),
        )

    # Checkpoints, from the newest back: each vouches for the one before

    def lines_outside(self) -> Iterator[dict[str, Any]]:
        for path in self.outside:
            with path.open(encoding="utf-8", errors="replace") as lines:
                yield from filter(None, map(checkpoint_in, lines))

    def read_checkpoint(self, said: dict[str, Any]) -> None:
        says = said["says"] = json.loads(said["statement"])
        number, digest = says["number"], digest_of(said)
        is_gap = bool(self.below) and number != self.below - 1
        if is_gap:
            self.miss_checkpoints(number + 1, self.below - 1)
        self.below = number
        if not self.expected or digest.hex() != self.expected:
            if says["enclave"] != "checkpoint 1" or not self.is_signed(said):
                self.found("checkpoint_forged", place=f"checkpoint {number}")
                self.expected = ""
                return
            if self.expected and not is_gap:
                self.miss_checkpoints(number, number)
        self.newest_at = self.newest_at or says["at"]
        self.told[number] = digest
        self.is_outside = self.is_outside or self.digests.get(number) == digest
        self.cover(says)
        self.expected = says["previous"]

    def miss_checkpoints(self, first: int, last: int) -> None:
        which = f"checkpoints {first} to {last}" if first < last else f"checkpoint {first}"
        self.found("checkpoint_removed", place=which)

    def end_checkpoints(self) -> None:
        """Take what only the outside has; the database was rolled back, or worse."""
        if self.below > 1:
            self.miss_checkpoints(1, self.below - 1)
        self.is_outside = True
        for said in self.lines_outside():
            if self.told.get(said["number"]) == digest_of(said):
                continue
            if not self.is_signed(said):
                self.found("checkpoint_forged", place=f"checkpoint {said['number']}")
                continue
            self.found("checkpoint_removed", place=f"checkpoint {said['number']}")
            self.cover(said["says"])

    def cover(self, says: dict[str, Any]) -> None:
        for lane, count, digest in says["heads"]:
            head = self.heads.setdefault(lane, {"anchored": -1, "signed": -1, "hashes": {}})
            for level in ("signed", "anchored") if self.is_outside else ("signed",):
                if count > head[level]:
                    head[level] = count
                    head["hashes"][count] = digest

    # Events

    def read_event(self, said: dict[str, Any]) -> None:
        detail = json.loads(said["detail"])
        said["below"], said["kept"] = detail.get("below", ""), set(detail.get("kept", ()))
        self.events[said["id"]] = said

    def excuse(self, kinds: tuple[str, ...], entry: dict[str, Any], sign: str) -> None:
        """Find the event that says why something is gone; without one, that is a sign."""
        record = entry["subject"]
        place = f"link {self.lane}/{self.number}"
        for event in self.events.values():
            is_meant = event["record"] == record or (
                record < event["below"] and record not in event["kept"]
            )
            if event["kind"] in kinds and is_meant:
                self.count("gone")
                self.excused.setdefault(event["id"], []).append((sign, record, place))
                return
        self.found(sign, record)

    # Lanes

    def read_lane(self, said: dict[str, Any]) -> None:
        self.end_lane()
        self.count("lanes")
        self.lane, self.number, self.late = said["number"], 0, None
        self.lanes.add(self.lane)
        statement = said["statement"]
        try:
            says = json.loads(statement)
            self.columns = says["columns"]["e"]
            self.is_genuine = self.is_signed(said) and says["lane"] == self.lane
            self.key = self.first_key(says, statement)
        except (ValueError, KeyError, TypeError):
            self.is_genuine, self.key = False, None
        if not self.is_genuine:
            self.found("lane_forged", place=f"lane {self.lane}")
        self.previous = sha("lane", statement.encode())
        self.check_head()

    def first_key(self, says: dict[str, Any], statement: str) -> bytes | None:
        if self.auditor is None or says["auditor"] != x25519(self.auditor, NINE).hex():
            return None
        shared = x25519(self.auditor, bytes.fromhex(says["ephemeral"]))
        return hmac.digest(shared, b"enclave seed 1\n" + statement.encode(), "sha256")

    def read_link(self, said: dict[str, Any]) -> None:
        """Check the link before: this one says which of its entries did not happen."""
        if self.pending is not None:
            self.check_link(self.pending, said)
        self.pending = said

    def end_lane(self) -> None:
        """Check the last link, and what should have come after it."""
        if self.pending is not None:
            self.check_link(self.pending, None)
            self.pending = None
        signed = self.heads.get(self.lane, {}).get("signed", -1)
        if self.lane and self.number < signed:
            self.miss_links(self.number + 1)
        if self.late is not None and self.late[1] + 120_000_000 < microseconds(self.newest_at):
            self.found("overdue", place=f"link {self.lane}/{self.late[0]}")

    def miss_links(self, first: int) -> None:
        self.found("links_removed", place=f"link {self.lane}/{first}")

    def check_head(self) -> None:
        said = self.heads.get(self.lane, {}).get("hashes", {}).get(self.number)
        if said is not None and self.previous is not None and self.previous.hex() != said:
            self.found("rewritten")

    def check_link(self, link: dict[str, Any], following: dict[str, Any] | None) -> None:
        """Check one link's place, hash and entries."""
        gap = link["number"] - self.number - 1
        if gap:
            self.miss_links(self.number + 1)
            self.previous = None
            if self.key is not None:
                self.key = later_key(self.key, gap) if gap < 5_000_000 else None
        self.number = link["number"]
        self.count("links")
        head, bodies = self.packed(link)
        if self.previous is not None:
            tagged = b"".join(
                body + bytes.fromhex(entry["tag"])
                for body, entry in zip(bodies, link["entries"], strict=True)
            )
            if sha("link", self.previous, head, tagged).hex() != link["hash"]:
                self.found("link_changed")
        self.previous = bytes.fromhex(link["hash"])
        self.check_head()
        covered = self.heads.get(self.lane, {"anchored": -1, "signed": -1})
        if self.number > covered["signed"] and self.late is None:
            self.late = (self.number, link["at"])
        subjects = {entry["subject"] for entry in link["entries"]}
        if link["is_damaged"] or len(subjects) < len(link["entries"]):
            self.found("link_changed")
            return
        tags = self.tags(self.key, head, bodies)
        for index, entry in enumerate(link["entries"]):
            if tags is not None and tags[index] != entry["tag"]:
                is_ours = entry.get("found", {}).get("link") == self.lane << 32 | self.number
                self.found("entry_forged", entry["subject"] if is_ours else "")
            else:
                self.check_entry(entry, index, following, covered)
        if self.key is not None:
            self.key = later_key(self.key, 1)

    def packed(self, link: dict[str, Any]) -> tuple[bytes, list[bytes]]:
        """Return the bytes of a link's head, and of its entries without their tags."""
        lost, entries = link["lost"], link["entries"]
        counts = len(entries), len(lost)
        head = struct.pack(">IIQHH", self.lane, link["number"], link["at"], *counts)
        return head + struct.pack(f">{len(lost)}H", *lost), [
            entry["kind"].encode()
            + bytes.fromhex(entry["subject"] + entry["facts"] + entry["content"])
            for entry in entries
        ]

    def tags(self, key: bytes | None, head: bytes, bodies: list[bytes]) -> list[str] | None:
        if key is None:
            return None
        return [
            hmac.digest(key, head + struct.pack(">H", index) + body, "sha256")[:16].hex()
            for index, body in enumerate(bodies)
        ]

    def lost(self, following: dict[str, Any] | None) -> list[int] | None:
        """Return which entries did not happen; None if nobody said so, or it was forged."""
        if following is None or following["number"] != self.number + 1:
            return None
        if self.key is not None:
            tags = self.tags(later_key(self.key, 1), *self.packed(following))
            if tags != [entry["tag"] for entry in following["entries"]]:
                return None
        lost: list[int] = following["lost"]
        return lost

    # Entries

    def check_entry(
        self,
        entry: dict[str, Any],
        index: int,
        following: dict[str, Any] | None,
        covered: dict[str, Any],
    ) -> None:
        """Compare an entry with what the tables held for it."""
        kind, subject, held = entry["kind"], entry["subject"], entry.get("found")
        if held is None:
            if kind == "e":
                self.found("event_removed", place=f"event {subject}")
            else:
                self.excuse(("purged",), entry, "record_removed")
        elif held["link"] != self.lane << 32 | self.number:
            lost = self.lost(following)
            if kind not in CLOSINGS:
                self.found("entry_repeated")
            elif held["link"] is None or (lost is not None and index not in lost):
                self.found("outcome_removed", subject)
        elif kind == "e":
            self.check_event(entry, held)
        else:
            self.check_facts(entry, held)
            if kind in OPENINGS:
                self.count("records")
            if kind in CLOSINGS:
                self.count("closed")
                self.count(level_of(self.number, covered))

    def check_facts(self, entry: dict[str, Any], held: dict[str, Any]) -> None:
        kind, subject = entry["kind"], entry["subject"]
        if not self.is_genuine and kind in OPENINGS:
            self.found("record_inserted", subject)
        if commitment("facts", held["salt"], held["facts"]) != entry["facts"]:
            self.found("record_changed" if kind in OPENINGS else "outcome_changed", subject)
        if "content" not in held:
            return  # the proof leaves contents out
        if commitment("content", held["content_salt"], held["content"]) == entry["content"]:
            return
        if held["content"] is None:
            self.excuse(("erased", "expired"), entry, "content_removed")
        elif entry["content"] == NOTHING.hex():
            self.found("content_added", subject)
        else:
            self.found("content_changed", subject)

    def check_event(self, entry: dict[str, Any], held: dict[str, Any]) -> None:
        if commitment("facts", held["salt"], held["facts"]) != entry["facts"]:
            self.found("event_changed", place=f"event {entry['subject']}")
            return
        facts = dict(zip(self.columns, json.loads(held["facts"]), strict=True))
        told = self.events.get(entry["subject"], {})
        names = {"kind": "kind", "detail": "detail", "record_id": "record"}
        if all(facts[column] == told.get(name) for column, name in names.items()):
            self.confirmed.add(entry["subject"])

    def read_loose(self, said: dict[str, Any]) -> None:
        """Take what the gateway found in the tables and not in the chain."""
        self.end_lane()
        self.lane, self.late = 0, None
        if said["what"] == "event":
            self.found("event_inserted", place=f"event {said['id']}")
            return
        sign = {"answer": "content_added"}.get(said["what"], f"{said['what']}_inserted")
        self.found(sign, said["id"], place="no link")


def digest_of(said: dict[str, Any]) -> bytes:
    """Return what the next checkpoint says of this one."""
    return sha("checkpoint", said["statement"].encode())


def commitment(domain: str, salt: str | None, text: str | None) -> str:
    """Return the commitment to a text under its salt, in hexadecimal digits."""
    if text is None:
        return NOTHING.hex()
    return sha(domain, (salt or "").encode(), text.encode()).hex()


def later_key(key: bytes, steps: int) -> bytes:
    """Return the key that comes so many links later."""
    for _ in range(steps):
        key = sha("key", key)
    return key


def level_of(number: int, covered: dict[str, Any]) -> str:
    """Return what covers a link."""
    if number <= covered["anchored"]:
        return "anchored"
    return "signed" if number <= covered["signed"] else "pending"


def microseconds(text: str) -> int:
    """Return a time of the log since 1970; 0 for none."""
    if not text:
        return 0
    since = datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1)


def main(arguments: list[str] | None = None) -> int:
    """Verify, print, and return the status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("proof", type=Path)
    parser.add_argument("--public-key", type=Path, action="append", required=True)
    parser.add_argument("--checkpoints", type=Path, action="append", default=[])
    parser.add_argument("--auditor-key", type=Path)
    options = parser.parse_args(arguments)
    try:
        verifier = Verifier(
            {read_key(path).hex() for path in options.public_key},
            read_key(options.auditor_key) if options.auditor_key else None,
            options.checkpoints,
        )
        with options.proof.open(encoding="utf-8") as lines:
            verifier.read(lines)
    except Exception as reason:  # whatever it is, it is no proof
        print(f"This cannot be verified: {reason!r}", file=sys.stderr)
        return 2
    return tell(verifier)


def tell(verifier: Verifier) -> int:
    """Print what was seen and return the status."""
    seen = verifier.seen
    for what in ("lanes", "links", "records", "closed", "anchored", "signed", "gone"):
        print(f"{seen.get(what, 0):>12,} {what}")
    print(f"{seen.get('pending', 0):>12,} not yet anchored")
    if verifier.auditor is None:
        print("Without the auditors' key, what was computed anew shows only at checkpoints.")
    for sign, record, place in verifier.signs[:100]:
        print(f"- {sign}: {record or 'no record'} ({place})")
    if verifier.signs:
        sign, record, place = verifier.signs[0]
        print(f"TAMPERED WITH, {len(verifier.signs):,} signs. The first: {sign} {record} ({place})")
        return 1
    print("No sign of tampering.")
    return 3 if seen.get("closed") and not seen.get("anchored", 0) + seen.get("signed", 0) else 0


if __name__ == "__main__":
    sys.exit(main())
