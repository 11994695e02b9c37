"""Tests for gateway/control/matrix.py; what its script does stands in tests/browser."""

import json
import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from features import catalog
from features.models import FeatureRule
from gateway.control import matrix
from models_registry.changes import ConfigChange
from tests.factories import (
    FEATURE,
    make_api_key,
    make_group,
    make_member,
    make_model,
    make_rule,
)
from tests.gateway.control.test_rehearsal import record

LABEL = catalog.FEATURES[FEATURE].label


def url(name="matrix"):
    return reverse(f"control:{name}")


def label_of(page, place, feature=LABEL):
    """Return what a cell says of itself."""
    (label,) = re.findall(rf'aria-label="{re.escape(place)}, {feature}: ([^"]*)"', page)
    return label.replace("&#x27;", "'")


def somebody(*permissions):
    """Return a client of a person with these permissions and no others."""
    person = User.objects.create_user("eve", is_staff=True)
    for name in permissions:
        app, _, code = name.partition(".")
        found = Permission.objects.get(content_type__app_label=app, codename=code)
        person.user_permissions.add(found)
    client = Client()
    client.force_login(person)
    return client


def cell(group, rule, *, was=None, feature=FEATURE):
    return {"group": group and group.pk, "feature": feature, "rule": rule, "was": was}


def on(**facts):
    return {"state": "on", "locked": False, "model": None, **facts}


def post(client, name, cells):
    return client.post(url(name), json.dumps(cells), content_type="application/json")


class TestPage:
    def test_has_a_column_for_each_feature_that_a_rule_can_switch(self, operator):
        page = operator.get(url()).text

        for slug, label in catalog.choices():
            assert f'data-feature="{slug}"' in page
            assert escape(label) in page

    def test_shows_own_rules_apart_from_inherited_ones(self, operator):
        make_rule(None, model=make_model(name="house"))
        make_rule(make_group("payments", gitlab_id=7), state="off", is_locked=True)
        make_group("research")

        page = operator.get(url()).text

        assert label_of(page, "Whole instance") == "on, own rule: on, model house"
        assert label_of(page, "payments") == "off, own rule: off, locked"
        assert label_of(page, "research") == "on, inherited, instance: on, model house"

    def test_shows_that_a_level_above_is_locked(self, operator):
        make_rule(None, state="on", is_locked=True)
        make_group("payments")

        assert "locked above" in label_of(operator.get(url()).text, "payments")

    def test_flags_what_can_never_route(self, operator):
        make_rule(None, state="off", is_locked=True)
        make_rule(make_group("payments", gitlab_id=7), state="on")

        page = operator.get(url()).text

        assert "1 rule can never route a call" in page
        assert "can never route: instance (locked): off" in label_of(page, "payments")

    def test_shows_the_top_of_the_tree_only(self, operator):
        make_group("payments")
        make_group("payments/core")

        page = operator.get(url()).text

        assert 'data-path="payments"' in page
        assert "aria-expanded" in page
        assert 'data-path="payments/core"' not in page

    def test_finds_groups_anywhere(self, operator):
        make_group("payments")
        make_group("payments/Core")

        page = operator.get(url(), {"q": "core"}).text

        assert 'data-path="payments/Core"' in page
        assert 'data-path="payments"' not in page

    def test_says_that_more_groups_match(self, operator, monkeypatch):
        monkeypatch.setattr(matrix, "ROWS_MAX", 2)
        for number in range(5):
            make_group(f"team-{number}")

        page = operator.get(url(), {"q": "team"}).text

        assert "3 more match; search for more of the path." in page
        assert "Show more" not in page

    def test_says_what_to_do_where_there_is_no_group(self, operator):
        assert "There is no group yet" in operator.get(url()).text

    def test_escapes_names(self, operator):
        make_group("<script>alert(1)</script>")
        make_model(name='"><img src=x>')

        page = operator.get(url()).text

        assert "<script>alert(1)" not in page
        assert "<img src=x>" not in page

    @pytest.mark.parametrize("count", [3, 30])
    def test_takes_the_same_number_of_queries(self, operator, count, django_assert_num_queries):
        for _ in range(count):
            make_rule(make_group(), model=make_model())
        operator.get(url())

        with django_assert_num_queries(7):
            operator.get(url())


