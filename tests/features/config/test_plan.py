"""Tests for features/config/plan.py."""

import pytest
from django.core.exceptions import ValidationError

from features.config import document, plan
from features.errors import BadConfigFile
from features.models import FeatureRule, Source
from models_registry.models import State
from tests.factories import make_group, make_member, make_model, make_rule

pytestmark = pytest.mark.django_db
CANARY = "sk-canary-13bc"
ENDPOINT = "http://10.1.2.3:8000/v1"


def differences(text, **options):
    return [
        f"{one.sign} {one.subject}: {one.happened}"
        for one in plan.differences(document.read(text), **options)
    ]


def faults(text):
    with pytest.raises(BadConfigFile) as refusal:
        plan.differences(document.read(text))
    return refusal.value.faults


def model(**facts):
    facts = {"name": "m", "family": "codestral", "endpoint": ENDPOINT, "identifier": "m", **facts}
    return "models:\n" + "- {" + ", ".join(f"{k}: {v}" for k, v in facts.items()) + "}\n"


class TestDifferences:
    def test_name_what_is_new_changed_and_gone(self):
        make_model(name="old")
        make_model(name="m", identifier="m", api_key="")
        group = make_group("payments")
        make_rule(group, state="off")
        make_rule(None, state="on")

        found = differences(
            model(deadline_s=9, identifier="m2")
            + "groups:\n- path: payments\n  gitlab_id: 7\n- path: web\n"
            + "rules:\n- {feature: code_completions, state: off, model: m}\n"
            + "- {group: web, feature: duo_chat, state: on}\n"
        )

        assert found == [
            "~ Model 'm': identifier: m → m2; deadline_s: none → 9.0",
            "- Model 'old': api_key stored, family codestral, "
            f"endpoint {ENDPOINT}, identifier {found[1].rpartition(' ')[2]}",
            "~ Group 'payments': gitlab_id: none → 7",
            "+ Group 'web': ",
            "~ Rule Whole instance, Code Completion: state: on → off; model: none → m",
            "+ Rule 'web', General Chat: state on",
            "- Rule 'payments', Code Completion: state off",
        ]

    def test_leave_sections_alone_that_are_missing(self):
        make_model()
        make_group("old")
        make_rule(None)

        assert differences("rules: []") == ["- Rule Whole instance, Code Completion: state on"]
        assert differences("groups: []") == ["- Group 'old': "]

    def test_leave_alone_what_somebody_else_brought(self):
        make_group("brought", gitlab_id=7, source=Source.GITLAB)
        make_group("from-a-file", source=Source.FILE)
        make_model(name="waiting", state=State.DISCOVERED)

        assert differences("models: []\ngroups: []\nrules: []") == []

    def test_let_a_group_of_gitlab_s_be_named(self):
        make_group("brought", gitlab_id=7, source=Source.GITLAB)

        assert differences("groups:\n- path: brought\n- path: brought/below") == [
            "+ Group 'brought/below': "
        ]
        assert faults("groups:\n- path: brought\n  gitlab_id: 8") == [
            "line 3: group 'brought' was taken over with gitlab_id 7"
        ]


class TestKeys:
    def test_are_compared_and_never_shown(self, monkeypatch):
        make_model(name="m", identifier="m", api_key="sk-other")
        monkeypatch.setenv("MODEL_KEY", CANARY)

        (line,) = differences(model(api_key="env:MODEL_KEY"))

        assert line == "~ Model 'm': api_key: another one"

    def test_that_are_the_same_are_no_difference(self, monkeypatch, tmp_path):
        make_model(name="m", identifier="m", api_key=CANARY)
        monkeypatch.setenv("MODEL_KEY", CANARY)
        (tmp_path / "key").write_text(CANARY + "\n")

        for reference in ("env:MODEL_KEY", f"file:{tmp_path / 'key'}", "stored"):
            assert differences(model(api_key=reference)) == []

    def test_that_are_not_named_are_removed(self):
        make_model(name="m", identifier="m", api_key=CANARY)

        assert differences(model()) == ["~ Model 'm': api_key: stored → none"]

    @pytest.mark.parametrize("key", [CANARY, "env:NOT_SET", "file:/not/there", "stored"])
    def test_that_lead_nowhere_are_refused_with_their_line(self, key):
        (fault,) = faults(model(api_key=key))

        assert fault.startswith("line 2: api_key of 'm' ")
        assert CANARY not in fault

    def test_that_lead_nowhere_may_be_taken_for_what_is_stored(self):
        make_model(name="m", identifier="m", api_key=CANARY)

        assert differences(model(api_key="env:NOT_SET"), has_secrets=False) == []

    def test_that_were_removed_differ_even_then(self):
        make_model(name="m", identifier="m", api_key="")

        found = differences(model(api_key="env:NOT_SET"), has_secrets=False)

        assert found == ["~ Model 'm': api_key: none → stored"]


