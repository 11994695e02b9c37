"""Tests for gateway/control/explain.py."""

import pytest
from django.urls import reverse

from tests.factories import FEATURE, make_group, make_member, make_rule


@pytest.fixture
def company(db):
    group = make_group("payments", gitlab_id=7)
    make_member(group, "42")
    make_rule(None)
    make_rule(group, state="off", is_locked=True)


def ask(operator, **question):
    return operator.get(reverse("control:explain"), {"feature": FEATURE, **question}).text


class TestPage:
    def test_asks_for_a_question(self, operator):
        page = operator.get(reverse("control:explain")).text

        assert "Past days can be asked for since" in page
        assert 'id="verdict"' not in page

    def test_shows_the_ladder(self, operator, company):
        page = ask(operator, user="42", place="payments/app")

        assert "Code Completion: off" in page
        assert "group &#x27;payments&#x27; (locked): off" in page
        assert "The ladder of payments" in page
        assert "lies in group" in page

    def test_keeps_the_question_in_the_form(self, operator, company):
        page = ask(operator, user="<b>eve", place="payments")

        assert 'value="&lt;b&gt;eve"' in page
        assert f'value="{FEATURE}" selected' in page

    @pytest.mark.parametrize(
        ("question", "reason"),
        [
            ({"feature": "telepathy"}, "There is no feature"),
            ({"at": "yesterday"}, "The date cannot be read"),
            ({"at": "1999-01-01"}, "Changes are on record only since"),
        ],
    )
    def test_says_what_is_wrong_with_a_question(self, operator, question, reason):
        assert reason in ask(operator, **question)

    @pytest.mark.parametrize("rows", [3, 30])
    def test_takes_the_same_number_of_queries(self, operator, rows, django_assert_num_queries):
        for _ in range(rows):
            make_rule(make_group())
        ask(operator)

        with django_assert_num_queries(10):
            ask(operator, user="42")
