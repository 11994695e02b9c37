"""Verifying the log against its chain: what was changed, removed or put in, and how sure we are.

Three passes, each in flat memory: the checkpoints, from the newest back; the lanes, each link with
the records it vouches for; and a count, which shows records that no link vouches for.

With the auditors' key every entry's tag is checked, and a finding names the record. Without it, a
chain that was computed anew shows only where it contradicts a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from django.db.models import Q, QuerySet

from gateway.audit.chain import formats, keys, walk
from gateway.audit.chain.formats import Entry, Kind
from gateway.audit.chain.lanes import COLUMNS
from gateway.audit.chain.walk import Found, Read, Stored
from gateway.audit.models import (
    OPEN_STATES,
    Checkpoint,
    Event,
    EventKind,
    InferenceRecord,
    Lane,
    Link,
)

FINDINGS_MAX = 1000
# A gap that no lane can have: its keys are not walked through.
GAP_MAX = 5_000_000
# A checkpoint that was written so much later than a link must cover it.
OVERDUE_S = 120.0
# A lane that began after the period may hold a record of its last moments.
SLACK = timedelta(hours=1)
PAGE = 500


class Sign(StrEnum):
    """A sign of tampering, and what it says."""

    RECORD_CHANGED = "the record is not as it was opened"
    OUTCOME_CHANGED = "the outcome is not as it was written"
    OUTCOME_REMOVED = "an outcome was written, and the record does not have it"
    OUTCOME_INSERTED = "no link of the chain vouches for this outcome"
    CONTENT_CHANGED = "the text is not as it was written"
    CONTENT_REMOVED = "the text is gone, and no event says why"
    CONTENT_ADDED = "there was no text when this was written"
    RECORD_REMOVED = "the record is gone, and no event says why"
    RECORD_INSERTED = "no link of the chain vouches for this record"
    ENTRY_FORGED = "the entry was not made by the writer of the lane"
    ENTRY_REPEATED = "the entry stands for a record whose own entry is elsewhere"
    LINK_CHANGED = "the link does not follow from the one before"
    LINKS_REMOVED = "links are missing"
    REWRITTEN = "the links are not those that a checkpoint signed"
    OVERDUE = "the link is older than the newest checkpoint, and none covers it"
    LANE_FORGED = "the lane was not begun by Enclave"
    LANE_REMOVED = "a checkpoint names a lane that is not there"
    CHECKPOINT_FORGED = "the checkpoint was not signed by Enclave"
    CHECKPOINT_REMOVED = "a checkpoint is missing or was replaced"
    EVENT_CHANGED = "the event is not as it was written"
    EVENT_REMOVED = "an event was written, and is gone"
    EVENT_INSERTED = "no link of the chain vouches for this event"


# What it is a sign of that the facts of an entry differ; else of a changed outcome.
_CHANGED: dict[str, Sign] = {
    Kind.OPENED: Sign.RECORD_CHANGED,
    Kind.WRITTEN: Sign.RECORD_CHANGED,
    Kind.EVENT: Sign.EVENT_CHANGED,
}
# What `walk.loose` calls a row, and what it is a sign of.
_LOOSE = {
    "record": Sign.RECORD_INSERTED,
    "outcome": Sign.OUTCOME_INSERTED,
    "answer": Sign.CONTENT_ADDED,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One sign and its place: a record, and the link of its entry, as far as there are any.

    `at`: when that was written, in microseconds since 1970.
    """

    sign: Sign
    at: int
    record: str = ""
    lane: int = 0
    number: int = 0
    detail: str = ""

    def __str__(self) -> str:
        what = f"record {self.record}" if self.record else ""
        where = f"link {self.lane}/{self.number}" if self.number else ""
        where = where or (f"lane {self.lane}" if self.lane else "")
        when = f"{moment(self.at):%Y-%m-%d %H:%M:%S} UTC" if self.at else ""
        place = ", ".join(filter(None, (what, where, self.detail, when)))
        return f"{self.sign.name.lower()}: {self.sign.value} ({place})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Period:
    """What is compared: records opened from `start` to before `end`; None for no limit."""

    start: datetime | None = None
    end: datetime | None = None

    def records(self) -> QuerySet[InferenceRecord]:
        """Return the records in it."""
        rows = InferenceRecord.objects.all()
        if self.start is not None:
            rows = rows.filter(opened_at__gte=self.start)
        if self.end is not None:
            rows = rows.filter(opened_at__lt=self.end)
        return rows

    def is_whole(self) -> bool:
        """Test whether there is no limit."""
        return self.start is None and self.end is None


