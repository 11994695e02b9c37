"""Tests for features/config/applying.py."""

import random
import threading
import time

import pytest
from django.db import connection

from features import snapshot
from features.catalog import FEATURES
from features.config import applying, document, live, plan
from features.config.state import AppliedConfig
from features.errors import BadConfigFile
from features.models import FeatureRule, Group
from gateway import pipeline
from gateway.audit.models import CallerKind
from gateway.calls import Caller
from models_registry.changes import ConfigChange, made_by
from models_registry.configuration import ConfigVersion
from models_registry.fields import clear_text
from models_registry.models import SelfHostedModel
from tests.factories import (
    FEATURE,
    make_api_key,
    make_group,
    make_member,
    make_model,
    make_rule,
)
from tests.gateway.conftest import make_call

pytestmark = pytest.mark.django_db
CANARY = "sk-canary-88ef"
TEXT = """
models:
  - name: Qwen 7B
    family: qwen
    endpoint: http://10.0.0.5:8000/v1
    identifier: qwen
    api_key: env:QWEN_KEY
groups:
  - {path: payments, gitlab_id: 7}
  - {path: elsewhere, parent: payments}
rules:
  - {feature: duo_chat, state: on, model: Qwen 7B}
  - {group: elsewhere, feature: duo_chat, state: off, locked: true}
"""


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("QWEN_KEY", CANARY)


def apply(text, name="enclave.yml"):
    return applying.apply(document.read(text), name=name)


class TestApply:
    def test_makes_it_so(self):
        apply(TEXT)

        model = SelfHostedModel.objects.get()
        assert (model.name, clear_text(model.api_key)) == ("Qwen 7B", CANARY)
        assert model.current.as_config().api_key == CANARY
        assert Group.objects.get(path="elsewhere").parent.gitlab_id == 7
        rules = FeatureRule.objects.values_list("group__path", "state", "is_locked", "model__name")
        assert set(rules) == {(None, "on", False, "Qwen 7B"), ("elsewhere", "off", True, None)}
        assert snapshot.load().groups[Group.objects.get(path="elsewhere").pk].lineage

    def test_is_idempotent(self):
        apply(TEXT)
        version, lines = ConfigVersion.current(), ConfigChange.objects.count()

        assert apply(TEXT) == []
        assert ConfigVersion.current() == version
        assert ConfigChange.objects.count() == lines

    def test_is_one_version_and_one_change_for_each_thing(self):
        before = ConfigVersion.current()

        with made_by("pipeline"):
            apply(TEXT)

        assert ConfigVersion.current() == before + 1
        changes = ConfigChange.objects.filter(version=before + 1)
        assert sorted(changes.values_list("kind", flat=True)) == [
            *("featurerule", "featurerule", "group", "group", "selfhostedmodel")
        ]
        assert set(changes.values_list("actor", flat=True)) == {"pipeline"}
        assert CANARY not in str(list(changes.values()))

    def test_removes_what_is_not_there_any_more(self):
        apply(TEXT)

        apply("models: []\ngroups: []\nrules: []")

        assert not SelfHostedModel.objects.exists()
        assert not Group.objects.exists()
        assert not FeatureRule.objects.exists()

    def test_lets_groups_change_ids_and_places(self):
        apply("groups:\n- {path: a, gitlab_id: 1}\n- {path: b, gitlab_id: 2, parent: a}")

        apply("groups:\n- {path: a, gitlab_id: 2, parent: b}\n- {path: b, gitlab_id: 1}")

        assert set(Group.objects.values_list("path", "gitlab_id", "parent__path")) == {
            ("a", 2, "b"),
            ("b", 1, None),
        }

    @pytest.mark.parametrize(
        "stand", [lambda group: make_member(group, "7"), make_api_key], ids=["member", "key"]
    )
    def test_removes_no_group_that_something_stands_on_which_no_file_brings_back(self, stand):
        apply(TEXT)
        stand(Group.objects.get(path="elsewhere"))
        version = ConfigVersion.current()

        with pytest.raises(BadConfigFile, match="'elsewhere' cannot be removed; it still has 1"):
            apply("groups:\n- path: payments\nrules: []\nmodels: []")

        assert ConfigVersion.current() == version
        assert FeatureRule.objects.count() == 2
        assert SelfHostedModel.objects.count() == 1

    @pytest.mark.parametrize(
        "text",
        [
            "rules:\n- {feature: duo_chat, state: off}\n- {group: x, feature: duo_chat, state: on}",
            "models:\n- {name: a, family: gpt, provider: echo}\n- {name: b, family: gpt}",
            "groups:\n- {path: a, parent: b}\n- {path: b, parent: a}",
            TEXT.replace("env:QWEN_KEY", CANARY),
        ],
    )
    def test_saves_nothing_by_halves(self, text):
        apply(TEXT)
        held = document.write(live.export())
        applied = AppliedConfig.last()

        with pytest.raises(BadConfigFile):
            apply(text)

        assert document.write(live.export()) == held
        assert AppliedConfig.last() == applied

    def test_undoes_itself_when_the_earlier_document_is_applied_in_random_configurations(self):
        """apply(x); apply(y); apply(x) is apply(x), for any x and y."""
        rng = random.Random(11)
        for _ in range(25):
            one, other = random_document(rng), random_document(rng)
            apply(one)
            held = document.write(live.export())

            apply(other)
            apply(one)

            assert document.write(live.export()) == held
            assert plan.differences(document.read(held)) == []


