"""A log made by several writers, and the ways in which somebody with the database could forge it.

Each attack changes the database as its owner could, and returns what a verifier has to name. The
attacker knows the format and every public key; `key_now` is what a break-in would find in memory.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from queue import SimpleQueue
from typing import Any
from uuid import UUID

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db.models import F
from django.utils import timezone

from gateway.audit.chain import anchors, checkpoints, formats, keys, removal
from gateway.audit.chain.formats import Kind
from gateway.audit.chain.lanes import COLUMNS
from gateway.audit.models import (
    Checkpoint,
    ContentKind,
    Event,
    InferenceContent,
    InferenceRecord,
    Lane,
    LaneHead,
    Link,
)
from gateway.audit.records import Outcome, closing
from gateway.audit.store import BLANK, OUTCOME_COLUMNS, Row
from gateway.audit.writer import ClaimJob, CloseJob, OpenJob, Writer
from gateway.ids import new_id
from tests.gateway.audit.test_store import opening

OPEN_OUTCOME = {name: BLANK[name] for name in OUTCOME_COLUMNS}


@dataclass
class Log:
    """A log at rest: two web processes, two workers, checkpoints that were delivered outside."""

    outside: list[str] = field(default_factory=list)
    keys: dict[int, bytes] = field(default_factory=dict)

    def key_now(self, lane: int) -> bytes:
        """Return the key that a thief would find: that of the next link."""
        return self.keys[lane]


def write_log(rng: random.Random, *, records: int = 40, erased: int = 0, purged: int = 0) -> Log:
    """Write a log through real writers, with refusals, given-up calls and closes that lost."""
    log = Log()
    webs = [_started(f"web{n}") for n in range(2)]
    workers = [_started(f"worker{n}") for n in range(2)]
    left = records
    while left > 0:
        count = min(left, rng.choice((1, 1, 2, 3)))
        left -= count
        _serve(rng, rng.choice(webs), rng.choice(workers), count)
        if rng.random() < 0.25:
            sign(log)
    sign(log)
    if purged:
        ids = sorted(InferenceRecord.objects.values_list("pk", flat=True))
        before = InferenceRecord.objects.get(pk=ids[purged]).opened_at + timedelta(milliseconds=1)
        removal.purge(before, keep=ids[:2], by="dpo", reason="policy", writer=webs[0])
    if erased:
        ids = sorted(InferenceRecord.objects.values_list("pk", flat=True))
        removal.erase(ids[-erased:], by="dpo", reason="asked", writer=webs[0])
        before = InferenceRecord.objects.get(pk=ids[erased]).opened_at
        removal.expire(before, keep=ids[:1], by="dpo", reason="policy", writer=webs[0])
    sign(log)
    for writer in (*webs, *workers):
        writer.stop()
        if writer._lane is not None:
            log.keys[writer._lane.id] = writer._lane.key
    return log


def sign(log: Log) -> None:
    """Write a checkpoint and keep its line outside."""
    checkpoint = checkpoints.write(now=timezone.now())
    assert checkpoint is not None
    log.outside.append(f"<109>1 - host enclave 1 checkpoint - {anchors.line(checkpoint)}\n")


def _started(name: str) -> Writer:
    writer = Writer(name)
    writer.start()
    return writer


def _serve(rng: random.Random, web: Writer, worker: Writer, count: int) -> None:
    rows = [_row(rng) for _ in range(count)]
    _wait([_open(web, row) for row in rows])
    queued = [row for row in rows if row["state"] == "queued"]
    if not queued:
        return
    claims: SimpleQueue[Any] = SimpleQueue()
    ids = [row["id"] for row in queued]
    worker.submit(ClaimJob(ids=ids, worker=worker._process_id, then=claims.put))
    done = []
    for claim in claims.get(timeout=5):
        end = rng.random()
        if end > 0.93:
            continue  # still open
        if end < 0.25:  # the client left
            done.append(_close(web, closing(claim.id, _given_up(), worker=None)))
        if end < 0.15 or end >= 0.25:  # the worker answered, in the first case too late
            outcome = _answered(rng)
            row = closing(claim.id, outcome, worker=worker._process_id, claimed_at=claim.claimed_at)
            done.append(_close(worker, row))
    _wait(done)


def _row(rng: random.Random) -> Row:
    facts: Row = {
        "user_id": str(rng.randrange(50)),
        "group_path": rng.choice(("", "payments/core", "platform")),
        "request": orjson.dumps({"prompt": {"text": rng.randbytes(40).hex() + "ü"}}).decode(),
    }
    if rng.random() < 0.1:
        now = timezone.now()
        refused = {"state": "refused", "request": None, "closed_at": now, "error_code": "no"}
        facts |= refused
    row: Row = opening(**facts)
    return row


def _answered(rng: random.Random) -> Outcome:
    return Outcome(
        state="answered",
        answer=rng.randbytes(30).hex(),
        finish_reason="stop",
        queue_ms=rng.random() / 1000,
        total_ms=rng.random() * 1000,
        completion_tokens=rng.randrange(100),
        model_calls=1,
    )


def _given_up() -> Outcome:
    return Outcome(state="cancelled", error_code="client_left", total_ms=12)


def _open(writer: Writer, row: dict[str, Any]) -> SimpleQueue[Any]:
    done: SimpleQueue[Any] = SimpleQueue()
    writer.submit(OpenJob(row=row, then=done.put))
    return done


def _close(writer: Writer, row: dict[str, Any]) -> SimpleQueue[Any]:
    done: SimpleQueue[Any] = SimpleQueue()
    writer.submit(CloseJob(row=row, then=done.put, when_late=lambda: done.put("late")))
    return done


def _wait(done: list[SimpleQueue[Any]]) -> None:
    for queue in done:
        assert queue.get(timeout=5) in (None, True, False)


# What an attack is


@dataclass
class Tampered:
    """What a verifier has to name: records by their ids, and places in the chain."""

    records: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)


Attack = Callable[[Log, random.Random], Tampered]
ATTACKS: dict[str, Attack] = {}


def attack(function: Attack) -> Attack:
    ATTACKS[function.__name__] = function
    return function


def place(finding: Any) -> str:
    """Return a finding's place in the chain, for those that name no record."""
    if finding.number:
        return f"link {finding.lane}/{finding.number}"
    return f"lane {finding.lane}" if finding.lane else finding.detail.split(",")[0]


