"""Which version a constraint means. The cases of the reference are recordings prompts-version-*."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompts.errors import NoSuchVersion
from prompts.versions import resolve

AVAILABLE = ("0.0.1-dev", "1.0.0", "1.0.1", "1.1.0-dev", "1.1.0")
MANY = ("0.9.0", *AVAILABLE, "1.10.0", "2.0.0", "2.0.1", "2.1.0-rc1")


class TestResolve:
    @pytest.mark.parametrize("asked", [None, "", "^1.0.0"])
    def test_asks_for_the_newest_of_version_1_where_nothing_is_said(self, asked):
        assert resolve(asked, available=MANY) == "1.10.0"

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ("1.0.0", "1.0.0"),
            ("1.0", "1.0.0"),
            ("v1.0.1", "1.0.1"),
            ("==1.0.1", "1.0.1"),
            ("= 1.0.1", "1.0.1"),
            ("1.1.0-dev", "1.1.0-dev"),
            ("1.1.0.dev0", "1.1.0-dev"),
            ("1.1.0dev", "1.1.0-dev"),
            ("2.1.0-RC.1", "2.1.0-rc1"),
            ("0.0.1-dev", "0.0.1-dev"),
        ],
    )
    def test_finds_an_exact_version_also_before_its_release(self, asked, found):
        assert resolve(asked, available=MANY) == found

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ("^1.0.0", "1.10.0"),
            ("^1.1", "1.10.0"),
            ("^1", "1.10.0"),
            ("^2.0.0", "2.0.1"),
            ("^2.0.1", "2.0.1"),
            ("^0.9.0", "0.9.0"),
            ("~1.0", "1.0.1"),
            ("~1.0.0", "1.0.1"),
            ("~1", "1.10.0"),
            ("~=1.0", "1.10.0"),
            ("~=1.0.0", "1.0.1"),
            ("1.*", "1.10.0"),
            ("==1.0.*", "1.0.1"),
            ("*", "2.0.1"),
            (">=1.0.0,<1.1.0", "1.0.1"),
            (">=1.0.0 <1.1.0", "1.0.1"),
            (">= 1.0.0, < 1.1.0", "1.0.1"),
            (">1.0.1,<2", "1.10.0"),
            ("<=1.0", "1.0.0"),
            ("^1,!=1.10.0", "1.1.0"),
            ("!=2.*", "1.10.0"),
            ("^9 || ^1.0", "1.10.0"),
            ("~1.0||^2", "2.0.1"),
        ],
    )
    def test_finds_the_highest_of_a_range(self, asked, found):
        assert resolve(asked, available=MANY) == found

    @pytest.mark.parametrize("asked", [">=0.0.1,<1", "^2.1.0-rc1", "~2.1", ">2.0.1", "0.0.*"])
    def test_never_finds_by_a_range_what_is_not_released(self, asked):
        with pytest.raises(NoSuchVersion, match="No version matching"):
            resolve(asked, available=("0.0.1-dev", "2.1.0-rc1"))

    @pytest.mark.parametrize("asked", ["7.7.7", "^9.0.0", "1.0.0-alpha", "!=1.0.*,~1.0"])
    def test_names_the_versions_there_are(self, asked):
        with pytest.raises(NoSuchVersion) as refused:
            resolve(asked, available=AVAILABLE)

        # prompts-version-nomatch
        assert str(refused.value) == (
            f"No version matching '{asked}' (available: "
            "['0.0.1-dev', '1.0.0', '1.0.1', '1.1.0', '1.1.0-dev'])"
        )

    @pytest.mark.parametrize(
        "asked",
        ["banana", "^^1", "^", " ", "1.0.0 banana", "^1.0.0,", ",", "||", "^1||", "1 .0", "1.0.0;"],
    )
    def test_says_that_it_is_no_version(self, asked):
        with pytest.raises(NoSuchVersion) as refused:
            resolve(asked, available=AVAILABLE)

        # prompts-version-bad, prompts-version-bad2
        assert str(refused.value) == (
            f"Version '{asked}' is not a valid PEP 440 constraint and no exact match found "
            "(available: ['0.0.1-dev', '1.0.0', '1.0.1', '1.1.0', '1.1.0-dev'])"
        )

    @settings(max_examples=500, deadline=None)
    @given(st.text(max_size=40) | st.text("0123456789.^~=<>!*,| vdeva-", max_size=40))
    def test_finds_a_version_or_says_that_there_is_none(self, asked):
        try:
            found = resolve(asked, available=MANY)
        except NoSuchVersion:
            return
        assert found in MANY

    @pytest.mark.parametrize("unit", [" ", "1.", "1,", "^1||", "-", "1 "])
    def test_takes_linear_time_on_text_made_to_backtrack(self, unit):
        started = time.perf_counter()
        with pytest.raises(NoSuchVersion):
            resolve(unit * 2_000 + "!", available=AVAILABLE)

        assert time.perf_counter() - started < 1
