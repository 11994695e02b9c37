"""Promises of gateway/audit/chain/checkpoints.py."""

import threading
from datetime import timedelta

import orjson
import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from gateway.audit import store
from gateway.audit.chain import anchors, checkpoints, formats, keys, lanes
from gateway.audit.models import Checkpoint, Lane, LaneHead
from tests.gateway.audit.test_store import opening
from tests.rig.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lane():
    return lanes.begin("web1")


def grow(lane, links=1):
    for _ in range(links):
        rows = [opening()]
        store.for_connection().open(rows, lane.opened(rows))


def write():
    return checkpoints.write(now=timezone.now())


def said(checkpoint):
    return orjson.loads(checkpoint.statement)


class TestWrite:
    def test_signs_the_count_and_the_last_hash_of_each_lane(self, lane):
        other = lanes.begin("web2")
        grow(lane, 3)
        grow(other)

        checkpoint = write()

        assert said(checkpoint)["heads"] == [
            [lane.id, 3, lane.hash.hex()],
            [other.id, 1, other.hash.hex()],
        ]
        assert keys.is_signed(
            checkpoint.statement,
            checkpoint.signature,
            signed_by=checkpoint.signed_by,
            trusted={keys.public_text(keys.signing_key())},
        )

    def test_names_a_lane_before_it_has_a_link(self, lane):
        statement = Lane.objects.get().statement

        assert said(write())["heads"] == [[lane.id, 0, formats.genesis(statement).hex()]]

    def test_names_only_what_grew_and_vouches_for_the_rest(self, lane):
        other = lanes.begin("web2")
        first = write()
        grow(other)

        second, third = write(), write()

        assert said(second)["heads"] == [[other.id, 1, other.hash.hex()]]
        assert said(third)["heads"] == []
        assert said(second)["previous"] == formats.checkpoint_digest(first.statement)
        assert [row.number for row in (first, second, third)] == [1, 2, 3]

    def test_leaves_the_number_to_who_was_quicker(self, lane, monkeypatch):
        real = checkpoints._grown

        def overtaken():
            monkeypatch.setattr(checkpoints, "_grown", real)
            thread = threading.Thread(target=lambda: (write(), connection.close()))
            thread.start()
            thread.join()
            return real()

        if connection.vendor == "sqlite":
            # One writer at a time: the quicker one is simulated inside the transaction.
            monkeypatch.setattr(
                keys, "sign", lambda text, sign=keys.sign: (_insert_first(text), sign(text))[1]
            )
        else:
            monkeypatch.setattr(checkpoints, "_grown", overtaken)

        assert write() is None

    def test_forgets_lanes_that_ended_long_ago(self, lane):
        grow(lane)
        write()
        LaneHead.objects.update(seen_at=timezone.now() - timedelta(days=3))

        write()

        assert not LaneHead.objects.exists()
        assert said(write())["heads"] == []

    def test_costs_a_handful_of_queries(self, lane, django_assert_max_num_queries):
        grow(lane)
        keys.require()

        with django_assert_max_num_queries(8):
            write()


def _insert_first(statement):
    if not Checkpoint.objects.filter(number=1).exists():
        Checkpoint.objects.create(number=1, at=timezone.now(), statement=statement)


class TestDue:
    def test_is_at_once_without_any(self):
        assert checkpoints.due_in_s(now=timezone.now()) == 0

    def test_is_an_interval_after_the_last(self, settings):
        settings.GATEWAY_AUDIT_CHECKPOINT_S = 30.0
        at = write().at

        assert checkpoints.due_in_s(now=at + timedelta(seconds=10)) == 20
        assert checkpoints.due_in_s(now=at + timedelta(seconds=31)) < 0

    def test_does_not_wait_for_a_clock_that_was_set_back(self):
        at = write().at

        assert checkpoints.due_in_s(now=at - timedelta(hours=1)) == 0


class TestLook:
    def test_writes_when_it_is_due_and_says_when_to_look_again(self, settings):
        settings.GATEWAY_AUDIT_CHECKPOINT_S = 30.0

        pause_s = checkpoints._look()
        again_s = checkpoints._look()

        assert Checkpoint.objects.count() == 1
        assert 30 <= pause_s <= 32
        assert 29 <= again_s <= 32

    def test_keeps_a_minute_with_its_longest_pause(self):
        from gateway.checks import CHECKPOINT_MAX_S

        assert CHECKPOINT_MAX_S + checkpoints.JITTER_S + checkpoints.RETRY_S < 60

    def test_is_repeated_soon_when_the_database_is_away(self, monkeypatch):
        def away(**_):
            raise OperationalError

        monkeypatch.setattr(checkpoints, "due_in_s", away)

        assert checkpoints._look() == checkpoints.RETRY_S

    def test_is_repeated_soon_after_a_bug(self, monkeypatch):
        monkeypatch.setattr(checkpoints, "due_in_s", lambda **_: 1 / 0)

        assert checkpoints._look() == checkpoints.RETRY_S


class TestStart:
    def test_delivers_what_it_writes(self, settings, tmp_path):
        settings.GATEWAY_AUDIT_ANCHORS = [f"file://{tmp_path}/outside.log"]

        checkpoints.start()

        wait_until((tmp_path / "outside.log").exists, within_s=5, what="the first checkpoint")
        checkpoints.stop()
        assert (
            tmp_path / "outside.log"
        ).read_text() == f"{anchors.line(Checkpoint.objects.get())}\n"


class TestStop:
    def test_signs_what_was_written_since(self, lane, settings, tmp_path):
        settings.GATEWAY_AUDIT_ANCHORS = [f"file://{tmp_path}/outside.log"]
        write()
        grow(lane)

        checkpoints.stop()

        newest = Checkpoint.objects.order_by("number").last()
        assert said(newest)["heads"] == [[lane.id, 1, lane.hash.hex()]]
        assert str(newest.number) in (tmp_path / "outside.log").read_text()

    def test_writes_nothing_when_nothing_came(self, lane):
        grow(lane)
        write()

        checkpoints.stop()

        assert Checkpoint.objects.count() == 1