def closed(rng: random.Random, count: int = 1, **facts: Any) -> list[InferenceRecord]:
    rows = list(InferenceRecord.objects.filter(closed_link__isnull=False, **facts).order_by("pk"))
    return rng.sample(rows, count)


def update(record: InferenceRecord, **facts: Any) -> None:
    assert InferenceRecord.objects.filter(pk=record.pk).update(**facts) == 1


def delete(records: list[InferenceRecord]) -> set[str]:
    ids = [record.pk for record in records]
    InferenceContent.objects.filter(record_id__in=ids).delete()
    InferenceRecord.objects.filter(pk__in=ids).delete()
    return {pk.hex for pk in ids}


def lane_of(link: int | None) -> int:
    assert link is not None
    return link >> 32


def links_of(lane: int) -> list[Link]:
    return list(Link.objects.filter(pk__gt=lane << 32, pk__lt=(lane + 1) << 32).order_by("pk"))


def entries(link: Link) -> list[formats.Entry]:
    return formats.unpack_entries(bytes(link.entries))


def subjects(link: Link) -> list[str]:
    return [entry.subject for entry in entries(link)]


def compute_anew(lane: int) -> None:
    """Make every hash of a lane fit again, as anybody can."""
    previous = formats.genesis(Lane.objects.get(pk=lane).statement)
    for link in links_of(lane):
        previous = formats.link_hash(previous, packed_head(link), bytes(link.entries))
        Link.objects.filter(pk=link.pk).update(hash=previous)


def packed_head(link: Link) -> bytes:
    lost = formats.unpack_lost(bytes(link.lost))
    number = link.pk & 0xFFFFFFFF
    return formats.Head(lane_of(link.pk), number, link.at, lost, len(subjects(link))).packed()


