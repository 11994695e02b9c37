"""Tests for features/sync/run.py: what a sync with GitLab does to the tables."""

import pytest
from django.utils import timezone

from features import policy, snapshot
from features.models import GitLabUser, Group, Membership
from features.sync import run as runs
from features.sync.state import GitLabAccess, RunState, SyncPage, SyncRun
from models_registry.changes import ConfigChange
from models_registry.configuration import ConfigVersion
from tests.factories import FEATURE, make_rule

pytestmark = pytest.mark.django_db

PLACES = [
    ("payments", "42"),
    ("payments", "43"),
    ("payments/core", "44"),
    ("research", "42"),
    ("research", "45"),
]


def places():
    return sorted(Membership.objects.values_list("group__path", "user_ref"))


class TestPerform:
    def test_takes_over_groups_and_their_direct_members(self, sync):
        done = sync()

        assert (done.state, done.error_detail) == (RunState.SUCCEEDED, "")
        assert dict(Group.objects.values_list("path", "gitlab_id")) == {
            "payments": 7,
            "payments/core": 8,
            "research": 9,
        }
        assert places() == PLACES
        assert done.result["groups_added"] == 3
        assert done.result["members_added"] == 5

    def test_makes_the_tree_that_policy_walks(self, sync):
        sync()
        make_rule(Group.objects.get(path="payments"), state="on")

        config = snapshot.refresh()

        groups = policy.subject_groups(
            config, api_key_group_id=None, namespace_ids=(), user_refs=("44",)
        )
        assert policy.explain(config, feature=FEATURE, group_ids=groups).is_allowed

    def test_reads_every_page(self, sync, gitlab_groups):
        for number in range(250):
            gitlab_groups.add_group(f"team-{number}")
        gitlab_groups.members[9] = {pk: f"user-{pk}" for pk in range(1, 231)}

        done = sync()

        assert Group.objects.count() == 253
        assert Membership.objects.filter(group__path="research").count() == 230
        assert (done.groups_found, done.groups_read, done.members_found) == (253, 253, 233)

    def test_writes_only_what_changed(self, sync, gitlab_groups):
        sync()
        ids = dict(Membership.objects.values_list("user_ref", "pk"))
        gitlab_groups.members[8][46] = "ada"
        lines = ConfigChange.objects.count()

        done = sync()

        assert done.result == dict.fromkeys(done.result, 0) | {"members_added": 1}
        assert ids.items() <= dict(Membership.objects.values_list("user_ref", "pk")).items()
        assert ConfigChange.objects.count() == lines + 1

    def test_leaves_the_version_where_nothing_changed(self, sync):
        sync()
        version = ConfigVersion.current()

        sync()

        assert ConfigVersion.current() == version

    def test_names_who_asked_in_the_history(self, sync):
        sync()

        change = ConfigChange.objects.filter(kind="membership").first()
        assert change.actor == "sync with GitLab, asked by eve"

    def test_keeps_the_names_of_users_for_people_who_look(self, sync, gitlab_groups):
        sync()
        gitlab_groups.members[9] = {45: "noor-2"}
        gitlab_groups.members[7] = {43: "adam"}

        sync()

        assert dict(GitLabUser.objects.values_list("user_ref", "username")) == {
            "43": "adam",
            "44": "kai",
            "45": "noor-2",
        }

    def test_does_nothing_unless_a_run_waits(self, gitlab_groups):
        assert runs.perform(now=timezone.now()) is None

    def test_leaves_a_run_to_the_process_that_has_it(self, gitlab_groups):
        SyncRun.ask(by="eve")
        SyncRun.claim(now=timezone.now())

        assert runs.perform(now=timezone.now()) is None
        assert gitlab_groups.asked("/api/") == 0


