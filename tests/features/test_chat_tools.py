"""Promises of features/chat_tools.py."""

import pytest

from features import chat_tools
from features.chat_tools import NO_RELEASE, TOOLS

NAMES = [tool.name for tool in TOOLS]


def offered(*scopes, release=(18, 9)):
    """Return the names of what is offered to a token with these scopes."""
    tools = chat_tools.offered(can=lambda wanted: bool(set(wanted) & set(scopes)), release=release)
    return [tool.name for tool in tools]


def everything(_):
    return True


class TestTools:
    def test_are_the_ones_that_gitlab_runs(self):
        # gitlab-client.md 1.8
        assert set(NAMES) == {
            "issue_reader",
            "epic_reader",
            "merge_request_reader",
            "commit_reader",
            "build_reader",
            "work_item_reader",
            "gitlab_documentation",
        }

    def test_have_a_scope_and_a_resource_each(self):
        assert len({tool.unit_primitive for tool in TOOLS}) == len(TOOLS)
        assert len({tool.resources for tool in TOOLS}) == len(TOOLS)


class TestOffered:
    def test_goes_by_the_scopes(self):
        assert offered("ask_epic", "documentation_search") == [
            "epic_reader",
            "gitlab_documentation",
        ]

    def test_offers_nothing_without_a_scope(self):
        assert offered() == []

    @pytest.mark.parametrize(
        ("release", "missing"),
        [
            ((17, 5), set()),
            ((17, 4), {"build_reader", "commit_reader", "merge_request_reader"}),
            (NO_RELEASE, {"build_reader", "commit_reader", "merge_request_reader"}),
        ],
    )
    def test_goes_by_the_release(self, release, missing):
        # Recordings v2chat-version-old and v2chat-version-none.
        found = chat_tools.offered(can=everything, release=release)

        assert {tool.name for tool in found} == set(NAMES) - missing


class TestDescribed:
    def test_says_what_each_reads_and_needs(self):
        text = chat_tools.described(TOOLS[:1])

        assert text == (
            "- issue_reader reads one issue: its text, comments, state, labels, people and dates. "
            "Action Input: the reference, number or address that the user gave, or the user's "
            'words for it, such as: this issue. For "Who works on #12?" it is: #12'
        )

    def test_is_empty_where_there_is_none(self):
        assert chat_tools.described(()) == ""


class TestOutOfReach:
    def test_is_what_the_other_tools_would_have_read(self):
        few = [tool for tool in TOOLS if tool.name not in ("build_reader", "commit_reader")]

        assert chat_tools.out_of_reach(few) == ("commits", "CI/CD jobs")
        assert chat_tools.out_of_reach(TOOLS) == ()