def commit_anew(record: InferenceRecord, *, key: bytes | None = None) -> None:
    """Make the entry of a record's opening fit what the record says now; tag it if there is a key.

    Without one the old tag stays.
    """
    record.refresh_from_db()
    link = Link.objects.get(pk=record.opened_link or 0)
    packed = b""
    for index, entry in enumerate(entries(link)):
        facts, tag = entry.facts, entry.tag
        if entry.subject == record.pk.hex:
            kind = Kind(entry.kind)
            values = [formats.plain(getattr(record, name)) for name in COLUMNS[kind]]
            facts = formats.commit_to_facts(record.opening_salt or "", formats.facts_text(values))
        body = formats.pack_entry(entry.kind, UUID(entry.subject), facts, entry.content)
        if entry.subject == record.pk.hex and key is not None:
            bodies = [b""] * index + [body]  # the tag of one entry knows nothing of the others
            tag = formats.tags(key, packed_head(link), bodies)[index]
        packed += body + tag
    Link.objects.filter(pk=link.pk).update(entries=packed)
    compute_anew(lane_of(link.pk))


OPENING_EDITS: tuple[tuple[str, Any], ...] = (
    ("user_id", "somebody-else"),
    ("global_user_id", "x"),
    ("feature", "duo_chat"),
    ("model_name", "another"),
    ("group_path", "elsewhere"),
    ("caller_kind", "user"),
    ("prompt_digest", "0" * 64),
    ("policy", "instance: off"),
    ("config_version", 4),
    ("correlation_id", "abc/2"),
    ("is_streamed", True),
    ("api_key_id", 0),
    ("web_process", "web9"),
)
OUTCOME_EDITS: tuple[tuple[str, Any], ...] = (
    ("state", "failed"),
    ("error_code", "backend_auth"),
    ("error_detail", "."),
    ("completion_tokens", 100_000),
    ("prompt_tokens", 0),
    ("model_calls", 0),
    ("total_ms", 1.0),
    ("queue_ms", 0.0),
    ("backend_status", 500),
    ("are_tokens_estimated", True),
    ("worker_process", "worker9"),
)


# The attacks


@attack
def edit_the_opening(log: Log, rng: random.Random) -> Tampered:
    (record,) = closed(rng)
    column, value = rng.choice(OPENING_EDITS)
    update(record, **{column: value})
    return Tampered({record.pk.hex})


@attack
def edit_the_outcome(log: Log, rng: random.Random) -> Tampered:
    (record,) = closed(rng, state="answered")
    column, value = rng.choice(OUTCOME_EDITS)
    update(record, **{column: value})
    return Tampered({record.pk.hex})


@attack
def move_a_time(log: Log, rng: random.Random) -> Tampered:
    (record,) = closed(rng, state="answered")
    column = rng.choice(("opened_at", "closed_at", "claimed_at", "deadline_at"))
    update(record, **{column: F(column) + timedelta(microseconds=rng.choice((1, -3_600_000_000)))})
    return Tampered({record.pk.hex})


@attack
def edit_a_text(log: Log, rng: random.Random) -> Tampered:
    content = rng.choice(list(InferenceContent.objects.order_by("record_id", "kind")))
    rows = InferenceContent.objects.filter(record_id=content.record_id, kind=content.kind)
    rows.update(body=content.body[:-1] + " " + content.body[-1])
    return Tampered({content.record_id.hex})


@attack
def swap_two_texts(log: Log, rng: random.Random) -> Tampered:
    kind = rng.choice(list(ContentKind))
    one, other = rng.sample(list(InferenceContent.objects.filter(kind=kind)), 2)
    for target, source in ((one, other), (other, one)):
        rows = InferenceContent.objects.filter(record_id=target.record_id, kind=kind)
        rows.update(body=source.body, salt=source.salt)
    return Tampered({one.record_id.hex, other.record_id.hex})


@attack
def remove_a_text(log: Log, rng: random.Random) -> Tampered:
    content = rng.choice(list(InferenceContent.objects.order_by("record_id", "kind")))
    InferenceContent.objects.filter(record_id=content.record_id, kind=content.kind).delete()
    return Tampered({content.record_id.hex})


@attack
def add_a_text(log: Log, rng: random.Random) -> Tampered:
    (record,) = closed(rng, state__in=("refused", "cancelled"))
    kind = ContentKind.ANSWER if record.state == "cancelled" else ContentKind.REQUEST
    InferenceContent.objects.create(record_id=record.pk, kind=kind, body="{}", salt="0" * 32)
    return Tampered({record.pk.hex})


