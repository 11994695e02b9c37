"""Promises of gateway/audit/criteria.py."""

from datetime import UTC, datetime

import pytest

from gateway.audit.criteria import WORDS, Criteria, UnreadableCriteria

EVERYTHING = {
    "opened_at_from_0": "2026-11-22",
    "opened_at_from_1": "12:00:01",
    "opened_at_to_0": "2026-11-23",
    **{name: f"a {name}" for name in ("q", "words", "state", "cause", "feature", "endpoint")},
    **{name: f"a {name}" for name in ("kind", "user", "key", "group", "model")},
    "ms_from": "0.5",
    "ms_to": "12000",
    "tokens_from": "1",
    "tokens_to": "1000000",
}


class TestCriteria:
    def test_are_what_the_address_says(self):
        found = Criteria.from_query(EVERYTHING)

        assert found.since == datetime(2026, 11, 22, 12, 0, 1, tzinfo=UTC)
        assert found.until == datetime(2026, 11, 23, 23, 59, 59, 999999, tzinfo=UTC)
        assert (found.model, found.ms_from, found.tokens_to) == ("a model", 0.5, 1e6)

    def test_survive_the_way_through_an_address(self):
        found = Criteria.from_query(EVERYTHING)

        assert Criteria.from_query(found.as_query()) == found

    def test_are_none_where_nothing_is_typed(self):
        assert Criteria.from_query({"user": "  ", "ms_from": " ", "by": "x"}) == Criteria()
        assert Criteria().as_query() == {}

    def test_say_each_in_words(self):
        told = Criteria.from_query(EVERYTHING).in_words()

        assert [name for name, _ in told] == list(WORDS.values())
        assert ("opened from", "2026-11-22 12:00:01") in told
        assert ("took at least (ms)", "0.5") in told

    @pytest.mark.parametrize(
        "query",
        [
            {"opened_at_from_0": "yesterday"},
            {"opened_at_from_1": "12:00:00"},
            {"opened_at_to_0": "2026-11-23", "opened_at_to_1": "noon"},
            {"ms_from": "soon"},
            {"ms_from": "-1"},
            {"tokens_to": "nan"},
            {"user": "x" * 256},
        ],
    )
    def test_that_cannot_be_read_are_refused_with_a_sentence(self, query):
        with pytest.raises(UnreadableCriteria, match=r"^(The|A) .*"):
            Criteria.from_query(query)