class TestRows:
    def test_are_those_right_below_a_group(self, operator):
        top = make_group("payments")
        for path in ("payments/core", "payments/core/legacy", "payments/web", "research"):
            make_group(path)

        page = operator.get(url("matrix_rows"), {"parent": top.pk}).text

        assert re.findall(r'data-path="([^"]*)"', page) == ["payments/core", "payments/web"]
        assert re.findall(r'matrix-label">([^<]*)', page) == ["core", "web"]

    def test_come_in_pieces(self, operator, monkeypatch):
        monkeypatch.setattr(matrix, "ROWS_MAX", 2)
        for number in range(5):
            make_group(f"team-{number}")

        first = operator.get(url()).text
        second = operator.get(url("matrix_rows"), {"parent": "", "after": "team-1"}).text
        third = operator.get(url("matrix_rows"), {"parent": "", "after": "team-3"}).text

        assert "3 groups are left here" in first
        assert re.findall(r'data-path="(team[^"]*)"', second) == ["team-2", "team-3"]
        assert "1 groups are left here" in second
        assert re.findall(r'data-path="(team[^"]*)"', third) == ["team-4"]
        assert "are left here" not in third

    @pytest.mark.parametrize("parent", ["999999", "x", "-1", "9" * 30])
    def test_are_none_below_what_there_is_not(self, operator, parent):
        make_group("payments/core", parent=make_group("payments"))

        page = operator.get(url("matrix_rows"), {"parent": parent})

        assert page.status_code == 200
        assert 'data-path="payments/core"' not in page.text


class TestPreview:
    @pytest.fixture
    def payments(self, db):
        group = make_group("payments", gitlab_id=7)
        for ref in ("42", "43", "44"):
            make_member(group, ref)
        make_api_key(group, name="ci")
        make_rule(None)
        return group

    def test_says_who_loses_what_and_who_used_it_lately(self, operator, payments):
        record(user_id="42", opened_at=timezone.now())

        page = post(operator, "matrix_preview", [cell(payments, on(state="off"))]).text

        assert "3 users lose it; 1 of them used it in the last hour" in page
        assert "1 API key loses it: ci" in page
        assert "1 group: payments" in page
        assert "no rule" in page
        assert not FeatureRule.objects.filter(group=payments).exists()

    def test_puts_features_together_that_change_alike(self, operator, payments):
        page = post(operator, "matrix_preview", [cell(payments, on(), feature="duo_chat")]).text

        assert page.count("3 users gain them") == 1
        assert "General Chat, Code Explanation" in page

    def test_says_that_nobody_gains_or_loses(self, operator, payments):
        page = post(operator, "matrix_preview", [cell(payments, on())]).text

        assert "Nobody gains or loses anything" in page

    def test_warns_of_a_grant_that_will_never_route(self, operator, payments):
        make_rule(None, feature="duo_chat", state="off", is_locked=True)

        page = post(operator, "matrix_preview", [cell(payments, on(), feature="duo_chat")]).text

        assert "Will never route" in page

    def test_keeps_usage_from_those_who_may_see_no_record(self, payments):
        client = somebody(*matrix.SEE, *matrix.CHANGE)

        page = post(client, "matrix_preview", [cell(payments, on(state="off"))]).text

        assert "3 users lose it" in page
        assert "in the last hour" not in page
        assert post(client, "matrix_rehearse", [cell(payments, None)]).status_code == 403

    @pytest.mark.parametrize("body", ["", "[", "{}", "[]", '[{"group": 1}]', "[[]]", "1e999"])
    def test_refuses_nonsense(self, operator, body):
        for name in ("matrix_preview", "matrix_rehearse", "matrix_save"):
            answer = operator.post(url(name), body, content_type="application/json")

            assert answer.status_code == 422
            assert answer.json()["fault"]


class TestRehearse:
    def test_counts_the_calls_on_record(self, operator):
        group = make_group("payments", gitlab_id=7)
        make_member(group, "42")
        make_rule(None)
        for _ in range(3):
            record(user_id="42")

        page = post(operator, "matrix_rehearse", [cell(group, on(state="off"))]).text

        assert re.sub(r"<[^>]+>|\s+", " ", page).split()[-6:] == [
            *("3", "3", "(1", "callers)", "0", "0")
        ]

    def test_says_that_there_was_none(self, operator):
        page = post(operator, "matrix_rehearse", [cell(None, on())]).text

        assert "Nobody called these features" in page


class TestSave:
    def test_writes_the_rules(self, operator):
        group, model = make_group(), make_model()

        answer = post(
            operator,
            "matrix_save",
            [cell(group, on(locked=True, model=model.pk)), cell(None, on(state="off"))],
        )

        assert answer.json() == {"saved": 2}
        rules = FeatureRule.objects.values_list("group", "state", "is_locked", "model")
        assert set(rules) == {(group.pk, "on", True, model.pk), (None, "off", False, None)}
        assert ConfigChange.objects.latest("pk").actor == "Model administrators"

    def test_refuses_what_was_changed_meanwhile(self, operator):
        group = make_group("payments")
        make_rule(group, state="off", is_locked=True)

        answer = post(operator, "matrix_save", [cell(None, on()), cell(group, on(), was=None)])

        assert answer.status_code == 422
        assert "changed by somebody else" in answer.json()["fault"]
        assert FeatureRule.objects.count() == 1

    def test_is_for_those_who_may_change_rules(self, db):
        client = somebody(*matrix.SEE)

        assert client.get(url()).status_code == 200
        assert 'data-editable=""' in client.get(url()).text
        assert post(client, "matrix_save", [cell(None, on())]).status_code == 403
