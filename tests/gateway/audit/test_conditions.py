"""Promises of gateway/audit/conditions.py; what each finds is tested through the list."""

from dataclasses import fields, replace

import pytest

from gateway.audit import conditions
from gateway.audit.criteria import Criteria
from gateway.ids import new_id
from tests.gateway.audit.conftest import make_record

ALONE = {
    **dict.fromkeys(("q", "state", "cause", "feature", "endpoint", "kind"), "x"),
    **dict.fromkeys(("user", "key", "group", "model"), "x"),
    **dict.fromkeys(("ms_from", "ms_to", "tokens_from", "tokens_to"), 1.0),
}


class TestConditions:
    def test_there_is_one_for_every_filter(self):
        others = {"since", "until", "words"}

        assert {field.name for field in fields(Criteria)} - others == set(ALONE)
        for name, value in ALONE.items():
            assert len(conditions.conditions(Criteria(**{name: value}))) == 1

    @pytest.mark.parametrize("name", ALONE)
    def test_are_all_asked_for_whichever_index_is_walked_along(self, name):
        given = Criteria(**{name: ALONE[name], "endpoint": "y"})

        arms, rest = conditions.arms(given)

        columns = {column for condition in (*arms, *rest) for column in condition.columns}
        asked = {column for one in conditions.conditions(given) for column in one.columns}
        assert columns == asked
        assert "endpoint" in {column for condition in rest for column in condition.columns}

    def test_hold_their_values_apart_from_the_sql(self):
        given = Criteria(**{**ALONE, "group": "'; DROP TABLE x; --/"})

        assert "DROP" not in "".join(c.sql for c in conditions.conditions(given))


@pytest.mark.django_db
class TestWhichHold:
    def test_tells_for_each_whether_a_record_fulfils_it(self, django_assert_num_queries):
        record = make_record(group_path="payments/core", model_name="m", total_ms=250)
        fits = Criteria(group="payments/", model="m", ms_to=250.0, since=record.opened_at)
        long_ago = record.opened_at.replace(year=2020)
        asked = [fits, replace(fits, model="n"), replace(fits, until=long_ago), Criteria()]

        with django_assert_num_queries(1):
            assert conditions.which_hold(asked, record.pk) == [True, False, False, True]
        assert conditions.which_hold([fits], new_id()) == [False]
        assert conditions.which_hold([], record.pk) == []