@dataclass(kw_only=True, slots=True)
class Report:
    """What was seen. Closed records are `anchored`, `signed` or `pending`, never just "ok"."""

    lanes: int = 0
    links: int = 0
    records: int = 0
    closed: int = 0
    anchored: int = 0
    signed: int = 0
    pending: int = 0
    erased: int = 0
    purged: int = 0
    newest_checkpoint: int = 0
    newest_outside: int = 0
    unreadable_lines: int = 0
    are_tags_checked: bool = False
    found: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def open(self) -> int:
        return self.records - self.closed

    def first(self) -> Finding | None:
        """Return the finding that was written first, of those that are kept."""
        return min(self.findings, key=lambda finding: finding.at, default=None)

    # Mutators

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it unless there are too many."""
        self.found += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)

    def close(self, number: int, covered: _Covered) -> None:
        """Count a closed record by what covers the link that closed it."""
        self.closed += 1
        if number <= covered.anchored:
            self.anchored += 1
        elif number <= covered.signed:
            self.signed += 1
        else:
            self.pending += 1


@dataclass(slots=True)
class _Covered:
    """What checkpoints say of a lane: how many links, and the hash at those places."""

    anchored: int = -1
    signed: int = -1
    hashes: dict[int, str] = field(default_factory=dict)


def moment(at: int) -> datetime:
    """Return microseconds since 1970 as a time."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)


def micros(at: str) -> int:
    """Return a time as it is committed to in microseconds since 1970; 0 if it is none."""
    try:
        since = datetime.fromisoformat(at).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    except ValueError:
        return 0
    return since // timedelta(microseconds=1)


def verify(
    *,
    trusted: set[str],
    auditor: X25519PrivateKey | None = None,
    outside: Iterable[str] = (),
    period: Period | None = None,
) -> Report:
    """Return what comparing the log with its chain shows.

    `trusted` are the public keys that may have signed, `outside` the lines of the places outside.
    """
    with walk.snapshot():
        verifier = _Verifier(trusted, auditor, period or Period())
        verifier.read_outside(outside)
        verifier.read_checkpoints()
        for lane in walk.lanes():
            verifier.read_lane(lane)
        verifier.miss_lanes()
        verifier.count_records()
        verifier.count_events()
    return verifier.report


