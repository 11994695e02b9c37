"""Tests for features/policy.py."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import policy
from features import snapshot as current
from features.errors import (
    FeatureDisabled,
    GoesToVendor,
    NoActiveModel,
    NoModelAssigned,
    UnknownFeature,
)
from features.policy import Step
from features.snapshot import GroupEntry, ModelEntry, Rule, Snapshot
from models_registry.adoption import Address
from models_registry.providers.types import ModelConfig
from tests.factories import make_rule
from tests.features import trees

FEATURE = "code_completions"
TREE = {1: ("a",), 2: ("a", "b"), 3: ("a", "b", "c"), 4: ("x",), 5: ("x", "y")}
PARENTS = {1: None, 2: 1, 3: 2, 4: None, 5: 4}


def rule(state="inherit", *, locked=False, model=None):
    return Rule(state=state, is_locked=locked, model_id=model)


def model_entry(model_id, *, state="active", fault=""):
    config = ModelConfig(
        revision_id=model_id * 100,
        model_id=model_id,
        name=f"m{model_id}",
        family="general",
        provider="openai_compatible",
        endpoint=f"http://10.0.0.{model_id}/v1",
        identifier="code",
        api_key="sk",
    )
    return ModelEntry(
        model_id=model_id,
        name=f"m{model_id}",
        state=state,
        config=None if fault else config,
        fault=fault,
    )


MODELS = {
    1: model_entry(1),
    2: model_entry(2),
    3: model_entry(3, state="disabled"),
    4: model_entry(4, fault="Its key is broken."),
    5: model_entry(5, state="discovered"),
}


def lineage(group_id):
    return () if group_id is None else (*lineage(PARENTS[group_id]), group_id)


def snapshot(rules=None, members=None):
    """Return a snapshot of TREE, two trees of three and of two groups, with these rules."""
    groups = {
        group_id: GroupEntry(
            group_id=group_id,
            gitlab_id=group_id * 10,
            path="/".join(path),
            lineage=lineage(group_id),
        )
        for group_id, path in TREE.items()
    }
    named = {
        Address.of(family="general", endpoint=f"http://10.0.0.{pk}/v1", identifier="code"): entry
        for pk, entry in MODELS.items()
    }
    return Snapshot(
        version=1,
        models=MODELS,
        named=named,
        groups=groups,
        by_gitlab_id={group.gitlab_id: group for group in groups.values()},
        members=members or {},
        rules={(group_id, FEATURE): found for group_id, found in (rules or {}).items()},
        api_keys={},
    )


def explain(rules, *group_ids):
    return policy.explain(snapshot(rules), feature=FEATURE, group_ids=group_ids)


class TestExplain:
    def test_denies_when_nothing_is_configured(self):
        assert explain({}).reason == "nothing configured: off"
        assert not explain({}).is_allowed
        assert not explain({}, 3).is_allowed

    def test_asks_the_instance_when_there_is_no_group(self):
        decision = explain({None: rule("on"), 1: rule("off")})

        assert decision.is_allowed
        assert decision.reason == "instance: on"
        assert (decision.group_id, decision.group_path) == (None, "")

    def test_inherits_from_the_nearest_rule_above(self):
        decision = explain({None: rule("off"), 1: rule("on")}, 3)

        assert decision.is_allowed
        assert decision.reason == "group 'a': on"
        assert (decision.group_id, decision.group_path) == (3, "a/b/c")

    def test_lets_a_child_override_what_is_not_locked(self):
        assert explain({1: rule("off"), 2: rule("on")}, 3).is_allowed
        assert not explain({1: rule("on"), 2: rule("off")}, 3).is_allowed

    def test_keeps_a_lock_off(self):
        decision = explain({1: rule("off", locked=True), 2: rule("on"), 3: rule("on")}, 3)

        assert not decision.is_allowed
        assert decision.reason == "group 'a' (locked): off"

    def test_keeps_the_instances_lock_off_for_every_group(self):
        rules = {None: rule("off", locked=True), 1: rule("on"), 4: rule("on")}

        assert explain(rules, 2).reason == "instance (locked): off"
        assert not explain(rules, 2, 5).is_allowed
        assert not explain(rules).is_allowed

    def test_lets_a_child_be_stricter_than_a_lock(self):
        rules = {None: rule("on", locked=True), 1: rule("off")}

        assert not explain(rules, 1).is_allowed
        assert explain(rules, 4).is_allowed

    def test_never_goes_back_to_on_below_a_lock(self):
        decision = explain({None: rule("on", locked=True), 1: rule("off"), 2: rule("on")}, 2)

        assert not decision.is_allowed
        assert decision.reason == "group 'a': off"

    def test_locks_what_is_inherited(self):
        decision = explain({1: rule("inherit", locked=True), 2: rule("on")}, 2)

        assert not decision.is_allowed
        assert decision.reason == "group 'a' (locked): off"

    def test_lets_a_denial_of_any_group_win(self):
        decision = explain({1: rule("on"), 5: rule("off")}, 1, 5)

        assert not decision.is_allowed
        assert decision.reason == "group 'x/y': off"

    def test_lets_an_inherited_denial_win(self):
        assert not explain({1: rule("on"), 4: rule("off")}, 1, 5).is_allowed

    def test_takes_a_group_without_rules_for_neither_yes_nor_no(self):
        assert explain({1: rule("on")}, 1, 5).is_allowed
        assert explain({1: rule("on")}, 1, 5).group_id == 1

    def test_takes_the_instances_unlocked_off_for_a_default_not_a_denial(self):
        decision = explain({None: rule("off"), 1: rule("on")}, 1, 5)

        assert decision.is_allowed
        assert explain({None: rule("off"), 1: rule("on")}, 5).reason == "instance: off"

    def test_ignores_groups_it_does_not_know(self):
        assert explain({None: rule("on")}, 99).is_allowed
        assert not explain({1: rule("on")}, 99).is_allowed

    def test_needs_no_rule_for_a_connection_test(self):
        decision = policy.explain(snapshot(), feature="model_configuration", group_ids=())

        assert decision.is_allowed

    def test_knows_only_the_catalog(self):
        with pytest.raises(UnknownFeature):
            policy.explain(snapshot(), feature="telepathy", group_ids=())

    def test_shows_every_rung_of_the_ladder(self):
        rules = {
            None: rule("on", locked=True, model=1),
            1: rule("inherit", model=2),
            2: rule("off"),
            3: rule("on"),
        }

        decision = explain(rules, 3)

        assert decision.ladder == (
            Step(group_id=3, level="instance", rule="on, locked, model 'm1'", effect="on"),
            Step(
                group_id=3,
                level="group 'a'",
                rule="inherit, model 'm2'",
                effect="on, the model stays: instance is locked",
            ),
            Step(group_id=3, level="group 'a/b'", rule="off", effect="off"),
            Step(
                group_id=3,
                level="group 'a/b/c'",
                rule="on",
                effect="off, the rule has no effect: instance is locked",
            ),
        )

    def test_says_which_feature_s_rule_holds_for_a_part_of_it(self):
        config = replace(snapshot(), rules={(None, "duo_chat"): rule("on")})

        decision = policy.explain(config, feature="duo_chat_fix_code", group_ids=())

        assert [step.rule for step in decision.ladder] == ["on, as General Chat"]

    def test_shows_the_ladder_of_every_group(self):
        decision = explain({None: rule("on")}, 1, 5)

        assert [(step.group_id, step.level, step.rule) for step in decision.ladder] == [
            (1, "instance", "on"),
            (1, "group 'a'", "no rule"),
            (5, "instance", "on"),
            (5, "group 'x'", "no rule"),
            (5, "group 'x/y'", "no rule"),
        ]


class TestModelOfADecision:
    def test_is_the_nearest_one_above(self):
        decision = explain({None: rule("on", model=1), 1: rule(model=2)}, 3)

        assert (decision.model_id, decision.model_source) == (2, "group 'a'")
        assert decision.is_group_assignment

    def test_differs_between_groups(self):
        rules = {None: rule("on"), 1: rule(model=1), 4: rule(model=2)}

        assert explain(rules, 2).model_id == 1
        assert explain(rules, 5).model_id == 2

    def test_is_the_instances_default_where_no_group_names_one(self):
        decision = explain({None: rule("on", model=1)}, 3)

        assert (decision.model_id, decision.model_source) == (1, "instance")
        assert not decision.is_group_assignment

    def test_stays_below_a_locked_rule_that_names_one(self):
        rules = {None: rule("on"), 1: rule("on", locked=True, model=1), 2: rule(model=2)}

        assert explain(rules, 3).model_id == 1

    def test_is_free_below_a_locked_rule_that_names_none(self):
        rules = {None: rule("on"), 1: rule("on", locked=True), 2: rule(model=2)}

        assert explain(rules, 3).model_id == 2

    def test_comes_from_the_deepest_group(self):
        rules = {None: rule("on"), 4: rule(model=1), 3: rule(model=2)}

        decision = explain(rules, 4, 3)

        assert (decision.group_id, decision.model_id) == (3, 2)

    def test_comes_from_the_lowest_id_among_equally_deep_groups(self):
        rules = {None: rule("on"), 1: rule(model=1), 4: rule(model=2)}

        assert explain(rules, 4, 1).group_id == 1

    def test_comes_from_a_group_that_names_one_before_the_instances_default(self):
        rules = {None: rule("on", model=1), 4: rule(model=2)}

        decision = explain(rules, 3, 4)

        assert (decision.group_id, decision.model_id) == (4, 2)

    def test_is_not_taken_from_a_group_that_does_not_allow(self):
        rules = {4: rule(model=2), 1: rule("on", model=1)}

        assert explain(rules, 5, 1).model_id == 1


# Property tests: any rules anywhere in the tree

rules_of_a_level = st.builds(
    Rule,
    state=st.sampled_from(["on", "off", "inherit"]),
    is_locked=st.booleans(),
    model_id=st.sampled_from([None, 1, 2]),
)
rule_tables = st.dictionaries(st.sampled_from([None, 1, 2, 3, 4, 5]), rules_of_a_level)
subjects = st.lists(st.sampled_from(list(TREE)), max_size=3, unique=True).map(tuple)


def says(rules, group_id):
    """Test whether a group's own rule says on or off."""
    return group_id in rules and rules[group_id].state != "inherit"


