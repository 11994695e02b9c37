"""Tests for features/sync/state.py."""

from datetime import timedelta

import pytest
from django.utils import timezone

from features.errors import SyncError
from features.sync.state import (
    LEASE,
    RUNS_KEPT,
    GitLabAccess,
    LostRun,
    Progress,
    RunState,
    SyncRun,
)
from models_registry.changes import ConfigChange, made_by
from models_registry.fields import clear_text

pytestmark = pytest.mark.django_db
CANARY = "glpat-canary-0c1d"


def ended(state, *, ago):
    return SyncRun.objects.create(
        state=state, asked_by="eve", ended_at=timezone.now() - timedelta(minutes=ago)
    )


class TestGitLabAccess:
    def test_keeps_the_token_encrypted(self):
        GitLabAccess.get().decide(every_minutes=60, token=CANARY)

        stored = GitLabAccess.get()
        assert CANARY not in stored.token
        assert clear_text(stored.token) == CANARY

    def test_keeps_the_token_where_only_the_interval_changes(self):
        GitLabAccess.get().decide(every_minutes=60, token=CANARY)

        GitLabAccess.get().decide(every_minutes=30)

        assert clear_text(GitLabAccess.get().token) == CANARY

    def test_is_on_record_without_the_token(self):
        with made_by("eve"):
            GitLabAccess.get().decide(every_minutes=60, token=CANARY)

        change = ConfigChange.objects.latest("pk")
        assert (change.actor, change.before, change.after) == (
            "eve",
            {"token": False, "every_minutes": None},
            {"token": True, "every_minutes": 60},
        )


class TestAsk:
    def test_makes_one_run_however_often_it_is_asked(self):
        assert SyncRun.ask(by="eve") == SyncRun.ask(by="adam")
        assert SyncRun.objects.count() == 1

    def test_makes_a_new_one_when_the_last_has_ended(self):
        first = SyncRun.ask(by="eve")
        SyncRun.stop()

        assert SyncRun.ask(by="eve") != first


class TestClaim:
    def test_gives_the_run_to_one_process(self):
        SyncRun.ask(by="eve")

        assert SyncRun.claim(now=timezone.now()) is not None
        assert SyncRun.claim(now=timezone.now()) is None

    def test_gives_it_to_another_when_the_first_is_silent(self):
        SyncRun.ask(by="eve")
        first = SyncRun.claim(now=timezone.now() - 2 * LEASE)

        second = SyncRun.claim(now=timezone.now())

        assert second == first
        with pytest.raises(LostRun):
            first.note(Progress())
        second.note(Progress(stage="Reading groups"))

    def test_finds_nothing_where_nobody_asked(self):
        assert SyncRun.claim(now=timezone.now()) is None


class TestRun:
    def test_cannot_end_after_it_was_stopped(self):
        SyncRun.ask(by="eve")
        run = SyncRun.claim(now=timezone.now())
        SyncRun.stop()

        for end in (lambda: run.succeed({}), lambda: run.fail(SyncError("x"))):
            with pytest.raises(LostRun):
                end()

        run.refresh_from_db()
        assert run.state == RunState.STOPPED

    def test_forgets_old_runs_but_not_the_last_good_one(self):
        good = ended(RunState.SUCCEEDED, ago=10_000)
        for number in range(RUNS_KEPT + 5):
            ended(RunState.FAILED, ago=number + 1)
        SyncRun.ask(by="eve")

        SyncRun.claim(now=timezone.now()).fail(SyncError("x"))

        assert SyncRun.objects.count() == RUNS_KEPT + 1
        assert SyncRun.last_good() == good


class TestFailingSince:
    def test_is_the_first_failure_after_the_last_good_run(self):
        ended(RunState.FAILED, ago=50)
        ended(RunState.SUCCEEDED, ago=40)
        first = ended(RunState.FAILED, ago=30)
        ended(RunState.FAILED, ago=20)

        assert SyncRun.failing_since() == first.ended_at

    def test_is_never_where_all_is_well(self):
        ended(RunState.FAILED, ago=50)
        ended(RunState.SUCCEEDED, ago=40)

        assert SyncRun.failing_since() is None


class TestIsDue:
    def test_follows_the_schedule(self):
        now = timezone.now()
        assert not SyncRun.is_due(now=now)

        GitLabAccess.get().decide(every_minutes=60)
        assert SyncRun.is_due(now=now)

        SyncRun.objects.create(state=RunState.FAILED, asked_at=now, asked_by="eve")
        assert not SyncRun.is_due(now=now + timedelta(minutes=59))
        assert SyncRun.is_due(now=now + timedelta(minutes=61))

    def test_sees_a_run_that_waits_for_a_process(self):
        SyncRun.ask(by="eve")
        assert SyncRun.is_due(now=timezone.now())

        SyncRun.claim(now=timezone.now())
        assert not SyncRun.is_due(now=timezone.now())
        assert SyncRun.is_due(now=timezone.now() + 2 * LEASE)
