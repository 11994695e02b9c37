"""Tests for gateway/control/rehearsal.py."""

import random
from datetime import timedelta

import pytest
from django.utils import timezone

from features import proposal, snapshot
from features.errors import FeatureDisabled
from features.models import FeatureRule
from features.snapshot import Rule
from gateway import pipeline
from gateway.audit.models import CallerKind, InferenceRecord
from gateway.calls import Caller
from gateway.control import rehearsal
from gateway.ids import new_id
from tests.factories import FEATURE, make_api_key, make_group, make_member, make_model, make_rule
from tests.gateway.conftest import make_call

NOW = timezone.now()


def record(*, ago=timedelta(minutes=5), **facts):
    """Write a record of a call as the pipeline leaves one."""
    return InferenceRecord.objects.create(
        **{
            "id": new_id(),
            "state": "answered",
            "opened_at": NOW - ago,
            "deadline_at": NOW,
            "caller_kind": "instance",
            "feature": FEATURE,
            "endpoint": "/",
            "is_streamed": False,
            "config_version": 1,
            "web_process": "w",
            **facts,
        }
    )


@pytest.mark.django_db
class TestUsedLately:
    def test_counts_users_not_calls(self):
        for _ in range(3):
            record(user_id="42", global_user_id="g42")
        record(user_id="", global_user_id="g43")
        record(user_id="44")

        assert rehearsal.used_lately([FEATURE], ["42", "g43", "45"], now=NOW) == 2

    def test_looks_back_an_hour(self):
        record(user_id="42", ago=timedelta(minutes=61))
        record(user_id="42", feature="duo_chat")

        assert rehearsal.used_lately([FEATURE], ["42"], now=NOW) == 0


@pytest.mark.django_db
class TestRehearse:
    def rehearse(self, changes):
        before = snapshot.load()
        after = proposal.propose(before, changes)
        features = proposal.affected_features(changes)
        return {one.slug: one for one in rehearsal.rehearse(before, after, features, now=NOW)}

    def test_counts_calls_that_would_have_ended_otherwise(self):
        group = make_group("payments", gitlab_id=7)
        make_member(group, "42")
        make_rule(None, model=make_model())
        for user in ("42", "42", "99"):
            record(user_id=user)
        record(user_id="99", namespace_ids="7")
        record(user_id="42", state="refused")

        found = self.rehearse(
            {(group.pk, FEATURE): Rule(state="off", is_locked=False, model_id=None)}
        )

        assert found[FEATURE].calls == 5
        assert found[FEATURE].changed == {"lose": 4, "gain": 0, "move": 0}
        assert found[FEATURE].users["lose"] == {"42", "99"}

    def test_finds_the_group_of_a_key(self):
        group = make_group()
        key, _ = make_api_key(group)
        record(api_key_id=key.pk)

        found = self.rehearse(
            {(group.pk, FEATURE): Rule(state="on", is_locked=False, model_id=None)}
        )

        assert found[FEATURE].changed["gain"] == 1

    def test_looks_back_seven_days(self):
        make_rule(None)
        record(ago=timedelta(days=6, hours=23))
        record(ago=timedelta(days=7, hours=1))

        assert self.rehearse({(None, FEATURE): None})[FEATURE].calls == 1

    def test_reads_the_log_in_windows(self, django_assert_num_queries):
        before = snapshot.load()

        with django_assert_num_queries(42):
            rehearsal.rehearse(before, before, [FEATURE], now=NOW)


class TestRehearsalAndReality:
    def test_agree_when_the_same_calls_are_made_again(self, embedded, backend):
        """The promise: what the rehearsal counts is what the rules then do."""
        rng = random.Random(3)
        top, core, other = (
            make_group(path, gitlab_id=pk) for path, pk in (("a", 7), ("a/b", 8), ("x", 9))
        )
        for user, group in (("1", top), ("2", core), ("3", other), ("3", core)):
            make_member(group, user)
        key, _ = make_api_key(core)
        model = make_model(endpoint=backend.endpoint, identifier="stub", family="codegemma")
        make_rule(None, model=model)
        callers = [
            Caller(
                kind=CallerKind.INSTANCE,
                user_id=rng.choice(["1", "2", "3", "4"]),
                namespace_ids=rng.choice([(), (7,), (8, 7), (9,), (404,)]),
            )
            for _ in range(60)
        ] + [Caller(kind=CallerKind.API_KEY, api_key_id=key.pk, api_key_group_id=core.pk)] * 5
        changes = {(core.pk, FEATURE): Rule(state="off", is_locked=True, model_id=None)}

        before = snapshot.refresh()
        assert self.refused(callers) == 0
        after = proposal.propose(before, changes)
        (said,) = rehearsal.rehearse(before, after, [FEATURE], now=timezone.now())
        proposal.write(changes, expected={(core.pk, FEATURE): None})
        snapshot.refresh()

        assert FeatureRule.objects.count() == 2
        assert said.calls == len(callers)
        assert said.changed["lose"] == self.refused(callers)
        assert 5 < said.changed["lose"] < 60

    def refused(self, callers):
        count = 0
        for caller in callers:
            try:
                pipeline.answer(make_call(caller=caller))
            except FeatureDisabled:
                count += 1
        return count