class TestExplainInAnyTree:
    @given(rule_tables, subjects)
    def test_allows_only_where_some_rule_says_on(self, rules, group_ids):
        levels = {None}.union(*(lineage(group_id) for group_id in group_ids))

        decision = explain(rules, *group_ids)

        if decision.is_allowed:
            assert any(rules[level].state == "on" for level in levels & rules.keys())

    @given(rule_tables, subjects, st.sampled_from([None, *TREE]))
    def test_never_overrides_a_lock_off(self, rules, group_ids, locked):
        rules = {**rules, locked: rule("off", locked=True)}

        decision = explain(rules, *group_ids)

        if locked is None or any(locked in lineage(group_id) for group_id in group_ids):
            assert not decision.is_allowed

    @given(rule_tables, subjects)
    def test_never_overrides_a_denial(self, rules, group_ids):
        nearest = [
            next((rules[g].state for g in reversed(lineage(group_id)) if says(rules, g)), "")
            for group_id in group_ids
        ]

        decision = explain(rules, *group_ids)

        if "off" in nearest:
            assert not decision.is_allowed

    @given(rule_tables, st.sampled_from(list(TREE)), rules_of_a_level)
    def test_lets_a_child_of_a_lock_only_be_stricter(self, rules, child, childs):
        above = {level: found for level, found in rules.items() if level != child}
        has_lock = any(
            above[level].is_locked for level in (None, *lineage(child)[:-1]) if level in above
        )

        before = explain(above, child)
        after = explain({**above, child: childs}, child)

        if has_lock:
            assert before.is_allowed or not after.is_allowed

    @given(rule_tables, st.sampled_from(list(TREE)), rules_of_a_level)
    def test_keeps_a_locked_model(self, rules, child, childs):
        above = {level: found for level, found in rules.items() if level != child}
        locked = [
            level
            for level in (None, *lineage(child)[:-1])
            if level in above and above[level].is_locked and above[level].model_id is not None
        ]

        decision = explain({**above, child: childs}, child)

        if locked and decision.is_allowed:
            assert decision.model_id == above[locked[0]].model_id

    @given(rule_tables, subjects)
    def test_answers_the_same_in_any_order_of_groups(self, rules, group_ids):
        forth, back = explain(rules, *group_ids), explain(rules, *reversed(group_ids))

        assert (forth.is_allowed, forth.group_id, forth.model_id) == (
            back.is_allowed,
            back.group_id,
            back.model_id,
        )

    @given(rule_tables, subjects)
    def test_shows_a_ladder_that_ends_as_decided(self, rules, group_ids):
        decision = explain(rules, *group_ids)
        last = {step.group_id: step for step in decision.ladder}

        if decision.is_allowed:
            assert last[decision.group_id].effect.split(",")[0] == "on"


