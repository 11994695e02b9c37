"""Tests for features/sync/swap.py; what GitLab's changes do stands in test_run.py."""

import pytest

from features.errors import BadDirectory, TooManyGone
from features.models import Group, Membership, Source
from features.sync import swap
from features.sync.directory import Member, NamedGroup
from models_registry.changes import ConfigChange
from models_registry.configuration import ConfigVersion
from tests.factories import make_api_key, make_group, make_member, make_rule

pytestmark = pytest.mark.django_db


def group(path, gitlab_id=None, *members):
    return NamedGroup(
        path=path, gitlab_id=gitlab_id, members=tuple(Member(user_ref=ref) for ref in members)
    )


def take_over(*groups, source=Source.GITLAB, **wishes):
    return swap.take_over(groups, source=source, **wishes)


class TestTakeOver:
    def test_leaves_what_was_made_by_hand(self):
        mine = make_group("mine")
        make_member(mine, "7")

        take_over(group("theirs", 1))
        take_over(group("others", 2))

        assert set(Group.objects.values_list("path", flat=True)) == {"mine", "others"}
        assert mine.memberships.count() == 1

    def test_adopts_a_group_made_by_hand_that_gitlab_knows_by_its_path(self):
        mine = make_group("payments")
        rule = make_rule(mine)

        take_over(group("payments", 7, "42"))

        mine.refresh_from_db()
        assert (mine.gitlab_id, mine.source) == (7, Source.GITLAB)
        assert rule in mine.rules.all()

    def test_lets_gitlab_s_tree_rule_over_a_parent_chosen_by_hand(self):
        other = make_group("other")
        make_group("payments/core", parent=other)

        take_over(group("payments", 7), group("payments/core", 8))

        assert Group.objects.get(path="payments/core").parent is None

    def test_leaves_a_member_who_was_added_by_hand(self):
        make_member(make_group("payments", gitlab_id=7), "1")

        take_over(group("payments", 7, "1", "2"))
        take_over(group("payments", 7))

        assert [row.user_ref for row in Membership.objects.all()] == ["1"]

    @pytest.mark.parametrize("stand", [make_rule, make_api_key, lambda g: make_member(g, "1")])
    def test_keeps_a_group_that_something_stands_on(self, stand):
        take_over(group("payments", 7), group("research", 8))
        stand(Group.objects.get(path="payments"))

        result = take_over(group("research", 8))

        assert Group.objects.get(path="payments").gone_at is not None
        assert (result.groups_gone, result.groups_deleted) == (1, 0)

    def test_keeps_a_group_that_a_group_by_hand_hangs_on(self):
        take_over(group("payments", 7), group("research", 8))
        make_group("mine", parent=Group.objects.get(path="payments"))

        take_over(group("research", 8))

        assert Group.objects.get(path="payments").gone_at is not None

    def test_refuses_to_move_a_group_onto_one_that_was_made_by_hand(self):
        take_over(group("payments", 7))
        make_group("billing")
        version = ConfigVersion.current()

        with pytest.raises(BadDirectory, match="'billing' is in the way"):
            take_over(group("billing", 7))

        assert Group.objects.filter(path="payments", gitlab_id=7).exists()
        assert ConfigVersion.current() == version

    def test_believes_a_small_loss(self):
        take_over(*(group(f"team-{n}", n + 1) for n in range(9)))

        assert take_over(group("team-0", 1)).groups_deleted == 8

    def test_does_not_believe_a_great_loss(self):
        take_over(*(group(f"team-{n}", n + 1) for n in range(21)))

        with pytest.raises(TooManyGone, match="11 of 21"):
            take_over(*(group(f"team-{n}", n + 1) for n in range(10)))

        take_over(*(group(f"team-{n}", n + 1) for n in range(11)))
        assert Group.objects.count() == 11

    def test_is_one_change_with_one_version(self):
        before = ConfigVersion.current()

        take_over(group("a", 1, "42"), group("b", 2, "42"))

        assert ConfigVersion.current() == before + 1
        changes = ConfigChange.objects.filter(version=before + 1)
        assert sorted(changes.values_list("kind", flat=True)) == [
            *("group", "group", "membership", "membership")
        ]


class TestFileBesideGitLab:
    def test_adds_members_to_a_group_of_gitlab_s_and_changes_nothing_else(self):
        take_over(group("payments", 7, "1"))

        take_over(group("payments", None, "2"), source=Source.FILE)

        found = Group.objects.get()
        assert (found.gitlab_id, found.source) == (7, Source.GITLAB)
        assert set(found.memberships.values_list("user_ref", "source")) == {
            ("1", "gitlab"),
            ("2", "file"),
        }

    def test_takes_away_what_an_earlier_file_brought(self):
        take_over(group("payments", 7, "1"))
        take_over(group("payments", None, "2"), group("extra", None, "3"), source=Source.FILE)

        take_over(group("payments"), source=Source.FILE)

        assert [row.path for row in Group.objects.all()] == ["payments"]
        assert [row.user_ref for row in Membership.objects.all()] == ["1"]

    def test_does_not_rename_a_group_of_gitlab_s(self):
        take_over(group("payments", 7))

        with pytest.raises(BadDirectory, match="which GitLab brought"):
            take_over(group("billing", 7), source=Source.FILE)


class TestMissing:
    def test_names_the_groups_that_a_source_brought_and_does_not_name_now(self):
        take_over(group("a", 1), group("b", 2))
        make_group("mine", gitlab_id=3)

        assert swap.missing((group("b", 2),), source=Source.GITLAB) == [1]
