"""Promises of gateway/audit/indexing.py."""

from datetime import timedelta

import pytest
from django.utils import timezone

from gateway.audit import indexing, listing
from gateway.audit.chain import guards
from gateway.audit.criteria import Criteria
from gateway.audit.models import InferenceContent
from tests.gateway.audit.conftest import make_record

pytestmark = pytest.mark.django_db


def index_all():
    """Index until nothing is left; return how many steps that took."""
    reached, steps = None, 1
    while True:
        found = indexing.step(reached, now=timezone.now())
        if not found.is_behind:
            return steps
        reached, steps = found.reached, steps + 1


def found(words):
    return {record.pk for record in listing.page(Criteria(words=words)).records}


class TestStep:
    def test_makes_prompt_and_answer_findable(self):
        record = make_record(question="how many sheep", answer="nineteen")
        make_record(question="another")

        index_all()

        assert found("sheep") == found("nineteen") == {record.pk}

    def test_waits_for_the_end_of_a_call(self):
        record = make_record(question="sheep", answer=None, state="running", closed_at=None)
        index_all()
        before = found("sheep")

        type(record).objects.filter(pk=record.pk).update(closed_at=timezone.now())
        index_all()

        assert (before, found("sheep")) == (set(), {record.pk})

    def test_is_done_with_a_record_that_has_no_content(self):
        make_record(question=None, answer=None, state="refused")
        index_all()

        assert indexing.step(None, now=timezone.now()).todo == ()

    def test_indexes_nothing_twice(self):
        for _ in range(3):
            make_record(question="sheep")
        index_all()

        index_all()

        assert listing.page(Criteria(words="sheep")).count == 3

    def test_goes_over_a_long_log_in_steps(self):
        old = timezone.now() - timedelta(days=3)
        for number in range(indexing.BATCH * 2 + 1):
            make_record(question="sheep", opened_at=old + timedelta(seconds=number))

        assert index_all() == 3
        assert listing.page(Criteria(words="sheep")).count == indexing.BATCH * 2 + 1

    def test_finds_no_record_that_is_gone(self):
        record = make_record(question="sheep")
        index_all()

        with guards.lifted():
            InferenceContent.objects.all().delete()
            record.delete()

        assert found("sheep") == set()