class TestExplainInRandomTrees:
    CASES = 10_000

    def cases(self, seed):
        """Yield random configurations with random subjects."""
        rng = random.Random(seed)
        config = trees.random_config(rng)
        for number in range(self.CASES):
            if number % 20 == 0:
                config = trees.random_config(rng)
            count = rng.randint(0, min(3, len(config.groups)))
            subject = tuple(sorted(rng.sample(list(config.groups), count)))
            yield rng, config, rng.choice(trees.SLUGS), subject

    def test_decides_as_the_rules_say_whoever_reads_them(self):
        allowed = 0
        for _, config, feature, group_ids in self.cases(1):
            decision = policy.explain(config, feature=feature, group_ids=group_ids)
            allowed += decision.is_allowed

            assert decision.is_allowed == trees.is_allowed(config, feature, group_ids)

        assert self.CASES / 10 < allowed < self.CASES * 9 / 10

    def test_never_overrides_a_lock_or_a_denial_above(self):
        for rng, config, feature, group_ids in self.cases(2):
            if not group_ids:
                continue
            level = rng.choice([None, *config.groups[rng.choice(group_ids)].lineage])
            rules = {
                key: found
                for key, found in config.rules.items()
                # Below a denial that is not locked, a group may say on again.
                if key[0] is None or level not in config.groups[key[0]].lineage[:-1]
            }
            is_locked = rng.random() < 0.5
            if is_locked:
                rules = dict(config.rules)
            if level is None and not is_locked:
                continue
            denied = {**rules, (level, feature): rule("off", locked=is_locked)}
            changed = replace(config, rules=denied)

            assert not policy.explain(changed, feature=feature, group_ids=group_ids).is_allowed

    def test_denies_everything_where_nothing_is_configured(self):
        for _, config, feature, group_ids in self.cases(3):
            empty = replace(config, rules={})

            assert not policy.explain(empty, feature=feature, group_ids=group_ids).is_allowed


