"""Promises of gateway/audit/specimens.py."""

from datetime import timedelta

import pytest
from django.utils import timezone

from gateway.audit import specimens
from gateway.audit.chain import guards
from gateway.audit.models import InferenceContent, InferenceRecord

pytestmark = pytest.mark.django_db(transaction=True)  # the store begins its own

NOW = timezone.now()


def generate(records=600, **options):
    usual = {"until": NOW, "over": timedelta(days=30), **options}
    return list(specimens.generate(records=records, **usual))


class TestGenerate:
    def test_makes_as_many_as_are_asked_for_over_the_whole_time(self):
        assert generate() == [500, 600]

        found = InferenceRecord.objects.order_by("opened_at")
        assert found.count() == 600
        assert found[0].opened_at - (NOW - timedelta(days=30)) < timedelta(hours=1)
        assert NOW - found[599].opened_at < timedelta(hours=2)

    def test_marks_each_as_made_up(self):
        generate()

        assert not InferenceRecord.objects.exclude(
            instance_id=specimens.SOURCE, correlation_id__startswith="made-up-"
        ).exists()

    def test_closes_each_with_an_outcome_and_content(self):
        generate()

        answered = InferenceRecord.objects.filter(state="answered").count()
        assert not InferenceRecord.objects.filter(closed_at=None).exists()
        assert 0 < answered < 600
        assert InferenceContent.objects.count() == 600 + answered

    def test_makes_the_same_of_the_same_seed(self):
        generate(records=3, seed=7)
        first = list(InferenceRecord.objects.order_by("opened_at").values("id", "model_name"))
        with guards.lifted():
            InferenceRecord.objects.all().delete()
            InferenceContent.objects.all().delete()

        generate(records=3, seed=7)

        again = list(InferenceRecord.objects.order_by("opened_at").values("id", "model_name"))
        assert again == first