@attack
def remove_a_record(log: Log, rng: random.Random) -> Tampered:
    return Tampered(delete(closed(rng)))


@attack
def remove_a_block(log: Log, rng: random.Random) -> Tampered:
    rows = list(InferenceRecord.objects.order_by("pk"))
    start = rng.randrange(len(rows) - 8)
    return Tampered(delete(rows[start : start + rng.randrange(2, 8)]))


@attack
def insert_a_record(log: Log, rng: random.Random) -> Tampered:
    (record,) = closed(rng)
    record.pk = new_id()
    record.user_id = "framed"
    if rng.random() < 0.5:
        record.opened_link = record.closed_link = None
    record.save(force_insert=True)
    return Tampered({record.pk.hex})


@attack
def reopen_a_record(log: Log, rng: random.Random) -> Tampered:
    (record,) = closed(rng, state="answered")
    update(record, state="running", closed_link=None, outcome_salt=None, **OPEN_OUTCOME)
    InferenceContent.objects.filter(record_id=record.pk, kind=ContentKind.ANSWER).delete()
    return Tampered({record.pk.hex})


@attack
def answer_an_open_record(log: Log, rng: random.Random) -> Tampered:
    record = rng.choice(list(InferenceRecord.objects.filter(closed_link=None).order_by("pk")))
    if rng.random() < 0.3:
        InferenceContent.objects.create(record_id=record.pk, kind=ContentKind.ANSWER, body="{}")
        return Tampered({record.pk.hex})
    (other,) = closed(rng, state="answered")
    update(
        record,
        state="answered",
        closed_at=other.closed_at,
        closed_link=rng.choice((None, other.closed_link)),
    )
    return Tampered({record.pk.hex})


@attack
def replay_a_link(log: Log, rng: random.Random) -> Tampered:
    lane = rng.choice(sorted(log.keys))
    link, last = rng.choice(links_of(lane)), links_of(lane)[-1]
    Link.objects.create(id=last.pk + 1, at=last.at, lost=link.lost, entries=link.entries, hash=b"")
    compute_anew(lane)
    return Tampered(places={f"link {lane}/{(last.pk + 1) & 0xFFFFFFFF}"})


@attack
def swap_two_links(log: Log, rng: random.Random) -> Tampered:
    lane = rng.choice(sorted(log.keys))
    one, other = rng.sample(links_of(lane), 2)
    for target, source in ((one, other), (other, one)):
        Link.objects.filter(pk=target.pk).update(
            at=source.at, lost=source.lost, entries=source.entries
        )
    compute_anew(lane)
    return Tampered(
        _vouched(one) | _vouched(other),
        {f"link {lane}/{link.pk & 0xFFFFFFFF}" for link in (one, other)} | _rewritten(lane),
    )


def _rewritten(lane: int) -> set[str]:
    """Return the place where a lane's hashes contradict its newest checkpoint."""
    for checkpoint in Checkpoint.objects.order_by("-number"):
        for head_lane, count, _ in orjson.loads(checkpoint.statement)["heads"]:
            if head_lane == lane:
                return {f"link {lane}/{count}"}
    raise AssertionError("no checkpoint covers this lane")


@attack
def move_a_link_to_another_lane(log: Log, rng: random.Random) -> Tampered:
    lane, target = rng.sample(sorted(log.keys), 2)
    link, last = rng.choice(links_of(lane)), links_of(target)[-1]
    number = (last.pk & 0xFFFFFFFF) + 1
    moved = formats.link_id(target, number)
    for column in ("opened_link", "closed_link"):
        InferenceRecord.objects.filter(**{column: link.pk}).update(**{column: moved})
    records = set(
        InferenceRecord.objects.filter(opened_link=moved).values_list("pk", flat=True)
    ) | set(InferenceRecord.objects.filter(closed_link=moved).values_list("pk", flat=True))
    Link.objects.filter(pk=link.pk).delete()
    Link.objects.create(id=moved, at=last.at, lost=b"", entries=link.entries, hash=b"")
    compute_anew(target)
    is_any_elsewhere = len(records) < len(subjects(link))
    return Tampered(
        {pk.hex for pk in records},
        {f"link {lane}/{link.pk & 0xFFFFFFFF}"}
        | ({f"link {target}/{number}"} if is_any_elsewhere else set()),
    )


