"""Tests for features/dead_grants.py."""

import pytest
from cryptography.fernet import Fernet
from django.utils import timezone

from features import dead_grants, snapshot
from features.models import Group
from tests.factories import (
    FEATURE,
    make_api_key,
    make_group,
    make_member,
    make_model,
    make_rule,
)

pytestmark = pytest.mark.django_db


def reasons():
    return {cell: grant.reason for cell, grant in dead_grants.find(snapshot.load()).items()}


class TestFind:
    def test_finds_nothing_where_all_is_well(self):
        make_rule(None, model=make_model())
        make_rule(make_group("a", gitlab_id=7), state="off")

        assert reasons() == {}

    def test_finds_a_rule_below_a_lock(self):
        make_rule(make_group("a"), state="off", is_locked=True)
        child = make_group("a/b", gitlab_id=7)
        make_rule(child, state="on")

        assert reasons() == {
            (child.pk, FEATURE): "group 'a' (locked): off, and that cannot be overridden here"
        }

    def test_finds_a_model_that_a_lock_keeps_away(self):
        make_rule(None, is_locked=True, model=make_model())
        group = make_group("a", gitlab_id=7)
        make_rule(group, model=make_model())

        assert reasons() == {(group.pk, FEATURE): "the model stays: instance is locked"}

    def test_finds_a_model_that_is_disabled_or_broken(self, settings):
        make_rule(None, model=make_model(name="old", state="disabled"))
        broken = make_model(name="broken")
        make_rule(None, feature="duo_chat", model=broken)
        settings.GATEWAY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

        found = reasons()

        assert found[None, FEATURE] == "its model 'old' is disabled"
        assert found[None, "duo_chat"].startswith("its model 'broken' cannot be used: ")

    def test_finds_a_group_that_no_call_can_stand_for(self):
        lonely = make_group("lonely")
        make_rule(lonely)

        assert "no call can stand for it" in reasons()[lonely.pk, FEATURE]

    @pytest.mark.parametrize(
        "reach",
        [
            lambda group: make_member(group, "7"),
            make_api_key,
            lambda group: make_group("a/b", gitlab_id=7),
            lambda group: Group.objects.filter(pk=group.pk).update(gitlab_id=7),
        ],
        ids=["member", "key", "child", "header"],
    )
    def test_leaves_a_group_alone_that_one_can(self, reach):
        group = make_group("a")
        make_rule(group)

        reach(group)

        assert reasons() == {}

    def test_finds_a_group_that_gitlab_does_not_know_any_more(self):
        group = make_group("a", gitlab_id=7, gone_at=timezone.now())
        make_rule(group)

        assert reasons() == {(group.pk, FEATURE): "GitLab does not know this group any more"}

    def test_finds_a_feature_that_left_the_catalog(self):
        make_rule(None, feature="gone")

        assert reasons() == {(None, "gone"): "this version of Enclave has no such feature"}

    def test_leaves_denials_alone(self):
        make_rule(make_group("lonely"), state="off", is_locked=True)

        assert reasons() == {}

    @pytest.mark.parametrize("rows", [3, 30])
    def test_costs_one_query(self, rows, django_assert_num_queries):
        for _ in range(rows):
            make_rule(make_group())
        config = snapshot.load()

        with django_assert_num_queries(1):
            dead_grants.find(config)
