"""Tests for features/sync/gitlab.py; what a failure does to a sync stands in test_run.py."""

import pytest

from features.errors import GitLabNonsense, GitLabUnreachable
from features.sync.gitlab import GitLabApi


@pytest.fixture
def api(gitlab):
    gitlab.add_group("a", gitlab_id=7, members={42: "eve"})
    gitlab.add_group("a/b", gitlab_id=8, members={43: "adam"})
    return GitLabApi(gitlab.url + "/", gitlab.api_token, wait=lambda seconds: None)


class TestGroups:
    def test_come_with_what_is_needed_of_them(self, api):
        page = api.groups(1)

        assert page.rows == [
            {"id": 7, "full_path": "a", "parent_id": None},
            {"id": 8, "full_path": "a/b", "parent_id": 7},
        ]
        assert (page.next_page, page.total) == (None, 2)

    def test_come_in_pages_of_a_hundred(self, api, gitlab):
        for number in range(150):
            gitlab.add_group(f"team-{number}")

        first, second = api.groups(1), api.groups(2)

        assert (len(first.rows), first.next_page) == (100, 2)
        assert (len(second.rows), second.next_page) == (52, None)

    @pytest.mark.parametrize(
        "row",
        [
            "no group",
            {"id": True, "full_path": "a"},
            {"id": -1, "full_path": "a"},
            {"id": 2**63, "full_path": "a"},
            {"id": 7, "full_path": ""},
            {"id": 7, "full_path": "a" * 256},
            {"id": 7, "full_path": "a\x00b"},
            {"id": 7, "full_path": "/a/"},
            {"id": 7, "full_path": "a", "parent_id": "8"},
        ],
    )
    def test_are_refused_if_one_is_none(self, api, gitlab, row):
        gitlab.groups[7] = row

        with pytest.raises(GitLabNonsense, match="page 1"):
            api.groups(1)

    def test_are_not_looked_for_where_there_is_no_gitlab(self, backend):
        with pytest.raises((GitLabNonsense, GitLabUnreachable)):
            GitLabApi(backend.url, "t", wait=lambda seconds: None).groups(1)


class TestGroup:
    def test_is_found_by_its_id(self, api):
        assert api.group(8) == {"id": 8, "full_path": "a/b", "parent_id": 7}

    def test_is_none_if_it_is_gone(self, api):
        assert api.group(99) is None


class TestMembers:
    def test_are_direct_ones_only(self, api, gitlab):
        assert api.members(8) == [["43", "adam"]]
        assert gitlab.all_members(8) == {42: "eve", 43: "adam"}

    def test_are_none_of_a_group_that_is_gone(self, api):
        assert api.members(99) is None

    def test_leave_out_those_with_minimal_access(self, api, gitlab):
        gitlab.members[8][44] = "seat-only"
        gitlab.access_levels[44] = 5

        assert api.members(8) == [["43", "adam"]]

    def test_are_read_again_when_the_list_changed_meanwhile(self, api, gitlab):
        gitlab.members[8] = {pk: f"user-{pk}" for pk in range(1, 151)}
        answer = api._all_members
        asked = []

        def lose_one_the_first_time(pk):
            asked.append(pk)
            rows, total = answer(pk)
            return (dict(list(rows.items())[1:]), total) if len(asked) == 1 else (rows, total)

        api._all_members = lose_one_the_first_time

        assert len(api.members(8)) == 150
        assert len(asked) == 2

    @pytest.mark.parametrize("members", [{42: None}, {0: "eve"}])
    def test_are_refused_if_one_is_none(self, api, gitlab, members):
        gitlab.members[8] = members

        with pytest.raises(GitLabNonsense, match="members of group 8, page 1"):
            api.members(8)

    def test_keep_names_printable(self, api, gitlab):
        gitlab.members[8] = {43: "adam\u202e\n"}

        assert api.members(8) == [["43", "adam"]]