@attack
def rewrite_without_a_key(log: Log, rng: random.Random) -> Tampered:
    (record,) = closed(rng)
    update(record, user_id="somebody-else")
    commit_anew(record)
    return Tampered({record.pk.hex}, _rewritten(lane_of(record.opened_link)))


@attack
def rewrite_with_the_stolen_key(log: Log, rng: random.Random) -> Tampered:
    (record,) = closed(rng)
    update(record, user_id="somebody-else")
    commit_anew(record, key=log.key_now(lane_of(record.opened_link)))
    return Tampered({record.pk.hex}, _rewritten(lane_of(record.opened_link)))


@attack
def move_the_time_of_a_link(log: Log, rng: random.Random) -> Tampered:
    lane = rng.choice(sorted(log.keys))
    link = rng.choice(links_of(lane))
    Link.objects.filter(pk=link.pk).update(at=link.at - 3_600_000_000)
    compute_anew(lane)
    named = _vouched(link)
    is_any_elsewhere = len(named) < len(subjects(link))
    here = {f"link {lane}/{link.pk & 0xFFFFFFFF}"} if is_any_elsewhere else set()
    return Tampered(named, here | _rewritten(lane))


def _vouched(link: Link) -> set[str]:
    """Return the records that say that an entry of theirs stands in this link."""
    by_opening = InferenceRecord.objects.filter(opened_link=link.pk)
    by_closing = InferenceRecord.objects.filter(closed_link=link.pk)
    return {row.pk.hex for row in (*by_opening, *by_closing)}


@attack
def cut_off_the_end_of_a_lane(log: Log, rng: random.Random) -> Tampered:
    lane = rng.choice(sorted(log.keys))
    links = links_of(lane)
    return _cut(links[rng.randrange(1, len(links)) :])


@attack
def remove_a_lane(log: Log, rng: random.Random) -> Tampered:
    lane = rng.choice(sorted(log.keys))
    tampered = _cut(links_of(lane))
    Lane.objects.filter(pk=lane).delete()
    LaneHead.objects.filter(pk=lane).delete()
    return Tampered(tampered.records, {f"lane {lane}"})


def _cut(links: list[Link]) -> Tampered:
    """Remove links, the records that they opened, and the outcomes that they closed."""
    pks = [link.pk for link in links]
    gone = delete(list(InferenceRecord.objects.filter(opened_link__in=pks)))
    reopened = set()
    for record in InferenceRecord.objects.filter(closed_link__in=pks):
        reopened.add(record.pk.hex)
        update(record, state="running", closed_link=None, outcome_salt=None, **OPEN_OUTCOME)
        InferenceContent.objects.filter(record_id=record.pk, kind=ContentKind.ANSWER).delete()
    Link.objects.filter(pk__in=pks).delete()
    # Only what another lane still names can be named: a record, or a close that came too late.
    left = [entry for link in Link.objects.all() for entry in entries(link)]
    named = gone & {entry.subject for entry in left}
    named |= reopened & {entry.subject for entry in left if entry.kind in "cg"}
    lane, first = formats.lane_and_number(pks[0])
    return Tampered(named, {f"link {lane}/{first}"})


@attack
def roll_the_database_back(log: Log, rng: random.Random) -> Tampered:
    """Put an older copy in place: every lane shorter, and the checkpoints in step with it."""
    rows = list(Checkpoint.objects.order_by("number"))
    kept = rows[rng.randrange(1, len(rows) - 2)]
    counts: dict[int, int] = {}
    for row in rows[: kept.number]:
        counts |= {lane: count for lane, count, _ in orjson.loads(row.statement)["heads"]}
    places = set()
    for lane in log.keys:
        late = [link for link in links_of(lane) if link.pk & 0xFFFFFFFF > counts.get(lane, 0)]
        if late:
            _cut(late)
            places.add(f"link {lane}/{counts.get(lane, 0) + 1}")
        if lane not in counts:
            Lane.objects.filter(pk=lane).delete()
            places -= {f"link {lane}/1"}
            places.add(f"lane {lane}")
    Checkpoint.objects.filter(number__gt=kept.number).delete()
    Event.objects.all().delete()
    return Tampered(set(), places | {f"checkpoint {row.number}" for row in rows[kept.number :]})


