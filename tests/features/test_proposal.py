"""Tests for features/proposal.py."""

import random

import pytest

from features import policy, proposal, snapshot
from features.errors import BadProposal
from features.models import FeatureRule
from features.proposal import Comparison
from features.snapshot import Rule
from models_registry.changes import ConfigChange
from models_registry.configuration import ConfigVersion
from tests.factories import (
    FEATURE,
    make_api_key,
    make_group,
    make_member,
    make_model,
    make_rule,
)
from tests.features import trees

pytestmark = pytest.mark.django_db


def rule(state="on", *, locked=False, model=None):
    return Rule(state=state, is_locked=locked, model_id=model)


def impact(changes):
    before = snapshot.load()
    found = proposal.impact(before, proposal.propose(before, changes), changes)
    return {one.slug: one for one in found}


class TestPropose:
    def test_changes_the_rules_and_nothing_else(self):
        group = make_group()
        make_rule(None)
        make_rule(group, state="off")
        before = snapshot.load()

        after = proposal.propose(before, {(group.pk, FEATURE): None, (None, "duo_chat"): rule()})

        assert set(after.rules) == {(None, FEATURE), (None, "duo_chat")}
        assert set(before.rules) == {(None, FEATURE), (group.pk, FEATURE)}
        assert (after.groups, after.models) == (before.groups, before.models)


class TestImpact:
    @pytest.fixture
    def company(self):
        """Two trees; eve is in payments, adam in its child, kai in both trees, noor elsewhere."""
        payments = make_group("payments")
        core = make_group("payments/core")
        research = make_group("research")
        for group, user in [(payments, "eve"), (core, "adam"), (core, "kai"), (research, "kai"),
                            (research, "noor")]:  # fmt: skip
            make_member(group, user)
        make_api_key(core, name="ci")
        make_api_key(research, name="laptop")
        return payments, core, research

    def test_names_who_loses_what(self, company):
        payments, _, _ = company
        make_rule(None)

        found = impact({(payments.pk, FEATURE): rule("off")})[FEATURE]

        assert sorted(found.users["lose"]) == ["adam", "eve", "kai"]
        assert found.keys["lose"] == ["ci"]
        assert found.groups["lose"] == ["payments", "payments/core"]
        assert found.callers_without_group == ""
        assert not found.users["gain"]

    def test_names_who_gains_what(self, company):
        _, core, _ = company

        found = impact({(core.pk, FEATURE): rule("on")})[FEATURE]

        assert sorted(found.users["gain"]) == ["adam", "kai"]

    def test_names_who_gets_another_model(self, company):
        payments, _, _ = company
        make_rule(None, model=make_model())

        found = impact({(payments.pk, FEATURE): rule("inherit", model=make_model().pk)})[FEATURE]

        assert sorted(found.users["move"]) == ["adam", "eve", "kai"]
        assert not found.users["lose"]

    def test_speaks_of_callers_without_a_group_where_the_instance_changes(self, company):
        found = impact({(None, FEATURE): rule("on")})[FEATURE]

        assert found.callers_without_group == "gain"
        assert sorted(found.users["gain"]) == ["adam", "eve", "kai", "noor"]

    def test_speaks_of_every_part_of_a_feature(self, company):
        payments, _, _ = company
        make_rule(None, feature="duo_chat")
        make_rule(payments, feature="duo_chat_fix_code")

        found = impact({(payments.pk, "duo_chat"): rule("off")})

        assert "duo_chat" in found
        assert "duo_chat_explain_code" in found
        assert "duo_chat_fix_code" not in found  # has a rule of its own

    def test_says_nothing_where_nothing_changes(self, company):
        payments, _, _ = company
        make_rule(None, state="off", is_locked=True)

        assert impact({(payments.pk, FEATURE): rule("on")}) == {}

    def test_equals_what_really_happens_in_random_configurations(self):
        rng = random.Random(5)
        for _ in range(200):
            before = trees.random_config(rng)
            cell = (rng.choice([None, *before.groups]), rng.choice(trees.SLUGS))
            changes = {cell: rng.choice([None, rule(rng.choice(trees.STATES), locked=True)])}
            after = proposal.propose(before, changes)
            found = {one.slug: one for one in proposal.impact(before, after, changes)}

            for slug in trees.SLUGS:
                said = found[slug].users if slug in found else {}
                for user, group_ids in before.members.items():
                    was, will_be = (
                        policy.explain(config, feature=slug, group_ids=group_ids).is_allowed
                        for config in (before, after)
                    )
                    is_counted = bool(group_ids)
                    assert (user in said.get("lose", ())) == (was and not will_be and is_counted)
                    assert (user in said.get("gain", ())) == (will_be and not was and is_counted)