class TestRequire:
    def test_returns_what_explain_says(self):
        config = snapshot({None: rule("on")})

        decision = policy.require(config, feature=FEATURE, group_ids=(3,))

        assert decision == policy.explain(config, feature=FEATURE, group_ids=(3,))

    def test_names_the_rule_in_the_refusal(self):
        config = snapshot({1: rule("off", locked=True)})

        with pytest.raises(FeatureDisabled, match=r"group 'a' \(locked\): off"):
            policy.require(config, feature=FEATURE, group_ids=(3,))


class TestSubjectGroups:
    def groups(self, members=None, **facts):
        return policy.subject_groups(
            snapshot(members=members),
            **{"api_key_group_id": None, "namespace_ids": (), "user_refs": (), **facts},
        )

    def test_are_none_for_a_caller_we_do_not_know(self):
        assert self.groups(namespace_ids=(999,), user_refs=("7",)) == ()

    def test_are_the_keys_group(self):
        assert self.groups(api_key_group_id=2) == (2,)

    def test_are_the_groups_of_the_user_by_either_id(self):
        members = {"7": (1, 5), "hash-of-8": (4,)}

        assert self.groups(members, user_refs=("7", "hash-of-8")) == (1, 4, 5)

    def test_are_the_place_that_the_namespace_headers_name_not_its_ancestors(self):
        assert self.groups(namespace_ids=(30, 10)) == (3,)
        assert self.groups(namespace_ids=(30, 50)) == (3, 5)

    def test_keep_a_users_own_membership_in_an_ancestor(self):
        assert self.groups({"7": (1,)}, namespace_ids=(30, 10), user_refs=("7",)) == (1, 3)

    def test_come_from_all_sources(self):
        members = {"7": (4,)}

        found = self.groups(members, api_key_group_id=1, namespace_ids=(20,), user_refs=("7",))

        assert found == (1, 2, 4)