class TestFaults:
    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            (
                "rules:\n- {group: nowhere, feature: duo_chat, state: on}",
                "line 2: there is no group 'nowhere'",
            ),
            (
                "rules:\n- feature: duo_chat\n  state: on\n  model: none such",
                "line 4: there is no model 'none such'",
            ),
            ("groups:\n- {path: a, parent: b}", "line 2: there is no group 'b'"),
            ("groups:\n- {path: a, parent: a}", "line 2: group 'a' would be its own ancestor"),
            (
                "groups:\n- {path: a, parent: b}\n- {path: b, parent: a}",
                "line 2: group 'a' would be its own ancestor",
            ),
            (
                "groups:\n- {path: a, gitlab_id: 7}\n- {path: b, gitlab_id: 7}",
                "line 2: group 'b' has gitlab_id 7 too",
            ),
            (
                "models:\n- name: a\n  family: gpt\n  endpoint: http://169.254.169.254/",
                "line 4: endpoint: The endpoint leads to a link-local",
            ),
            ("models:\n- {name: a, family: gpt}", "line 2: endpoint: This provider needs"),
            (
                "models:\n- {name: a, family: gpt, provider: echo, ca_bundle: none}",
                "line 2: ca_bundle: This is not a PEM file",
            ),
        ],
    )
    def test_name_the_place_and_the_reason(self, text, fault):
        assert faults(text)[0].startswith(fault)

    @pytest.mark.parametrize("model", ["", "models:\n- {name: m, family: gpt, provider: echo}\n"])
    def test_name_what_the_form_of_a_rule_would_refuse(self, monkeypatch, model):
        make_model(name="m", family="gpt")

        def refuse(rule):
            assert rule.model.family == "gpt"
            raise ValidationError({"model": "It does not fit."})

        monkeypatch.setattr(FeatureRule, "clean", refuse)

        found = faults(model + "rules:\n- feature: duo_chat\n  state: on\n  model: m")

        assert found == [f"line {4 + bool(model) * 2}: model: It does not fit."]

    def test_are_all_named(self):
        found = faults(
            "groups:\n- {path: a, parent: x}\nrules:\n- {group: y, feature: duo_chat, state: on}"
        )

        assert [fault.partition(":")[0] for fault in found] == ["line 2", "line 4"]

    def test_name_rules_that_stand_in_the_way(self):
        make_rule(make_group("payments"), model=make_model(name="Qwen"))

        assert faults("groups: []\nmodels: []") == [
            "there is no group 'payments' for the rule of payments",
            "there is no model 'Qwen' for the rule of payments",
        ]

    def test_of_a_twin_are_none_if_the_other_gives_its_id_free(self):
        make_group("old", gitlab_id=7)

        assert differences("groups:\n- {path: new, gitlab_id: 7}") == [
            "+ Group 'new': gitlab_id 7",
            "- Group 'old': gitlab_id 7",
        ]


class TestImpact:
    def impact(self, text):
        found = plan.impact(plan.differences(document.read(text)))
        return {one.slug: one for one in found}

    def test_names_who_gains_or_loses_what(self):
        group = make_group("payments")
        make_member(group, "42")
        make_rule(None, feature="generate_commit_message")

        found = self.impact(
            "rules:\n- {group: payments, feature: generate_commit_message, state: off}"
        )

        assert found["generate_commit_message"].users["lose"] == ["42"]
        assert found["generate_commit_message"].callers_without_group == "lose"

    def test_takes_a_model_that_is_yet_to_come_for_another_one(self):
        group = make_group("payments")
        make_member(group, "42")
        make_rule(None, model=make_model(name="now"))

        found = self.impact(
            model(name="new") + "rules:\n- {feature: code_completions, state: on, model: new}\n"
        )

        assert found["code_completions"].users["move"] == ["42"]

    def test_is_nothing_where_no_rule_differs(self):
        assert self.impact("groups:\n- path: a") == {}