class TestWhatGitLabDoesNotSay:
    """The last good state stays, and the run says since when and why."""

    @pytest.mark.parametrize(
        ("fault", "code", "words"),
        [
            ("down", "gitlab_unreachable", "cannot be reached"),
            ("error", "gitlab_unreachable", "failed (503)"),
            ("limited", "gitlab_unreachable", "limits how often"),
            ("garbage", "gitlab_nonsense", "not JSON"),
            ("wrong", "gitlab_nonsense", "no group"),
            ("blind", "gitlab_nonsense", "no group at all"),
            ("endless", "gitlab_nonsense", "no sensible next page"),
            ("redirect", "gitlab_nonsense", "redirect"),
        ],
    )
    def test_changes_nothing(self, sync, gitlab_groups, fault, code, words):
        sync()
        gitlab_groups.fail(fault)

        done = sync()

        assert (done.state, done.error_code) == (RunState.FAILED, code)
        assert words in done.error_detail
        assert places() == PLACES
        assert SyncRun.failing_since() == done.ended_at

    @pytest.mark.parametrize("fault", ["error", "garbage", "wrong"])
    def test_changes_nothing_either_when_it_stops_in_the_middle(self, sync, gitlab_groups, fault):
        sync()
        gitlab_groups.add_group("new", members={50: "new"})
        gitlab_groups.members[7] = {}
        gitlab_groups.fail(fault, at="/groups/9/members")

        assert sync().state == RunState.FAILED
        assert places() == PLACES
        assert not Group.objects.filter(path="new").exists()

    def test_is_asked_again_a_little_later(self, sync, gitlab_groups, waited):
        gitlab_groups.fail("error", times=2, at="/groups/9/members")

        assert sync().state == RunState.SUCCEEDED
        assert waited == [1.0, 3.0]

    def test_is_waited_for_as_long_as_gitlab_asks(self, sync, gitlab_groups, waited):
        gitlab_groups.fail("limited", times=1)

        assert sync().state == RunState.SUCCEEDED
        assert waited == [7.0]

    def test_is_asked_no_more_than_four_times(self, sync, gitlab_groups, waited):
        gitlab_groups.fail("error")

        sync()

        assert gitlab_groups.asked("/groups") == 4
        assert waited == [1.0, 3.0, 9.0]

    @pytest.mark.parametrize("token", ["", "glpat-wrong"])
    def test_is_told_apart_from_a_wrong_token(self, sync, gitlab_groups, token):
        GitLabAccess.get().decide(every_minutes=None, token=token)

        done = sync()

        assert done.error_code == ("gitlab_refused" if token else "sync_not_configured")
        assert gitlab_groups.asked("/api/") == bool(token)

    def test_needs_an_address(self, sync, settings):
        settings.GATEWAY_GITLAB_URL = ""

        assert sync().error_code == "sync_not_configured"

    def test_is_read_only_where_egress_is_allowed(self, sync, settings):
        settings.GATEWAY_EGRESS_ALLOW = ["10.0.0.0/8"]

        assert "GATEWAY_EGRESS_ALLOW" in sync().error_detail

    def test_repeats_no_token_and_no_address(self, sync, gitlab_groups, caplog):
        for fault in ("down", "error", "garbage", "wrong", "redirect"):
            gitlab_groups.fail(fault)
            done = sync()
            said = caplog.text + done.error_detail
            assert gitlab_groups.api_token not in said
            assert str(gitlab_groups.port) not in said

    def test_of_a_tree_that_contradicts_itself_is_refused(self, sync, gitlab_groups):
        gitlab_groups.groups[7]["parent_id"] = 8
        gitlab_groups.groups[8]["parent_id"] = 7

        done = sync()

        assert done.error_code == "gitlab_nonsense"
        assert "their paths say otherwise" in done.error_detail

    def test_ends_the_failing_when_it_is_good_again(self, sync, gitlab_groups):
        gitlab_groups.fail("error")
        sync()
        gitlab_groups.recover()

        sync()

        assert SyncRun.failing_since() is None