class TestMatchNamed:
    def match(self, **facts):
        named = {"family": "general", "endpoint": "http://10.0.0.1/v1", "identifier": "code"}
        return policy.match_named(snapshot(), **{**named, **facts})

    def test_finds_a_model_however_it_is_spelled(self):
        assert self.match() == MODELS[1].config
        assert self.match(endpoint="HTTP://10.0.0.1/v1/") == MODELS[1].config
        assert self.match(identifier="custom_openai/code") == MODELS[1].config

    def test_finds_a_discovered_model(self):
        assert self.match(endpoint="http://10.0.0.5/v1") == MODELS[5].config

    @pytest.mark.parametrize(
        "fact", [{"family": "mistral"}, {"endpoint": "http://10.0.0.9/v1"}, {"identifier": "x"}]
    )
    def test_finds_nothing_else(self, fact):
        assert self.match(**fact) is None

    def test_refuses_a_disabled_model(self):
        with pytest.raises(NoActiveModel, match="'m3' is disabled"):
            self.match(endpoint="http://10.0.0.3/v1")

    def test_refuses_a_broken_model(self):
        with pytest.raises(NoActiveModel, match="Its key is broken"):
            self.match(endpoint="http://10.0.0.4/v1")


class TestChooseModel:
    def choose(self, rules, *group_ids, named=None):
        return policy.choose_model(snapshot(rules), explain(rules, *group_ids), named=named)

    def test_prefers_the_groups_assignment(self):
        rules = {None: rule("on", model=2), 1: rule(model=1)}

        assert self.choose(rules, 1, named=MODELS[5].config) == MODELS[1].config

    def test_takes_the_named_model_before_the_default(self):
        rules = {None: rule("on", model=2)}

        assert self.choose(rules, 1, named=MODELS[5].config) == MODELS[5].config

    def test_takes_the_instances_default_last(self):
        assert self.choose({None: rule("on", model=2)}, 1) == MODELS[2].config

    def test_refuses_when_there_is_none(self):
        with pytest.raises(NoModelAssigned):
            self.choose({None: rule("on")}, 1)

    def test_takes_a_discovered_model_that_a_rule_names(self):
        assert self.choose({None: rule("on", model=5)}) == MODELS[5].config

    @pytest.mark.parametrize(("model", "reason"), [(3, "disabled"), (4, "key is broken")])
    def test_refuses_a_model_that_cannot_serve(self, model, reason):
        with pytest.raises(NoActiveModel, match=reason):
            self.choose({None: rule("on", model=model)})


