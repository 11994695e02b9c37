"""Tests for features/sync/file.py."""

import pytest

from features.errors import BadDirectory
from features.sync import file
from features.sync.directory import Member, NamedGroup


class TestRead:
    def test_finds_groups_and_members(self):
        text = """
groups:
  - path: payments/core
    gitlab_id: 7
    members: [42, "Vz9kYx+c=", {id: 43, username: eve}]
  - path: /research/
"""
        assert file.read(text) == (
            NamedGroup(
                path="payments/core",
                gitlab_id=7,
                members=(
                    Member(user_ref="42"),
                    Member(user_ref="Vz9kYx+c="),
                    Member(user_ref="43", username="eve"),
                ),
            ),
            NamedGroup(path="research", gitlab_id=None),
        )

    def test_reads_json_too(self):
        assert file.read('{"groups": [{"path": "a", "members": []}]}')[0].path == "a"

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "line 1: the file is empty"),
            ("groups: []", "The file names no group."),
            ("- a", "line 1: the file must be a mapping"),
            ("groupes: []", "line 1: 'groupes' is not known here; known are: groups"),
            ("groups:\n  - path: a\n  - gitlab_id: 7", "line 3: a group has no path"),
            ("groups:\n  - path: a\n    path: b", "line 3: 'path' stands here a second time"),
            ("groups:\n  - path: a\n  - path: a", "line 3: a group has the same 'a' as the one in"),
            ("groups:\n  - {path: a, gitlab_id: 7}\n  - {path: b, gitlab_id: 7}", "line 3: "),
            ("groups:\n  - path: a\n    gitlab_id: seven", "line 3: gitlab_id must be a whole"),
            ("groups:\n  - path: a\n    members: [{username: x}]", "line 3: a member has no id"),
            ("groups:\n  - path: ''", "line 2: path is empty"),
            ("groups:\n  - path: [a]", "line 2: path must be a single value"),
            ("groups:\n  - path: a\n   members: []", "this is not YAML"),
        ],
    )
    def test_names_the_place_and_the_reason(self, text, reason):
        with pytest.raises(BadDirectory) as refusal:
            file.read(text)

        assert reason in str(refusal.value)

    def test_names_every_place(self):
        with pytest.raises(BadDirectory) as refusal:
            file.read("groups:\n  - gitlab_id: 7\n  - path: a\n  - members: [1]")

        assert [line.partition(":")[0] for line in str(refusal.value).splitlines()] == [
            "line 2",
            "line 4",
        ]