def random_document(rng):
    """Return a document of a few models, groups and rules."""
    models = [f"m{n}" for n in range(rng.randint(1, 3))]
    groups = [f"g{n}" for n in range(rng.randint(0, 4))]
    lines = ["models:"]
    for name in models:
        key = rng.choice(["", ", api_key: env:QWEN_KEY"])
        deadline = rng.randint(1, 9)
        lines.append(
            f"- {{name: {name}, family: gpt, provider: echo, deadline_s: {deadline}{key}}}"
        )
    lines.append("groups:" if groups else "groups: []")
    for number, path in enumerate(groups):
        parent = f", parent: {rng.choice(groups[:number])}" if number and rng.random() < 0.5 else ""
        lines.append(f"- {{path: {path}, gitlab_id: {rng.choice([1, 10, 20]) + number}{parent}}}")
    cells = {
        (rng.choice([None, *groups]), rng.choice(list(FEATURES)[:5]))
        for _ in range(rng.randint(0, 6))
    }
    lines.append("rules:" if cells else "rules: []")
    for group, feature in sorted(cells, key=str):
        place = f"group: {group}, " if group else ""
        model = rng.choice(["", f", model: {rng.choice(models)}"])
        state, locked = rng.choice(["on", "off", "inherit"]), rng.choice(["true", "false"])
        lines.append(f"- {{{place}feature: {feature}, state: {state}, locked: {locked}{model}}}")
    return "\n".join(lines)


@pytest.mark.django_db(transaction=True)
class TestFlips:
    """Ten times a second everything changes, and 10,000 calls are prepared meanwhile.

    tests/line/test_flips.py does the same with processes and real calls, fewer of them.
    """

    CALLS = 10_000
    ONE = """
models:
- {name: m, family: codegemma, endpoint: http://10.0.0.1/v1, identifier: one, api_key: env:KEY_1}
groups:
- {path: g, gitlab_id: 7}
rules:
- {feature: code_completions, state: on, locked: true, model: m}
"""
    TWO = """
models:
- {name: m, family: codestral, endpoint: http://10.0.0.2/v1, identifier: two, api_key: env:KEY_2}
groups:
- {path: g, gitlab_id: 7}
rules:
- {feature: code_completions, state: off}
- {group: g, feature: code_completions, state: on, model: m}
"""

    def test_are_never_seen_by_halves(self, monkeypatch, settings):
        monkeypatch.setenv("KEY_1", "sk-one")
        monkeypatch.setenv("KEY_2", "sk-two")
        settings.GATEWAY_SNAPSHOT_POLL_S = 0.02
        documents = [document.read(self.ONE), document.read(self.TWO)]
        applying.apply(documents[0], name="first")
        versions = {ConfigVersion.current(): 0}
        stop = threading.Event()

        def flip():
            number = 0
            while not stop.wait(0.1):
                number += 1
                applying.apply(documents[number % 2], name="flip")
                versions[ConfigVersion.current()] = number % 2
            connection.close()

        caller = Caller(kind=CallerKind.INSTANCE, namespace_ids=(7,))
        call = make_call(caller=caller)
        snapshot.refresh()
        snapshot.start_polling()
        flipping = threading.Thread(target=flip)
        flipping.start()
        prepared = []
        try:
            while len(prepared) < self.CALLS or len(versions) < 20:
                prepared.append(pipeline.prepare(call))
                if len(prepared) % 100 == 0:
                    time.sleep(0.01)  # a turn for the others, as a call's waiting gives it
        finally:
            stop.set()
            flipping.join()
            snapshot.stop_polling()

        seen = {
            (
                versions[one.config_version],
                one.decision.reason,
                one.model.identifier,
                one.model.endpoint,
                one.model.api_key,
                one.model.family,
                one.rendered.digest,
            )
            for one in prepared
        }
        assert {facts[:6] for facts in seen} == {
            (0, "instance (locked): on", "one", "http://10.0.0.1/v1", "sk-one", "codegemma"),
            (1, "group 'g': on", "two", "http://10.0.0.2/v1", "sk-two", "codestral"),
        }
        assert len(seen) == 2


class TestDrift:
    def test_is_none_after_applying(self):
        apply(TEXT)

        assert applying.drift(AppliedConfig.last()) == []

    def test_names_what_a_page_changed_and_who_did(self):
        apply(TEXT)
        with made_by("eve"):
            FeatureRule.objects.filter(group=None).update(state="off")
            make_rule(Group.objects.get(path="payments"), feature=FEATURE)
        with made_by("adam"):
            make_model(name="new")

        found = {one.difference.subject: one for one in applying.drift(AppliedConfig.last())}

        rule = found["Rule Whole instance, General Chat"]
        assert rule.difference.happened == "state: off → on"
        assert rule.author.startswith("eve, 20")
        assert found["Rule 'payments', Code Completion"].difference.sign == "-"
        assert found["Model 'new'"].author.startswith("adam, 20")

    def test_needs_no_secret(self, monkeypatch):
        apply(TEXT)
        monkeypatch.delenv("QWEN_KEY")

        assert applying.drift(AppliedConfig.last()) == []

    def test_says_who_removed_something(self):
        apply(TEXT)
        with made_by("eve"):
            FeatureRule.objects.exclude(group=None).delete()

        (one,) = applying.drift(AppliedConfig.last())

        assert (one.difference.sign, one.author[:3]) == ("+", "eve")

    def test_of_groups_with_members_is_no_drift(self):
        apply(TEXT)
        make_member(Group.objects.get(path="payments"), "7")
        make_group("more")

        (one,) = applying.drift(AppliedConfig.last())

        assert one.difference.subject == "Group 'more'"
