"""Promises of gateway/audit/chain/verify.py beside what test_tampering.py tries.

Also what a verifier must not be talked into: forged proofs, foreign keys, torn lines.
"""

import random
import tracemalloc
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from gateway import data_dir
from gateway.audit.chain import anchors, checkpoints, formats, guards, keys, verify, walk
from gateway.audit.chain.verify import Period, Sign
from gateway.audit.models import Checkpoint, InferenceRecord, Lane, Link
from tests.gateway.audit.chain.tampering import ATTACKS, Log, commit_anew, sign, write_log
from tests.gateway.audit.test_store import Chained, closed, opening

pytestmark = pytest.mark.django_db(transaction=True)


def look(**changes):
    folder = Path(settings.GATEWAY_DATA_DIR)
    usual = {
        "trusted": {keys.public_text(keys.signing_key())},
        "auditor": keys.auditor_key(folder / data_dir.AUDITOR_KEY),
    }
    return verify.verify(**{**usual, **changes})


def signs(report):
    return [finding.sign for finding in report.findings]


@pytest.fixture
def rows():
    return Chained()


def serve(rows, **facts):
    row = opening(**facts)
    rows.open([row])
    rows.claim([row["id"]], worker="worker1", now=timezone.now())
    rows.close([closed(row)])
    return InferenceRecord.objects.get(pk=row["id"])


class TestCover:
    def test_is_said_and_never_just_ok(self, rows):
        log = Log()
        serve(rows)
        sign(log)
        serve(rows)
        checkpoints.write(now=timezone.now())  # not delivered
        serve(rows)
        rows.open([opening()])

        report = look(outside=log.outside)

        assert report.findings == []
        assert (report.anchored, report.signed, report.pending, report.open) == (1, 1, 1, 1)
        assert (report.newest_outside, report.newest_checkpoint) == (1, 2)

    def test_is_none_without_checkpoints(self, rows):
        serve(rows)

        report = look()

        assert (report.pending, report.closed, report.findings) == (1, 1, [])

    def test_is_not_claimed_by_an_older_line_for_a_newer_record(self, rows):
        log = Log()
        sign(log)
        serve(rows)
        checkpoints.write(now=timezone.now())

        assert look(outside=log.outside).anchored == 0

    def test_is_overdue_when_a_later_checkpoint_leaves_a_link_out(self, rows):
        serve(rows)
        checkpoints.LaneHead.objects.all().delete()  # as somebody might, to keep it uncovered
        checkpoints.write(now=timezone.now() + timedelta(minutes=3))

        assert signs(look()) == [Sign.OVERDUE]


class TestWithoutTheAuditorsKey:
    def test_says_so(self, rows):
        assert not look(auditor=None).are_tags_checked
        assert look().are_tags_checked

    def test_finds_what_was_changed_after_a_checkpoint(self, rows):
        log = Log()
        for _ in range(3):
            serve(rows)
            sign(log)
        record = InferenceRecord.objects.order_by("pk")[1]
        with guards.lifted():
            InferenceRecord.objects.filter(pk=record.pk).update(user_id="somebody else")
            commit_anew(record)

        report = look(auditor=None, outside=log.outside)

        assert signs(report) == [Sign.REWRITTEN]
        assert "links 3 to 4" in report.findings[0].detail

    def test_finds_each_kind_of_tampering_that_a_checkpoint_covers(self):
        rng = random.Random(1)
        log = write_log(rng)
        missed = []
        for kind, attack in ATTACKS.items():
            with transaction.atomic():
                with guards.lifted():
                    attack(log, rng)
                if not look(auditor=None, outside=log.outside).findings:
                    missed.append(kind)
                transaction.set_rollback(True)

        # That comes after the last checkpoint: only its tags may be wrong.
        assert set(missed) <= {"replay_a_link"}


