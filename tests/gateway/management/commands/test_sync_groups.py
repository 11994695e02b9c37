"""Tests for gateway/management/commands/sync_groups.py."""

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from features.models import Group, Membership
from features.sync.state import GitLabAccess, SyncRun
from models_registry.changes import ConfigChange
from models_registry.fields import clear_text

pytestmark = pytest.mark.django_db
FILE = "groups:\n  - path: payments\n    members: [42]\n"


@pytest.fixture
def token(gitlab, settings, monkeypatch):
    gitlab.add_group("payments", members={42: "eve"})
    settings.GATEWAY_GITLAB_URL = gitlab.url
    monkeypatch.setenv("GITLAB_TOKEN", gitlab.api_token)


class TestFromGitLab:
    def test_stores_the_token_and_takes_over(self, token, gitlab, capsys):
        call_command("sync_groups", token="env:GITLAB_TOKEN", every=60)

        said = capsys.readouterr().out
        assert "Taken over: 1 groups added, 1 members added." in said
        assert "Reading members" in said
        assert clear_text(GitLabAccess.get().token) == gitlab.api_token
        assert GitLabAccess.get().every_minutes == 60
        assert ConfigChange.objects.filter(actor__endswith="(command line)").exists()

    def test_says_that_nothing_has_changed(self, token, capsys):
        call_command("sync_groups", token="env:GITLAB_TOKEN")

        call_command("sync_groups")

        assert "nothing has changed" in capsys.readouterr().out

    def test_says_why_nothing_was_changed(self, token, gitlab):
        gitlab.fail("garbage")

        with pytest.raises(CommandError, match=r"Nothing was changed\. GitLab's answer"):
            call_command("sync_groups", token="env:GITLAB_TOKEN")

    def test_says_that_another_one_is_under_way(self, token):
        SyncRun.ask(by="eve")
        SyncRun.claim(now=timezone.now())

        with pytest.raises(CommandError, match="eve asked for is under way"):
            call_command("sync_groups")

    def test_takes_no_token_in_clear(self, token, gitlab):
        with pytest.raises(CommandError, match="must be env:NAME or file:/path") as refusal:
            call_command("sync_groups", token=gitlab.api_token)

        assert gitlab.api_token not in str(refusal.value)


class TestFromFile:
    def test_takes_over(self, tmp_path, capsys):
        path = tmp_path / "groups.yml"
        path.write_text(FILE)

        call_command("sync_groups", file=path)

        assert Membership.objects.get().group == Group.objects.get(path="payments")
        assert "1 groups added" in capsys.readouterr().out

    @pytest.mark.parametrize("text", ["groups: [", "groups:\n  - path: a\n  - path: a", "\xff"])
    def test_names_the_place_and_changes_nothing(self, tmp_path, text):
        path = tmp_path / "groups.yml"
        path.write_text(text, encoding="latin-1")

        with pytest.raises(CommandError, match=r"groups\.yml"):
            call_command("sync_groups", file=path)

        assert not Group.objects.exists()

    def test_says_that_there_is_no_such_file(self, tmp_path):
        with pytest.raises(CommandError, match="cannot be read"):
            call_command("sync_groups", file=tmp_path / "none.yml")
