"""Tests for gateway/syncing.py."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from features.models import Group
from features.sync.state import GitLabAccess, RunState, SyncRun
from gateway import syncing
from gateway.audit.models import ProcessKind
from tests.rig.gateway import Gateway
from tests.rig.processes import wait_until


@pytest.fixture
def gitlab_groups(gitlab, settings, transactional_db):
    gitlab.add_group("payments", gitlab_id=7, members={42: "eve"})
    settings.GATEWAY_GITLAB_URL = gitlab.url
    settings.REDIS_URL = ""
    GitLabAccess.get().decide(every_minutes=60, token=gitlab.api_token)
    return gitlab


def ended(run):
    wait_until(
        lambda: SyncRun.objects.filter(pk=run.pk).exclude(ended_at=None).exists(),
        within_s=10,
        what="the end of the sync",
    )
    run.refresh_from_db()
    return run.state


class TestStart:
    def test_does_it_beside_the_request_where_there_is_no_worker(self, gitlab_groups):
        run = syncing.start(by="eve")

        assert ended(run) == RunState.SUCCEEDED
        assert Group.objects.filter(path="payments").exists()

    def test_leaves_the_wish_where_the_queue_is_away(self, gitlab_groups, settings, caplog):
        settings.REDIS_URL = "redis://127.0.0.1:1/0"

        run = syncing.start(by="eve")

        run.refresh_from_db()
        assert run.state == RunState.ASKED

    def test_wakes_the_worker(self, tmp_path, gitlab, redis_server):
        gitlab.add_group("payments", members={42: "eve"})
        # Maintenance would find the wish too, but not so soon.
        product = Gateway(
            tmp_path, gitlab=gitlab, redis_server=redis_server,
            environment={"GATEWAY_LEASE_S": "600"},
        )  # fmt: skip
        try:
            product.run(
                "from features.sync.state import GitLabAccess\n"
                "from gateway import syncing\n"
                f"GitLabAccess.get().decide(every_minutes=None, token={gitlab.api_token!r})\n"
                "syncing.start(by='eve')"
            )

            wait_until(
                lambda: product.query("SELECT path FROM features_group"),
                within_s=10,
                what="the worker's sync",
            )

            (run,) = product.query("SELECT state, result FROM features_syncrun")
            assert run["state"] == "succeeded"
            assert json.loads(run["result"])["members_added"] == 1
        finally:
            product.discard()


class TestStartIfDue:
    def test_follows_the_schedule(self, gitlab_groups):
        syncing.start_if_due(ProcessKind.WEB, now=timezone.now())

        run = SyncRun.objects.get()
        assert ended(run) == RunState.SUCCEEDED
        assert run.asked_by == "the schedule"

        syncing.start_if_due(ProcessKind.WEB, now=timezone.now())
        assert SyncRun.objects.count() == 1

    def test_takes_up_what_nobody_began(self, gitlab_groups):
        run = SyncRun.ask(by="eve")

        syncing.start_if_due(ProcessKind.WORKER, now=timezone.now())

        assert ended(run) == RunState.SUCCEEDED

    def test_takes_over_from_the_dead(self, gitlab_groups):
        run = SyncRun.ask(by="eve")
        SyncRun.claim(now=timezone.now() - timedelta(hours=1))

        syncing.start_if_due(ProcessKind.WORKER, now=timezone.now())

        assert ended(run) == RunState.SUCCEEDED

    def test_leaves_it_to_the_workers_where_there_are_some(self, gitlab_groups, settings):
        settings.REDIS_URL = "redis://127.0.0.1:1/0"

        syncing.start_if_due(ProcessKind.WEB, now=timezone.now())

        assert not SyncRun.objects.exists()


class TestPerform:
    def test_outlives_a_bug(self, gitlab_groups, monkeypatch, caplog):
        monkeypatch.setattr("features.sync.swap.take_over", lambda *args, **kwargs: 1 / 0)
        SyncRun.ask(by="eve")

        syncing.perform()

        run = SyncRun.objects.get()
        assert (run.state, run.error_code) == (RunState.FAILED, "sync_error")
        assert "sync.broke" in caplog.messages