class TestComparison:
    def test_tells_a_model_that_only_the_rule_s_level_moves(self):
        """An instance's model is a default that a call may override, a group's is not."""
        model = make_model()
        group = make_group()
        make_rule(None, model=model)
        before = snapshot.load()
        after = proposal.propose(before, {(group.pk, FEATURE): rule(model=model.pk)})

        assert Comparison(before, after)(FEATURE, (group.pk,)) == "move"
        assert Comparison(before, before)(FEATURE, (group.pk,)) == ""


class TestWrite:
    def test_makes_changes_and_removes_rules_in_one_version(self):
        one, two, three = make_group(), make_group(), make_group()
        make_rule(one, state="on")
        make_rule(two, state="on")
        held = {(one.pk, FEATURE): rule(), (two.pk, FEATURE): rule(), (three.pk, FEATURE): None}
        before = ConfigVersion.current()

        proposal.write(
            {
                (one.pk, FEATURE): None,
                (two.pk, FEATURE): rule("off", locked=True),
                (three.pk, FEATURE): rule("inherit"),
            },
            expected=held,
        )

        assert set(FeatureRule.objects.values_list("group", "state", "is_locked")) == {
            (two.pk, "off", True),
            (three.pk, "inherit", False),
        }
        assert ConfigVersion.current() == before + 1
        assert ConfigChange.objects.filter(version=before + 1, kind="featurerule").count() == 3

    def test_refuses_what_somebody_changed_meanwhile(self):
        group = make_group("payments")
        make_rule(group, state="off")

        with pytest.raises(BadProposal, match="payments, Code Completion was changed by somebody"):
            proposal.write(
                {(None, FEATURE): rule(), (group.pk, FEATURE): rule()},
                expected={(None, FEATURE): None, (group.pk, FEATURE): None},
            )

        assert FeatureRule.objects.count() == 1


class TestRead:
    def cell(self, **facts):
        return {
            "group": None,
            "feature": FEATURE,
            "rule": {"state": "on", "locked": False, "model": None},
            "was": None,
            **facts,
        }

    def test_returns_what_was_proposed_and_what_there_was(self):
        group, model = make_group(), make_model()
        sent = self.cell(
            group=group.pk,
            rule={"state": "off", "locked": True, "model": model.pk},
            was={"state": "on", "locked": False, "model": None},
        )

        proposed, expected = proposal.read([sent])

        assert proposed == {(group.pk, FEATURE): rule("off", locked=True, model=model.pk)}
        assert expected == {(group.pk, FEATURE): rule("on")}

    @pytest.mark.parametrize(
        "changes",
        [
            {"feature": "telepathy"},
            {"feature": "model_configuration"},
            {"feature": None},
            {"group": "1"},
            {"group": True},
            {"group": 999_999},
            {"rule": {"state": "maybe", "locked": False}},
            {"rule": {"state": "on", "locked": 1}},
            {"rule": {"state": "on", "locked": True, "model": 999_999}},
            {"rule": []},
            {"was": "nothing"},
        ],
    )
    def test_refuses_nonsense(self, changes):
        with pytest.raises(BadProposal):
            proposal.read([self.cell(**changes)])

    @pytest.mark.parametrize("cells", [None, {}, [], "x", [1], [{}] * 501])
    def test_refuses_what_is_no_list_of_cells(self, cells):
        with pytest.raises(BadProposal):
            proposal.read(cells)

    def test_refuses_a_cell_that_stands_twice(self):
        with pytest.raises(BadProposal, match="twice"):
            proposal.read([self.cell(), self.cell()])
