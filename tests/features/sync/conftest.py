"""GitLab with a few groups, and Enclave allowed to read them."""

import pytest
from django.utils import timezone

from features.sync import run
from features.sync.state import GitLabAccess, SyncRun


@pytest.fixture
def gitlab_groups(gitlab, settings, db):
    """A GitLab with three groups and four users, whose token Enclave holds."""
    gitlab.add_group("payments", gitlab_id=7, members={42: "eve", 43: "adam"})
    gitlab.add_group("payments/core", gitlab_id=8, members={44: "kai"})
    gitlab.add_group("research", gitlab_id=9, members={42: "eve", 45: "noor"})
    settings.GATEWAY_GITLAB_URL = gitlab.url
    GitLabAccess.get().decide(every_minutes=None, token=gitlab.api_token)
    return gitlab


@pytest.fixture
def waited():
    """The seconds that a sync waited for GitLab."""
    return []


@pytest.fixture
def sync(gitlab_groups, waited):
    """A function that asks for a sync, does it, and returns the run."""

    def perform(**wishes):
        SyncRun.ask(by="eve", **wishes)
        done = run.perform(now=timezone.now(), wait=waited.append)
        done.refresh_from_db()
        return done

    return perform
