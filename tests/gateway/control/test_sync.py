"""Tests for gateway/control/sync.py."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from features.errors import GitLabUnreachable
from features.models import Group, Source
from features.sync.state import GitLabAccess, Progress, RunState, SyncRun
from models_registry.fields import clear_text
from tests.factories import make_group, make_rule

CANARY = "glpat-canary-1f00"


def url(name):
    return reverse(f"control:{name}")


@pytest.fixture(autouse=True)
def _ask_only(monkeypatch):
    """Leave what a page asks for to a process that does not come."""
    monkeypatch.setattr("gateway.syncing.concurrency.start", lambda *args, **kwargs: None)


def run(state, **facts):
    return SyncRun.objects.create(
        state=state, asked_by="eve", ended_at=timezone.now(), **{"result": {}, **facts}
    )


class TestPage:
    def test_says_how_to_begin(self, operator, settings):
        settings.GATEWAY_GITLAB_URL = ""

        page = operator.get(url("sync")).text

        assert "Not synced yet" in page
        assert "GATEWAY_GITLAB_URL" in page

    def test_says_since_when_it_fails_and_of_when_the_groups_are(self, operator):
        good = run(RunState.SUCCEEDED)
        failed = run(RunState.FAILED, error_detail="GitLab failed (503).")

        page = operator.get(url("sync")).text

        assert "Not up to date" in page
        assert f"{good.ended_at:%Y-%m-%d %H:%M} UTC" in page
        assert f"since {failed.ended_at:%Y-%m-%d %H:%M} UTC failed" in page
        assert "GitLab failed (503)." in page

    def test_shows_how_far_a_sync_is(self, operator):
        SyncRun.ask(by="eve")
        SyncRun.claim(now=timezone.now()).note(
            Progress(stage="Reading members", groups_total=10, groups_read=3, members_found=7)
        )

        for name in ("sync", "sync_progress"):
            page = operator.get(url(name)).text
            assert "Reading members: 3 of 10 groups, 7 members" in page

    def test_is_shown_anew_when_the_sync_has_ended(self, operator):
        SyncRun.ask(by="eve")
        assert "HX-Refresh" not in operator.get(url("sync_progress")).headers

        SyncRun.stop()

        assert operator.get(url("sync_progress")).headers["HX-Refresh"] == "true"

    def test_lists_groups_that_are_gone_and_in_use(self, operator):
        group = make_group("old", source=Source.GITLAB, gone_at=timezone.now())
        make_rule(group)

        assert "still in use" in operator.get(url("sync")).text

    @pytest.mark.parametrize("rows", [3, 30])
    def test_takes_the_same_number_of_queries(self, operator, rows, django_assert_num_queries):
        for _ in range(rows):
            run(RunState.FAILED)

        with django_assert_num_queries(14):
            operator.get(url("sync"))


class TestStart:
    def test_asks_for_a_sync(self, operator):
        answer = operator.post(url("sync_start"))

        assert answer.headers["Location"] == url("sync")
        assert SyncRun.objects.get().asked_by == "Model administrators"

    def test_may_say_that_groups_are_really_gone(self, operator):
        run(RunState.FAILED, error_code="too_many_gone", error_detail="11 of 21")
        assert "really gone" in operator.get(url("sync")).text

        operator.post(url("sync_start"), {"accepts_loss": "on"})

        assert SyncRun.objects.latest("pk").accepts_loss


class TestStop:
    def test_ends_the_one_under_way(self, operator):
        SyncRun.ask(by="eve")

        operator.post(url("sync_stop"))

        assert SyncRun.objects.get().state == RunState.STOPPED


class TestAccess:
    def test_stores_a_token_that_no_page_shows(self, operator):
        operator.post(url("sync_access"), {"new_token": CANARY, "every_minutes": "30"})

        access = GitLabAccess.get()
        assert (clear_text(access.token), access.every_minutes) == (CANARY, 30)
        page = operator.get(url("sync")).text
        assert CANARY not in page
        assert access.token not in page

    def test_keeps_or_removes_the_token(self, operator):
        operator.post(url("sync_access"), {"new_token": CANARY, "every_minutes": ""})

        operator.post(url("sync_access"), {"new_token": "", "every_minutes": "30"})
        assert clear_text(GitLabAccess.get().token) == CANARY

        operator.post(url("sync_access"), {"remove_token": "on", "every_minutes": "30"})
        assert GitLabAccess.get().token == ""

    @pytest.mark.parametrize(
        "form",
        [{"every_minutes": "1"}, {"every_minutes": "soon"}, {"new_token": "line\nbreak"},
         {"new_token": "schlüssel"}],
    )  # fmt: skip
    def test_refuses_nonsense(self, operator, form):
        assert operator.post(url("sync_access"), form).status_code == 422
        assert GitLabAccess.get().token == ""


class TestFile:
    def upload(self, operator, text):
        file = SimpleUploadedFile("groups.yml", text.encode("latin-1"))
        return operator.post(url("sync_file"), {"file": file}, follow=True)

    def test_takes_over(self, operator):
        page = self.upload(operator, "groups:\n  - path: payments\n    members: [42]").text

        assert "1 groups added" in page
        assert Group.objects.get().source == Source.FILE

    @pytest.mark.parametrize(
        ("text", "reason"),
        [("groups: [", "not YAML"), ("groups:\n  - path: []", "line 2"), ("\xff", "no text")],
    )
    def test_names_the_place_and_changes_nothing(self, operator, text, reason):
        answer = self.upload(operator, text)

        assert answer.status_code == 422
        assert reason in answer.text
        assert not Group.objects.exists()

    def test_wants_a_file(self, operator):
        assert operator.post(url("sync_file")).status_code == 422


class TestFailure:
    def test_is_told_in_one_place_only(self, operator):
        SyncRun.ask(by="eve")
        SyncRun.claim(now=timezone.now()).fail(GitLabUnreachable("GitLab failed (503)."))

        assert operator.get(url("sync_progress")).text.count("GitLab failed (503).") == 1
