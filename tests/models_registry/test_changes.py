"""Tests for models_registry/changes.py."""

import pytest
from django.db import IntegrityError, transaction

from features.models import ApiKey, FeatureRule, Group, Membership
from models_registry import changes
from models_registry.changes import BEGINNING, ConfigChange
from models_registry.configuration import ConfigVersion
from tests.factories import make_api_key, make_group, make_member, make_model, make_rule

pytestmark = pytest.mark.django_db
CANARY = "sk-canary-72ab"


def history(kind):
    return list(
        ConfigChange.objects.filter(kind=kind)
        .order_by("pk")
        .values_list("row_id", "before", "after")
    )


class TestWrite:
    def test_keeps_what_a_new_row_says(self):
        rule = make_rule(make_group(), state="off", is_locked=True)

        ((row_id, before, after),) = history("featurerule")

        assert (row_id, before) == (rule.pk, None)
        assert after == {
            "group": rule.group_id,
            "feature": rule.feature,
            "state": "off",
            "is_locked": True,
            "model": None,
        }

    def test_keeps_what_it_said_before(self):
        group = make_group("old")

        group.path = "new"
        group.save()

        _, before, after = history("group")[-1]
        assert (before["path"], after["path"]) == ("old", "new")

    def test_keeps_nothing_where_nothing_changed(self):
        group = make_group()

        group.save()

        assert len(history("group")) == 1

    def test_keeps_the_last_words_of_what_is_deleted_and_of_what_goes_with_it(self):
        group = make_group("gone")
        rule = make_rule(group)
        make_api_key(group)
        make_member(group, "7")
        group_id = group.pk

        group.delete()

        assert history("group")[-1][1:] == (history("group")[0][2], None)
        assert history("featurerule")[-1] == (rule.pk, history("featurerule")[0][2], None)
        assert history("apikey")[-1][2] is None
        assert history("membership")[-1] == (group_id, {"members": ["7"]}, {"members": []})

    @pytest.mark.parametrize(
        "change",
        [
            lambda: FeatureRule.objects.update(state="off"),
            lambda: FeatureRule.objects.all().delete(),
            lambda: FeatureRule.objects.bulk_update(
                [FeatureRule(pk=FeatureRule.objects.get().pk, state="off")], ["state"]
            ),
            lambda: FeatureRule.objects.update_or_create(defaults={"state": "off"}),
            lambda: Group.objects.all().delete(),
        ],
        ids=["update", "delete", "bulk_update", "update_or_create", "cascade"],
    )
    def test_misses_no_way_of_changing_a_row(self, change):
        rule = make_rule(make_group(), state="on")

        change()

        row_id, before, after = history("featurerule")[-1]
        assert row_id == rule.pk
        assert before["state"] == "on"
        assert after is None or after["state"] == "off"
        assert len(history("featurerule")) == 2

    def test_keeps_what_is_made_in_bulk(self):
        groups = Group.objects.bulk_create([Group(path="a"), Group(path="b")])

        assert [row[0] for row in history("group")] == [group.pk for group in groups]

    def test_keeps_one_line_for_each_group_whose_members_change(self):
        one, two = make_group(), make_group()
        Membership.objects.bulk_create(
            [Membership(group=group, user_ref=ref) for group in (one, two) for ref in "123"]
        )

        Membership.objects.filter(user_ref__in="12").delete()

        assert history("membership") == [
            (one.pk, {"members": []}, {"members": ["1", "2", "3"]}),
            (two.pk, {"members": []}, {"members": ["1", "2", "3"]}),
            (one.pk, {"members": ["1", "2"]}, {"members": []}),
            (two.pk, {"members": ["1", "2"]}, {"members": []}),
        ]

    def test_keeps_no_secret(self):
        model = make_model(api_key=CANARY)
        key, _ = make_api_key()
        model.api_key = CANARY + "-2"
        model.save()

        text = str([history("selfhostedmodel"), history("apikey")])

        assert CANARY not in text
        assert model.api_key not in text
        assert key.digest not in text

    def test_tells_that_only_a_key_was_changed(self):
        model = make_model(api_key="sk-1")

        model.api_key = "sk-2"
        model.save()

        _, before, after = history("selfhostedmodel")[-1]
        assert before | {"current": after["current"]} == after
        assert before["current"] != after["current"]

    def test_is_gone_with_a_change_that_was_rolled_back(self):
        make_group("taken")
        lines = ConfigChange.objects.count()

        with pytest.raises(IntegrityError), transaction.atomic():
            make_group("taken")

        assert ConfigChange.objects.count() == lines

    def test_names_the_version_that_the_change_made(self):
        make_group()

        assert ConfigChange.objects.latest("pk").version == ConfigVersion.current()


class TestMadeBy:
    def test_says_who(self):
        with changes.made_by("eve"):
            make_group()
        make_group()

        who = ConfigChange.objects.filter(kind="group").values_list("actor", flat=True)
        assert list(who) == ["eve", changes.OURSELVES]

    def test_asks_only_where_something_changes(self):
        with changes.made_by(lambda: 1 / 0):
            ApiKey.objects.count()


class TestBeginsAt:
    def test_is_when_changes_began_to_be_written_down(self):
        make_group()

        first = ConfigChange.objects.order_by("pk").first()

        assert first.kind == BEGINNING
        assert ConfigChange.begins_at() == first.at