class TestForgedProof:
    def test_with_another_auditors_key_checks_no_tags_and_invents_no_findings(self, rows):
        serve(rows)

        assert look(auditor=X25519PrivateKey.generate()).findings == []

    def test_signed_by_a_key_that_is_not_trusted_counts_for_nothing(self, rows):
        log = Log()
        serve(rows)
        sign(log)

        report = look(trusted={"00" * 32}, outside=log.outside)

        assert {Sign.LANE_FORGED, Sign.CHECKPOINT_FORGED} <= set(signs(report))
        assert (report.anchored, report.signed) == (0, 0)

    @pytest.mark.parametrize("count", [0, 1, 1000])
    def test_outside_that_nobody_signed_covers_nothing(self, rows, count):
        serve(rows)
        other = Ed25519PrivateKey.generate()
        statement = formats.checkpoint_statement(
            number=9, at="2026-01-01 00:00:00.000000", previous="", heads=[(1, count, b"")]
        )
        line = anchors.line(
            Checkpoint(
                statement=statement,
                signature=other.sign(statement.encode()).hex(),
                signed_by=keys.public_text(other),
            )
        )

        report = look(outside=[line])

        assert signs(report) == [Sign.CHECKPOINT_FORGED]
        assert (report.anchored, report.newest_outside) == (0, 0)

    def test_of_a_lane_is_no_proof_of_a_checkpoint(self, rows):
        """Both are signed with the same key; what is signed says what it is."""
        lane = Lane.objects.get()
        line = orjson.dumps(
            {"key": lane.signed_by, "signature": lane.signature, "statement": lane.statement}
        ).decode()

        report = look(outside=[line])

        assert report.unreadable_lines == 1
        assert report.newest_outside == 0

    def test_that_cuts_a_statement_short_is_refused(self, rows):
        log = Log()
        serve(rows)
        sign(log)
        said = orjson.loads(log.outside[0][log.outside[0].index("{") :])
        said["statement"] = said["statement"].replace('"heads":[[', '"heads":[],"x":[[')
        with guards.lifted():
            Checkpoint.objects.all().delete()

        report = look(outside=[orjson.dumps(said).decode()])

        assert signs(report) == [Sign.CHECKPOINT_FORGED]
        assert report.anchored == 0

    def test_of_another_lane_is_no_proof(self, rows):
        """The signed statement of one lane beside the number of another."""
        serve(rows)
        lane = Lane.objects.get()
        with guards.lifted():
            Lane.objects.create(
                id=lane.pk + 1,
                statement=lane.statement,
                signature=lane.signature,
                signed_by=lane.signed_by,
            )

        assert signs(look()) == [Sign.LANE_FORGED]


class TestOutside:
    def test_may_hold_a_line_twice_and_in_any_order(self, rows):
        log = Log()
        for _ in range(3):
            serve(rows)
            sign(log)

        report = look(outside=[*reversed(log.outside), *log.outside])

        assert (report.findings, report.anchored) == ([], 3)

    def test_may_lack_what_a_newer_line_vouches_for(self, rows):
        log = Log()
        for _ in range(3):
            serve(rows)
            sign(log)

        assert look(outside=log.outside[-1:]).anchored == 3

    def test_counts_lines_that_hold_nothing(self, rows):
        log = Log()
        sign(log)
        torn = log.outside[0][:-40]

        report = look(
            outside=["", "\n", "a word\n", torn, '{"key":1,"statement":[]}', *log.outside]
        )

        assert report.unreadable_lines == 3
        assert report.findings == []
        assert report.newest_outside == 1