class TestOfferedModels:
    """Group 2's chat has model 1, the instance's code completion model 2; clients have model 5."""

    USUAL = {
        (None, "own_clients"): rule("on", model=5),
        (None, FEATURE): rule("on", model=2),
        (2, "duo_chat"): rule("on", model=1),
    }

    def offered(self, *group_ids, rules=None, models=None, feature="own_clients"):
        config = replace(snapshot(), rules={**self.USUAL, **(rules or {})})
        if models is not None:
            config = replace(config, models=models)
        found = policy.offered_models(config, feature=feature, group_ids=group_ids)
        return [model.name for model in found]

    def test_are_those_that_rules_assign_to_the_group(self):
        assert self.offered(2) == ["m1", "m2", "m5"]
        assert self.offered(4) == self.offered() == ["m2", "m5"]

    def test_are_without_those_of_features_that_are_off(self):
        assert self.offered(2, rules={(1, FEATURE): rule("off")}) == ["m1", "m5"]

    def test_are_one_where_it_is_locked(self):
        locked = {(1, "own_clients"): rule("on", model=1, locked=True)}

        assert self.offered(2, rules=locked) == ["m1"]
        assert self.offered(4, rules=locked) == ["m2", "m5"]

    @pytest.mark.parametrize("model", [3, 4])
    def test_are_without_those_that_cannot_be_used(self, model):
        rules = {(None, "own_clients"): rule("on", model=model)}

        assert self.offered(rules=rules) == ["m2"]

    def test_are_those_that_give_what_the_feature_wants(self):
        config = replace(MODELS[2].config, family="embedding")
        models = {**MODELS, 2: replace(MODELS[2], config=config)}

        assert self.offered(models=models) == ["m5"]
        assert self.offered(models=models, feature="own_clients_embeddings") == ["m2"]

    def test_are_none_where_the_feature_is_off(self):
        rules = {(4, "own_clients"): rule("off")}

        with pytest.raises(FeatureDisabled, match="group 'x': off"):
            self.offered(5, rules=rules)
        with pytest.raises(FeatureDisabled, match="group 'x': off"):
            self.offered(5, rules=rules, feature="own_clients_embeddings")


class TestVendorRoute:
    def decide(self, rules, *group_ids, is_open=True):
        config = replace(snapshot(rules), has_vendor_route=is_open)
        return config, policy.explain(config, feature=FEATURE, group_ids=group_ids)

    def test_takes_what_has_no_model(self):
        config, decision = self.decide({None: rule("on")}, 1)

        with pytest.raises(GoesToVendor):
            policy.choose_model(config, decision, named=None)

    def test_is_the_last_rung_of_the_ladder(self):
        _, decision = self.decide({None: rule("on")}, 1)

        assert decision.ladder[-1] == Step(
            group_id=1,
            level="vendor route",
            rule="on",
            effect="calls that name no model leave for the vendor",
        )
        assert decision.reason == "instance: on"

    @pytest.mark.parametrize(
        ("rules", "is_open"),
        [
            ({None: rule("on")}, False),
            ({None: rule("on", model=1)}, True),
            ({None: rule("on"), 1: rule(model=1)}, True),
            ({None: rule("on", model=3)}, True),
            ({None: rule("off")}, True),
            ({None: rule("on"), 1: rule("off")}, True),
        ],
    )
    def test_is_no_rung_where_it_takes_nothing(self, rules, is_open):
        _, decision = self.decide(rules, 1, is_open=is_open)

        assert not decision.is_open_to_vendor
        assert "vendor route" not in {step.level for step in decision.ladder}

    def test_leaves_a_named_model_in_charge(self):
        config, decision = self.decide({None: rule("on")})

        chosen = policy.choose_model(config, decision, named=MODELS[5].config)

        assert chosen == MODELS[5].config

    def test_is_named_where_it_is_closed(self):
        config, decision = self.decide({None: rule("on")}, is_open=False)

        with pytest.raises(NoModelAssigned, match=r"GATEWAY_VENDOR_ROUTE_URL.* is off"):
            policy.choose_model(config, decision, named=None)


@pytest.mark.django_db
class TestParentFeatures:
    def test_a_chat_feature_without_a_rule_follows_chat(self):
        make_rule(feature="duo_chat")

        decision = policy.explain(current.refresh(), feature="duo_chat_explain_code", group_ids=())

        assert decision.is_allowed

    def test_its_own_rule_goes_first(self):
        make_rule(feature="duo_chat")
        make_rule(feature="duo_chat_explain_code", state="off")

        decision = policy.explain(current.refresh(), feature="duo_chat_explain_code", group_ids=())

        assert not decision.is_allowed
