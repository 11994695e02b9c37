"""Tests for features/sync/directory.py."""

import pytest

from features.errors import BadDirectory, GitLabNonsense
from features.sync import directory
from features.sync.directory import Member, NamedGroup


def row(pk, path, parent_id=None):
    return {"id": pk, "full_path": path, "parent_id": parent_id}


class TestCheck:
    @pytest.mark.parametrize(
        "second", [NamedGroup(path="a", gitlab_id=2), NamedGroup(path="b", gitlab_id=1)]
    )
    def test_refuses_two_groups_with_the_same_name_or_id(self, second):
        with pytest.raises(BadDirectory, match="Two groups have the"):
            directory.check((NamedGroup(path="a", gitlab_id=1), second))

    def test_lets_many_groups_have_no_id(self):
        groups = tuple(NamedGroup(path=path, gitlab_id=None) for path in "abc")

        assert directory.check(groups) == groups


class TestFromGitLab:
    def test_puts_groups_and_members_together(self):
        found = directory.from_gitlab([row(1, "a")], {1: [["42", "eve"]]})

        member = Member(user_ref="42", username="eve")
        assert found == (NamedGroup(path="a", gitlab_id=1, members=(member,)),)

    def test_leaves_out_a_group_that_was_gone_when_its_members_were_read(self):
        assert directory.from_gitlab([row(1, "a")], {1: None}) == ()

    @pytest.mark.parametrize(
        "rows",
        [
            [row(1, "a", 2), row(2, "a/b", 1)],
            [row(1, "a", 1)],
            [row(1, "a"), row(2, "ab", 1)],
        ],
        ids=["circle", "own parent", "outside its parent"],
    )
    def test_refuses_a_tree_that_is_none(self, rows):
        with pytest.raises(GitLabNonsense, match="their paths say otherwise"):
            directory.from_gitlab(rows, {1: [], 2: []})

    def test_takes_a_group_whose_parent_the_token_may_not_see(self):
        assert directory.from_gitlab([row(2, "a/b", 1)], {2: []})[0].path == "a/b"