@attack
def edit_a_checkpoint(log: Log, rng: random.Random) -> Tampered:
    row = rng.choice(list(Checkpoint.objects.order_by("number")))
    said = orjson.loads(row.statement)
    said["at"] = "2020-01-01 00:00:00.000000"
    Checkpoint.objects.filter(pk=row.pk).update(statement=orjson.dumps(said).decode())
    return Tampered(places={f"checkpoint {row.number}"})


@attack
def sign_a_checkpoint_with_another_key(log: Log, rng: random.Random) -> Tampered:
    row = Checkpoint.objects.order_by("number").last()
    assert row is not None
    key = Ed25519PrivateKey.generate()
    said = orjson.loads(row.statement)
    said["heads"] = []
    statement = orjson.dumps(said).decode()
    Checkpoint.objects.filter(pk=row.pk).update(
        statement=statement,
        signature=key.sign(statement.encode()).hex(),
        signed_by=keys.public_text(key),
    )
    return Tampered(places={f"checkpoint {row.number}"})


@attack
def remove_a_checkpoint(log: Log, rng: random.Random) -> Tampered:
    row = rng.choice(list(Checkpoint.objects.order_by("number")))
    Checkpoint.objects.filter(pk=row.pk).delete()
    return Tampered(places={f"checkpoint {row.number}"})


@attack
def pretend_a_purge(log: Log, rng: random.Random) -> Tampered:
    ids = sorted(InferenceRecord.objects.values_list("pk", flat=True))
    gone = list(InferenceRecord.objects.filter(pk__in=ids[: rng.randrange(2, 6)]))
    event = Event.objects.create(
        id=new_id(),
        kind="purged",
        at=timezone.now(),
        by="dpo",
        detail=orjson.dumps({"below": ids[6].hex, "kept": [], "reason": "policy"}).decode(),
        salt=hashlib.sha256(rng.randbytes(8)).hexdigest()[:32],
        link=rng.choice(list(Link.objects.values_list("pk", flat=True))),
    )
    return Tampered(delete(gone), {f"event {event.pk.hex}"})


@attack
def begin_a_lane(log: Log, rng: random.Random) -> Tampered:
    """Forge a whole lane with a record of its own: all of it fits, but nobody signed it."""
    number = max(log.keys) + 1
    auditor = orjson.loads(Lane.objects.order_by("id")[0].statement)["auditor"]
    shared, _, ephemeral = keys.agree()
    statement = formats.lane_statement(
        lane=number,
        process="web0",
        started_at=formats.plain(timezone.now()),
        columns=COLUMNS,
        auditor=auditor,
        ephemeral=ephemeral,
    )
    key = Ed25519PrivateKey.generate()
    Lane.objects.create(
        id=number,
        statement=statement,
        signature=key.sign(statement.encode()).hex(),
        signed_by=keys.public_text(key),
    )
    (record,) = closed(rng, state="refused") if rng.random() < 0.3 else closed(rng)
    record.pk, record.user_id = new_id(), "framed"
    record.opened_link = record.closed_link = formats.link_id(number, 1)
    values = [formats.plain(getattr(record, name)) for name in COLUMNS[Kind.WRITTEN]]
    facts = formats.commit_to_facts(record.opening_salt or "", formats.facts_text(values))
    body = formats.pack_entry(Kind.WRITTEN, record.pk, facts, formats.NO_CONTENT)
    at = Link.objects.order_by("-at")[0].at
    head = formats.Head(number, 1, at, (), 1).packed()
    packed = body + formats.tags(formats.first_key(shared, statement), head, [body])[0]
    Link.objects.create(
        id=formats.link_id(number, 1),
        at=at,
        lost=b"",
        entries=packed,
        hash=formats.link_hash(formats.genesis(statement), head, packed),
    )
    record.save(force_insert=True)
    return Tampered({record.pk.hex}, {f"lane {number}"})