class _Verifier:
    def __init__(self, trusted: set[str], auditor: X25519PrivateKey | None, period: Period) -> None:
        self.report = Report(are_tags_checked=auditor is not None)
        self._trusted = trusted
        self._auditor = auditor
        self._period = period
        self._covered: dict[int, _Covered] = {}
        self._newest_at = ""
        self._events = 0
        self._lawful = Lawful(self._first_key)

    # Checkpoints

    def read_outside(self, lines: Iterable[str]) -> None:
        """Compare what is outside with the database; what only the outside has counts too."""
        remaining = iter(lines)
        while page := list(islice(remaining, PAGE)):
            parsed = [_parse_line(line) for line in page]
            self.report.unreadable_lines += sum(
                bool(line.strip()) and one is None for line, one in zip(page, parsed, strict=True)
            )
            known = {row.number: row for row in _numbered(parsed)}
            for one in parsed:
                if one is not None:
                    self._compare_outside(one, known.get(one.number))

    def _compare_outside(self, one: Checkpoint, stored: Checkpoint | None) -> None:
        if stored is None or stored.statement != one.statement:
            if not self._is_signed(one):
                self._add(
                    Sign.CHECKPOINT_FORGED, detail=f"checkpoint {one.number}, in the copy outside"
                )
                return
            self._add(
                Sign.CHECKPOINT_REMOVED, detail=f"checkpoint {one.number}, kept outside", of=one
            )
            self._cover(one, is_outside=True)
        self.report.newest_outside = max(self.report.newest_outside, one.number)

    def read_checkpoints(self) -> None:
        """Check the database's own, from the newest back: each vouches for the one before."""
        expected, below = "", 0
        for row in walk.checkpoints():
            said = _said(row.statement)
            is_gap = bool(below) and row.number != below - 1
            if is_gap:
                self._miss_checkpoints(row.number + 1, below - 1, of=row)
            below = row.number
            if not expected or formats.checkpoint_digest(row.statement) != expected:
                if not self._is_signed(row):
                    self._add(Sign.CHECKPOINT_FORGED, detail=f"checkpoint {row.number}", of=row)
                    expected = ""
                    continue
                if expected and not is_gap:
                    self._miss_checkpoints(row.number, row.number, of=row)
            if not self.report.newest_checkpoint:
                self.report.newest_checkpoint = row.number
                self._newest_at = str(said.get("at", ""))
            self._cover(row, is_outside=row.number <= self.report.newest_outside)
            expected = str(said.get("previous", ""))
        if below > 1:
            self._miss_checkpoints(1, below - 1)

    def _miss_checkpoints(self, first: int, last: int, of: Checkpoint | None = None) -> None:
        which = f"checkpoints {first} to {last}" if first < last else f"checkpoint {first}"
        self._add(Sign.CHECKPOINT_REMOVED, detail=which, of=of)

    def _is_signed(self, row: Checkpoint) -> bool:
        said = _said(row.statement)
        is_one = said.get("enclave") == "checkpoint 1" and said.get("number") == row.number
        return is_one and keys.is_signed(
            row.statement, row.signature, signed_by=row.signed_by, trusted=self._trusted
        )

    def _cover(self, row: Checkpoint, *, is_outside: bool) -> None:
        for lane, count, digest in _said(row.statement)["heads"]:
            covered = self._covered.setdefault(lane, _Covered())
            if count > covered.signed:
                covered.signed = count
                covered.hashes[count] = digest
            if is_outside and count > covered.anchored:
                covered.anchored = count
                covered.hashes[count] = digest

    # Lanes

    def miss_lanes(self) -> None:
        """Name the lanes that checkpoints know and the database does not."""
        there = set(Lane.objects.values_list("id", flat=True))
        for lane, covered in sorted(self._covered.items()):
            if lane not in there:
                self._add(Sign.LANE_REMOVED, lane=lane, detail=f"{covered.signed} links")

    def read_lane(self, lane: Lane) -> None:
        """Check a lane's links and all that they vouch for."""
        if not self._is_in_period(lane):
            return
        self.report.lanes += 1
        names = walk.columns(lane.statement)
        is_genuine = names is not None and keys.is_signed(
            lane.statement, lane.signature, signed_by=lane.signed_by, trusted=self._trusted
        )
        if not is_genuine or _said(lane.statement).get("lane") != lane.pk:
            self._add(Sign.LANE_FORGED, lane=lane.pk, at=_began_at(lane))
            is_genuine = False
        covered = self._covered.get(lane.pk, _Covered())
        checks = _LaneChecks(self, lane, covered, self._first_key(lane), is_genuine=is_genuine)
        for read, following in _with_next(walk.read(walk.links(lane.pk), names or COLUMNS)):
            checks.check(read, following)
        checks.end(self._newest_at)

    def _first_key(self, lane: Lane) -> bytes | None:
        said = _said(lane.statement)
        if self._auditor is None or said.get("auditor") != keys.public_text(self._auditor):
            return None
        try:
            secret = keys.open_secret(self._auditor, str(said.get("ephemeral")))
        except ValueError:
            return None
        return formats.first_key(secret, lane.statement)

    def _is_in_period(self, lane: Lane) -> bool:
        if self._period.is_whole():
            return True
        began_at = moment(_began_at(lane))
        first, end = formats.link_id(lane.pk, 0), formats.link_id(lane.pk + 1, 0)
        newest = Link.objects.filter(pk__gt=first, pk__lt=end).order_by("-pk").first()
        ended_at = moment(newest.at) if newest is not None else began_at
        return (self._period.start is None or ended_at >= self._period.start) and (
            self._period.end is None or began_at < self._period.end + SLACK
        )

    # What a link vouches for

    def check_event(self) -> None:
        """Count an event that points to its entry."""
        self._events += 1

    def is_lawful(self, entry: Entry, *, is_record: bool) -> bool:
        """Test whether an event says why a record or a content is gone; count it."""
        if is_record:
            is_lawful = self._lawful.is_purged(entry.subject)
            self.report.purged += is_lawful and entry.kind in walk.OPENINGS
        else:
            is_lawful = self._lawful.is_erased(entry.subject)
            self.report.erased += is_lawful
        return is_lawful

    # Counts

    def count_records(self) -> None:
        """Find the records and outcomes that no entry stands for, if there are any."""
        rows = self._period.records()
        is_closed = ~Q(state__in=OPEN_STATES) | Q(closed_link__isnull=False)
        counted = (rows.count(), rows.filter(is_closed).count(), walk.answers_of_open(rows).count())
        if self._period.is_whole() and counted == (self.report.records, self.report.closed, 0):
            return
        for loose in walk.loose(rows):
            at = micros(formats.plain(loose.opened_at))
            self._add(_LOOSE[loose.what], record=loose.record, at=at)

    def count_events(self) -> None:
        """Find the events that no entry stands for, if there are any."""
        if not self._period.is_whole() or Event.objects.count() == self._events:
            return
        for event in walk.loose_events():
            at = micros(formats.plain(event.at))
            self._add(Sign.EVENT_INSERTED, at=at, detail=f"event {event.pk.hex}")

    def _add(
        self,
        sign: Sign,
        *,
        at: int = 0,
        record: str = "",
        lane: int = 0,
        detail: str = "",
        of: Checkpoint | None = None,
    ) -> None:
        if of is not None:
            at = micros(str(_said(of.statement).get("at", "")))
        self.report.add(Finding(sign=sign, at=at, record=record, lane=lane, detail=detail))