class TestResuming:
    def test_goes_on_where_a_run_broke_off(self, sync, gitlab_groups):
        gitlab_groups.fail("garbage", at="/groups/9/members")
        sync()
        gitlab_groups.recover()
        gitlab_groups.requests.clear()

        done = sync()

        assert done.state == RunState.SUCCEEDED
        assert places() == PLACES
        assert gitlab_groups.asked("/api/") == 1  # the one that failed

    def test_begins_anew_after_an_hour(self, sync, gitlab_groups):
        gitlab_groups.fail("garbage", at="/groups/9/members")
        sync()
        gitlab_groups.recover()
        SyncPage.objects.update(read_at=timezone.now() - timezone.timedelta(hours=2))
        gitlab_groups.requests.clear()

        sync()

        assert gitlab_groups.asked("/api/") == 4

    def test_keeps_no_page_after_a_good_run(self, sync):
        sync()

        assert not SyncPage.objects.exists()

    def test_takes_over_from_a_process_that_died(self, gitlab_groups):
        SyncRun.ask(by="eve")
        SyncRun.claim(now=timezone.now() - timezone.timedelta(minutes=10))

        done = runs.perform(now=timezone.now())

        assert done.state == RunState.SUCCEEDED

    def test_stops_when_it_is_told_to(self, sync, gitlab_groups, monkeypatch):
        keep = SyncPage.keep

        def keep_and_stop(key, rows):
            keep(key, rows)
            SyncRun.stop()

        monkeypatch.setattr(SyncPage, "keep", keep_and_stop)

        done = sync()

        assert done.state == RunState.STOPPED
        assert not Group.objects.exists()


class TestGroupsThatChange:
    def test_keep_their_rules_when_they_move(self, sync, gitlab_groups):
        sync()
        rule = make_rule(Group.objects.get(path="payments/core"))
        gitlab_groups.move_group(8, "research/core")

        sync()

        rule.refresh_from_db()
        assert rule.group.path == "research/core"

    def test_may_change_places(self, sync, gitlab_groups):
        sync()
        gitlab_groups.groups[7]["full_path"] = "research"
        gitlab_groups.groups[9]["full_path"] = "payments"
        gitlab_groups.remove_group(8)

        sync()

        assert dict(Group.objects.values_list("gitlab_id", "path")) == {
            7: "research",
            9: "payments",
        }

    def test_are_deleted_when_they_are_gone_and_nothing_stands_on_them(self, sync, gitlab_groups):
        sync()
        gitlab_groups.remove_group(9)

        done = sync()

        assert not Group.objects.filter(path="research").exists()
        assert done.result["groups_deleted"] == 1

    def test_stay_in_sight_while_a_rule_stands_on_them(self, sync, gitlab_groups):
        sync()
        make_rule(Group.objects.get(path="research"))
        gitlab_groups.remove_group(9)

        done = sync()

        group = Group.objects.get(path="research")
        assert group.gone_at is not None
        assert not group.memberships.exists()
        assert done.result["groups_gone"] == 1

    def test_come_back_with_their_rules(self, sync, gitlab_groups):
        sync()
        make_rule(Group.objects.get(path="research"))
        gitlab_groups.remove_group(9)
        sync()
        gitlab_groups.add_group("research", gitlab_id=9, members={45: "noor"})

        sync()

        group = Group.objects.get(path="research")
        assert (group.gone_at, group.rules.count(), group.memberships.count()) == (None, 1, 1)

    def test_do_not_inherit_the_rules_of_another_group_that_had_their_path(
        self, sync, gitlab_groups
    ):
        sync()
        make_rule(Group.objects.get(path="research"))
        gitlab_groups.remove_group(9)
        gitlab_groups.add_group("research", gitlab_id=10, members={66: "mallory"})

        sync()

        assert not Group.objects.get(path="research").rules.exists()
        assert Group.objects.get(gitlab_id=9).path == "research (was 9)"

    def test_are_not_gone_because_the_list_missed_them(self, sync, gitlab_groups, monkeypatch):
        sync()
        real = runs._Reading.groups
        monkeypatch.setattr(
            runs._Reading, "groups", lambda self: [g for g in real(self) if g["id"] != 9]
        )

        sync()

        assert Group.objects.filter(path="research", gone_at=None).exists()
        assert places() == PLACES

    def test_are_not_believed_to_be_gone_if_most_are(self, sync, gitlab_groups):
        for number in range(30):
            gitlab_groups.add_group(f"team-{number}")
        sync()
        for pk in list(gitlab_groups.groups)[3:]:
            gitlab_groups.remove_group(pk)

        refused = sync()
        assert refused.error_code == "too_many_gone"
        assert Group.objects.count() == 33

        assert sync(accepts_loss=True).state == RunState.SUCCEEDED
        assert Group.objects.count() == 3
