"""Promises of gateway/audit/settled.py."""

from datetime import timedelta

import pytest
from django.utils import timezone

from gateway.audit import settled
from gateway.audit.settled import SETTLED_AFTER, look
from tests.gateway.audit.conftest import make_record

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def closed(age_s, **facts):
    return make_record(opened_at=NOW - timedelta(seconds=age_s), **facts)


def still_open(age_s):
    return closed(age_s, state="running", closed_at=None)


def seen(reached=None, *, done=(), limit=100):
    """Return what a look finds, of which `done` are done with."""
    return look(reached, now=NOW, limit=limit, done=lambda rows: set(done))


class TestLook:
    def test_finds_what_is_closed_and_not_done_oldest_first(self):
        old, new, _ = closed(500), closed(5), still_open(3)
        done = closed(50)

        found = seen(done=[done.pk])

        assert [row.id for row in found.todo] == [old.pk, new.pk]
        assert not found.is_behind

    def test_has_reached_what_is_closed_and_has_settled(self):
        closed(500)

        assert seen().reached == NOW - SETTLED_AFTER

    def test_does_not_pass_an_open_record(self):
        opened = still_open(500)
        closed(400)

        assert seen().reached == opened.opened_at

    def test_looks_again_at_all_that_could_have_come_late(self):
        first = seen().reached
        late = closed(55)

        assert [row.id for row in seen(first).todo] == [late.pk]

    def test_does_not_look_again_at_what_it_has_passed(self):
        closed(500)

        assert seen(NOW - timedelta(seconds=400)).todo == ()

    def test_never_goes_back(self):
        reached = NOW - timedelta(seconds=10)

        assert seen(reached).reached == reached

    def test_takes_no_more_than_the_limit_and_passes_nothing_it_left(self):
        records = [closed(age) for age in (500, 400, 300)]

        found = seen(limit=2)

        assert [row.id for row in found.todo] == [records[0].pk, records[1].pk]
        assert (found.is_behind, found.reached) == (True, records[2].opened_at)

    def test_goes_on_where_a_chunk_ends(self, monkeypatch):
        monkeypatch.setattr(settled, "CHUNK", 2)
        at = NOW - timedelta(seconds=9)
        records = [make_record(opened_at=at) for _ in range(5)]

        found = seen()

        assert [row.id for row in found.todo] == sorted(record.pk for record in records)

    def test_takes_one_query_for_a_chunk(self, django_assert_num_queries):
        for age in range(20):
            closed(age)

        with django_assert_num_queries(1):
            seen()
