"""Promises of gateway/audit/ladders.py."""

import pytest
from django.db import DatabaseError

from features.policy import Step
from gateway.audit import ladders
from gateway.audit.models import PolicyLadder

LADDER = (
    Step(group_id=1, level="instance", rule="on", effect="on"),
    Step(group_id=1, level="group 'a'", rule="off, locked", effect="off"),
)

pytestmark = pytest.mark.django_db


class TestLadders:
    def test_are_found_again_as_they_were(self):
        digest = ladders.note(LADDER)
        ladders.save()

        assert ladders.find(digest) == LADDER

    def test_are_written_once_however_many_calls_name_them(self, django_assert_num_queries):
        digests = {ladders.note(LADDER) for _ in range(9)} | {ladders.note(tuple(LADDER))}
        ladders.save()

        with django_assert_num_queries(0):
            ladders.note(LADDER)
            ladders.save()
        assert len(digests) == PolicyLadder.objects.count() == 1

    def test_may_be_written_by_two_processes(self):
        ladders.note(LADDER)
        ladders.save()
        ladders.forget()

        ladders.note(LADDER)
        ladders.save()

        assert PolicyLadder.objects.count() == 1

    def test_wait_for_a_database_that_is_away(self, monkeypatch):
        digest = ladders.note(LADDER)

        def away(*_, **__):
            raise DatabaseError

        with monkeypatch.context() as patched:
            patched.setattr(PolicyLadder.objects, "bulk_create", away)
            with pytest.raises(DatabaseError):
                ladders.save()
        ladders.save()

        assert ladders.find(digest) == LADDER

    def test_without_rungs_have_no_name(self):
        assert ladders.note(()) == ""
        assert ladders.find("") == ()