class TestDamage:
    """Whatever stands in the tables is a finding, never a crash."""

    @pytest.mark.parametrize(
        "change",
        [
            {"entries": b"torn"},
            {"entries": b"\xff" * 97},
            {"lost": b"x"},
            {"entries": b""},
            {"hash": b""},
        ],
    )
    def test_of_a_link_is_found(self, rows, change):
        serve(rows)
        with guards.lifted():
            Link.objects.filter(pk=formats.link_id(1, 1)).update(**change)

        assert Sign.LINK_CHANGED in signs(look())

    @pytest.mark.parametrize("statement", ["", "null", "[]", '{"lane": 1}', '{"columns": 7}'])
    def test_of_a_lane_is_found(self, rows, statement):
        serve(rows)
        with guards.lifted():
            Lane.objects.update(statement=statement)

        assert Sign.LANE_FORGED in signs(look())

    @pytest.mark.parametrize("statement", ["", "null", "[]", '{"number": 1}'])
    def test_of_a_checkpoint_is_found(self, rows, statement):
        serve(rows)
        checkpoints.write(now=timezone.now())
        with guards.lifted():
            Checkpoint.objects.update(statement=statement)

        assert Sign.CHECKPOINT_FORGED in signs(look())

    def test_that_moves_a_link_far_away_does_not_take_for_ever(self, rows):
        serve(rows)
        with guards.lifted():
            link = Link.objects.get(pk=formats.link_id(1, 2))
            Link.objects.filter(pk=link.pk).update(id=formats.link_id(1, 2**32 - 1))

        assert Sign.LINKS_REMOVED in signs(look())


class TestPeriod:
    @pytest.fixture
    def days(self, rows):
        """A record of the day before yesterday, one of yesterday, one of today."""
        now = timezone.now()
        return [
            serve(rows, opened_at=now - timedelta(days=age), correlation_id=f"{age}")
            for age in (2, 1, 0)
        ]

    def test_names_only_what_was_opened_in_it(self, days):
        forged = [InferenceRecord.objects.get(pk=record.pk) for record in days]
        for record in forged:
            record.pk = opening()["id"]
            record.save(force_insert=True)

        report = look(
            period=Period(
                start=timezone.now() - timedelta(hours=36), end=timezone.now() - timedelta(hours=12)
            )
        )

        assert [finding.record for finding in report.findings] == [forged[1].pk.hex]

    def test_walks_whole_lanes(self, days):
        with guards.lifted():
            InferenceRecord.objects.filter(pk=days[0].pk).update(user_id="somebody else")

        report = look(period=Period(start=timezone.now() - timedelta(hours=12)))

        assert signs(report) == [Sign.RECORD_CHANGED]

    def test_leaves_out_lanes_that_ended_before_or_began_after(self, days):
        before = Period(end=timezone.now() - timedelta(hours=2))
        after = Period(start=timezone.now() + timedelta(hours=2))

        assert [look(period=period).lanes for period in (before, after, Period())] == [0, 0, 1]


class TestFindings:
    def test_tell_the_first_by_when_it_was_written(self, rows):
        early, late = serve(Chained()), serve(rows)
        with guards.lifted():
            InferenceRecord.objects.filter(pk__in=(late.pk, early.pk)).update(user_id="x")

        report = look()

        assert [finding.record for finding in report.findings] == [late.pk.hex, early.pk.hex]
        assert report.first().record == early.pk.hex
        said = (
            f"record_changed: the record is not as it was opened (record {early.pk.hex}, link 2/1"
        )
        assert str(report.first()).startswith(said)

    def test_are_counted_beyond_those_that_are_kept(self, rows, monkeypatch):
        monkeypatch.setattr(verify, "FINDINGS_MAX", 2)
        for _ in range(5):
            serve(rows)
        with guards.lifted():
            InferenceRecord.objects.update(user_id="x")

        report = look()

        assert (report.found, len(report.findings)) == (5, 2)


class TestMemory:
    def test_does_not_grow_with_the_log(self, rows, monkeypatch):
        monkeypatch.setattr(walk, "ENTRIES_PAGE", 10)
        for _ in range(100):
            rows.open([opening(request="x" * 100_000) for _ in range(5)])
        look()
        tracemalloc.start()

        report = look()

        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert report.records == 500
        assert peak < 10_000_000  # of 50 MB
