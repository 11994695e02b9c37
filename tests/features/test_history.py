"""Tests for features/history.py."""

from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.utils import timezone

from features import catalog, history, policy, snapshot
from features.errors import NoHistory
from models_registry.changes import ConfigChange
from models_registry.models import State
from tests.factories import (
    FEATURE,
    make_api_key,
    make_group,
    make_member,
    make_model,
    make_rule,
    open_vendor_route,
)

pytestmark = pytest.mark.django_db


def explain(config, *group_ids):
    return policy.explain(config, feature=FEATURE, group_ids=group_ids)


class TestSnapshotAt:
    def test_equals_what_was_loaded_then(self):
        """The promise in one sentence: every part, also of what is gone by now."""
        top = make_group("a", gitlab_id=10)
        child = make_group("a/b", parent=top)
        other = make_group("x")
        model, spare = make_model(), make_model(state=State.DISCOVERED)
        make_rule(None, model=model, is_locked=True)
        make_rule(child, state="off")
        make_member(child, "7")
        make_member(other, "7")
        make_member(other, "9").delete()
        key, _ = make_api_key(other)
        then, at = snapshot.load(), timezone.now()

        key.delete()
        child.delete()
        other.path = "y"
        other.save()
        model.endpoint = "http://10.9.9.9/v1"
        model.name = "renamed"
        model.save()
        spare.delete()
        make_member(other, "8")
        past = history.snapshot_at(at)

        assert past.version == then.version
        assert past.models.keys() == then.models.keys()
        assert [m.config and m.config.endpoint for m in past.models.values()] == [
            m.config and m.config.endpoint for m in then.models.values()
        ]
        assert past.models[model.pk].name != "renamed"
        assert past.named.keys() == then.named.keys()
        assert (past.groups, past.by_gitlab_id) == (then.groups, then.by_gitlab_id)
        assert (past.members, past.rules) == (then.members, then.rules)
        assert past.api_keys[key.prefix].group_id == other.pk
        assert past.api_keys[key.prefix].digest == ""

    def test_decides_as_then(self):
        group = make_group()
        rule = make_rule(group)
        at = timezone.now()
        rule.state = "off"
        rule.save()

        assert explain(history.snapshot_at(at), group.pk).is_allowed
        assert not explain(history.snapshot_at(timezone.now()), group.pk).is_allowed

    def test_knows_nothing_of_the_time_before(self):
        before = ConfigChange.begins_at() - timedelta(seconds=1)

        with pytest.raises(NoHistory, match="only since"):
            history.snapshot_at(before)

    def test_knows_nothing_where_nothing_was_written_down(self):
        ConfigChange.objects.all().delete()

        with pytest.raises(NoHistory, match="not yet"):
            history.snapshot_at(timezone.now())

    def test_does_not_look_ahead(self):
        with pytest.raises(NoHistory, match="not come"):
            history.snapshot_at(timezone.now() + timedelta(minutes=1))

    def test_costs_three_queries(self, django_assert_num_queries):
        for _ in range(5):
            make_rule(make_group(), model=make_model())

        with django_assert_num_queries(3):
            history.snapshot_at(timezone.now())


class TestDescribe:
    def words(self, kind):
        rows = ConfigChange.objects.filter(kind=kind).order_by("pk")
        found = history.describe(list(rows))
        return [f"{row.subject}: {row.happened}" for row in found]

    def test_says_what_a_rule_became(self):
        model = make_model(name="Qwen")
        rule = make_rule(make_group("payments"), state="on")
        rule.state, rule.model = "off", model
        rule.save()
        label = catalog.FEATURES[FEATURE].label

        assert self.words("featurerule") == [
            f"Rule 'payments', {label}: added: state on",
            f"Rule 'payments', {label}: model: none → 'Qwen'; state: on → off",
        ]

    def test_names_the_whole_instance(self):
        make_rule(None).delete()

        added, removed = self.words("featurerule")
        assert added.startswith("Rule Whole instance, ")
        assert "removed: " in removed

    def test_keeps_the_name_of_a_group_that_is_gone(self):
        group = make_group("payments")
        make_rule(group)
        group.delete()

        assert self.words("featurerule")[0].startswith("Rule 'payments (gone)', ")

    def test_counts_who_left_and_who_came(self):
        group = make_group("payments")
        for ref in range(7):
            make_member(group, str(ref))
        group.memberships.all().delete()

        assert self.words("membership")[0] == "Members 'payments': 1 came (0)"
        assert self.words("membership")[-1] == "Members 'payments': 7 left (0, 1, 2, 3, 4, …)"

    def test_shows_no_key(self):
        model = make_model(name="Qwen", api_key="sk-1")
        model.api_key = ""
        model.save()

        assert "api key: stored → none" in self.words("selfhostedmodel")[-1]

    def test_says_where_the_history_begins(self):
        assert self.words("history") == ["History: changes are written down from here on"]

    @pytest.mark.parametrize("rows", [2, 20])
    def test_costs_three_queries_at_most(self, rows, django_assert_num_queries):
        for _ in range(rows):
            make_rule(make_group(), model=make_model())
        make_group("gone").delete()
        changes = list(ConfigChange.objects.all())

        with django_assert_num_queries(2):
            history.describe(changes)


class TestBeginning:
    """What stood in the tables when the history began is its first page."""

    def test_holds_everything_that_was_there(self):
        group = make_group("a", gitlab_id=10)
        make_rule(group, model=make_model())
        make_member(group, "7")
        make_api_key(group)
        open_vendor_route()
        ConfigChange.objects.all().delete()
        here = snapshot.load()

        for module in ("models_registry.migrations.0003_config_change",
                       "features.migrations.0003_begin_history"):  # fmt: skip
            import_module(module).begin(apps, None)

        past = history.snapshot_at(timezone.now())
        assert (past.groups, past.members, past.rules) == (here.groups, here.members, here.rules)
        assert past.models == here.models
        assert past.api_keys.keys() == here.api_keys.keys()
        assert past.has_vendor_route
        assert past.version == here.version