class _LaneChecks:
    """What is checked along one lane, link by link."""

    def __init__(
        self,
        verifier: _Verifier,
        lane: Lane,
        covered: _Covered,
        key: bytes | None,
        *,
        is_genuine: bool,
    ) -> None:
        self._verifier = verifier
        self._report = verifier.report
        self._lane = lane
        self._covered = covered
        self._key = key
        self._is_genuine = is_genuine
        self._number = 0
        self._previous: bytes | None = formats.genesis(lane.statement)
        self._at = _began_at(lane)
        self._late: tuple[int, int] | None = None
        self._check_head(self._previous)

    def check(self, read: Read, following: Read | None) -> None:
        """Check one link; the next one says which of its entries did not happen."""
        link = read.link
        self._step_to(link)
        self._at = link.head.at
        self._check_hash(link)
        self._report.links += 1
        if link.head.number > self._covered.signed and self._late is None:
            self._late = (link.head.number, link.head.at)
        subjects = {entry.subject for entry in link.entries or ()}
        if link.entries is None or len(subjects) < len(link.entries):
            self._add(Sign.LINK_CHANGED, detail="its entries are damaged")
            return
        here, is_tagged = formats.link_id(self._lane.pk, self._number), _are_tagged(link, self._key)
        for index, (entry, found) in enumerate(zip(link.entries, read.found, strict=True)):
            is_ours = found is not None and found.link == here
            if not is_tagged[index]:
                self._add(Sign.ENTRY_FORGED, record=entry.subject if is_ours else "")
            elif found is None:
                self._check_missing(entry)
            elif not is_ours:
                self._check_elsewhere(entry, found, index, self._lost(following))
            else:
                self._check_found(entry, found)
        if self._key is not None:
            self._key = formats.next_key(self._key)

    def end(self, newest_at: str) -> None:
        """Check what should have come."""
        if self._number < self._covered.signed:
            self._miss(self._number + 1, self._covered.signed)
        if self._late is not None:
            number, at = self._late
            if at + OVERDUE_S * 1_000_000 < micros(newest_at):
                self._number, self._at = number, at
                self._add(Sign.OVERDUE)

    def _step_to(self, link: Stored) -> None:
        """Go on to a link; name those that are missing before it."""
        gap = link.head.number - self._number - 1
        if gap:
            self._miss(self._number + 1, link.head.number - 1)
            self._previous = None
            for _ in range(gap if gap < GAP_MAX and self._key is not None else 0):
                self._key = formats.next_key(self._key or b"")
            if gap >= GAP_MAX:
                self._key = None
        self._number = link.head.number

    def _miss(self, first: int, last: int) -> None:
        self._number = first
        self._add(Sign.LINKS_REMOVED, detail=f"{first} to {last}" if first < last else "")

    def _check_hash(self, link: Stored) -> None:
        if self._previous is not None:
            digest = formats.link_hash(self._previous, link.packed, link.packed_entries)
            if digest != link.hash:
                self._add(Sign.LINK_CHANGED)
        self._previous = link.hash
        self._check_head(link.hash)

    def _check_head(self, digest: bytes | None) -> None:
        said = self._covered.hashes.get(self._number)
        if said is not None and digest is not None and digest.hex() != said:
            self._add(Sign.REWRITTEN, detail=_stretch(self._lane.pk, self._number))

    def _check_missing(self, entry: Entry) -> None:
        if entry.kind == Kind.EVENT:
            self._add(Sign.EVENT_REMOVED, detail=f"event {entry.subject}")
        elif not self._verifier.is_lawful(entry, is_record=True):
            self._add(Sign.RECORD_REMOVED, record=entry.subject)

    def _lost(self, following: Read | None) -> tuple[int, ...] | None:
        """Return which entries of this link did not happen; None if nobody said, or it was forged.

        The writer says it in its next link, if it lived so long.
        """
        if following is None or following.link.head.number != self._number + 1:
            return None
        key = formats.next_key(self._key) if self._key is not None else None
        return following.link.head.lost if all(_are_tagged(following.link, key)) else None

    def _check_elsewhere(
        self, entry: Entry, found: Found, index: int, lost: tuple[int, ...] | None
    ) -> None:
        """Check an entry whose record points elsewhere: only a close that came too late may."""
        if entry.kind not in walk.CLOSINGS:
            self._add(Sign.ENTRY_REPEATED)
            return
        if lost is not None and index not in lost:
            self._add(Sign.OUTCOME_REMOVED, record=entry.subject)
            return
        other = walk.links_of([found.link]).get(found.link)
        if not walk.stands_in(other, entry.subject, walk.CLOSINGS):
            # Too late for another close: then that one stands elsewhere.
            self._add(Sign.OUTCOME_REMOVED, record=entry.subject)

    def _check_found(self, entry: Entry, found: Found) -> None:
        """Compare what an entry commits to with what the tables hold."""
        if not self._is_genuine and entry.kind in walk.OPENINGS:
            self._add(Sign.RECORD_INSERTED, record=entry.subject)
        for sign in compare(entry, found):
            if entry.kind == Kind.EVENT:
                self._add(sign, detail=f"event {entry.subject}")
            elif sign != Sign.CONTENT_REMOVED or not self._verifier.is_lawful(
                entry, is_record=False
            ):
                self._add(sign, record=entry.subject)
        if entry.kind == Kind.EVENT:
            self._verifier.check_event()
        if entry.kind in walk.OPENINGS:
            self._report.records += 1
        if entry.kind in walk.CLOSINGS:
            self._report.close(self._number, self._covered)

    def _add(self, sign: Sign, *, record: str = "", detail: str = "") -> None:
        self._report.add(
            Finding(
                sign=sign,
                at=self._at,
                record=record,
                lane=self._lane.pk,
                number=self._number,
                detail=detail,
            )
        )


def compare(entry: Entry, found: Found) -> list[Sign]:
    """Return in what the tables differ from what an entry commits to."""
    signs = []
    if formats.commit_to_facts(found.salt, found.facts) != entry.facts:
        signs.append(_CHANGED.get(entry.kind, Sign.OUTCOME_CHANGED))
    if formats.commit_to_content(found.content_salt, found.content) != entry.content:
        if found.content is None:
            signs.append(Sign.CONTENT_REMOVED)
        elif entry.content == formats.NO_CONTENT:
            signs.append(Sign.CONTENT_ADDED)
        else:
            signs.append(Sign.CONTENT_CHANGED)
    return signs


class Lawful:
    """What events say may be missing; an event counts only if the chain vouches for it."""

    def __init__(self, first_key: Callable[[Lane], bytes | None]) -> None:
        self._first_key = first_key
        self._rules = [
            (event.kind, str(detail.get("below", "")), frozenset(detail.get("kept", ())))
            for event in Event.objects.filter(kind__in=(EventKind.PURGED, EventKind.EXPIRED))
            if self._is_vouched(event) and (detail := _said(event.detail))
        ]

    def is_purged(self, record: str) -> bool:
        """Test whether retention deleted a record."""
        return self._is_ruled(record, EventKind.PURGED)

    def is_erased(self, record: str) -> bool:
        """Test whether a record's content was erased."""
        if self._is_ruled(record, EventKind.EXPIRED):
            return True
        events = Event.objects.filter(kind=EventKind.ERASED, record_id=record)
        return any(self._is_vouched(event) for event in events)

    def _is_ruled(self, record: str, kind: str) -> bool:
        return any(
            rule == kind and record < below and record not in kept
            for rule, below, kept in self._rules
        )

    def _is_vouched(self, event: Event) -> bool:
        """Test whether the link that the event points to holds an entry for it as it is."""
        link = walk.links_of([event.link]).get(event.link)
        lane = Lane.objects.filter(pk=event.link >> formats.LANE_SHIFT).first()
        if link is None or link.entries is None or lane is None:
            return False
        names = walk.columns(lane.statement)
        if names is None:
            return False
        found = walk.fetch(Kind.EVENT, [event.pk.hex], names[Kind.EVENT])[event.pk.hex]
        for index, entry in enumerate(link.entries):
            if entry.kind == Kind.EVENT and entry.subject == event.pk.hex:
                is_same = formats.commit_to_facts(found.salt, found.facts) == entry.facts
                return is_same and _are_tagged(link, self._key(link, lane))[index]
        return False

    def _key(self, link: Stored, lane: Lane) -> bytes | None:
        key = self._first_key(lane)
        for _ in range(link.head.number - 1 if key is not None else 0):
            key = formats.next_key(key or b"")
        return key


def _stretch(lane: int, number: int) -> str:
    """Return which links of a lane were rewritten, as far as checkpoints tell."""
    for row in walk.checkpoints():
        for head_lane, count, digest in _said(row.statement).get("heads", ()):
            if head_lane != lane or count >= number:
                continue
            link = Link.objects.filter(pk=formats.link_id(lane, count)).first()
            if link is not None and bytes(link.hash).hex() == digest:
                return f"links {count + 1} to {number}"
            number = count
    return f"links 1 to {number}"


def _parse_line(line: str) -> Checkpoint | None:
    """Return the checkpoint in a line; what syslog puts before it is skipped."""
    start = line.find('{"key":')
    try:
        said = orjson.loads(line[start:]) if start >= 0 else {}
        return Checkpoint(
            number=int(_said(said["statement"])["number"]),
            statement=str(said["statement"]),
            signature=str(said["signature"]),
            signed_by=str(said["key"]),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _numbered(parsed: Iterable[Checkpoint | None]) -> Iterable[Checkpoint]:
    return Checkpoint.objects.filter(number__in=[one.number for one in parsed if one is not None])


def _are_tagged(link: Stored, key: bytes | None) -> list[bool]:
    """Return for each entry whether its tag is right; without a key, that nobody can say."""
    entries = link.entries or []
    if key is None:
        return [True] * len(entries)
    tags = formats.tags(key, link.packed, formats.unpack_bodies(link.packed_entries))
    return [entry.tag == tag for entry, tag in zip(entries, tags, strict=True)]


def _with_next(items: Iterable[Read]) -> Iterator[tuple[Read, Read | None]]:
    iterator = iter(items)
    current = next(iterator, None)
    while current is not None:
        following = next(iterator, None)
        yield current, following
        current = following


def _said(statement: str) -> dict[str, Any]:
    """Return what a statement says; nothing if it is none."""
    try:
        said = orjson.loads(statement)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _began_at(lane: Lane) -> int:
    return micros(str(_said(lane.statement).get("started_at", "")))
