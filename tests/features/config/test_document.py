"""Tests for features/config/document.py."""

import pytest
import yaml

from features.config import document
from features.errors import BadConfigFile
from models_registry.models import SelfHostedModel

TEXT = """
models:
  - name: Qwen 7B
    family: qwen
    endpoint: http://10.0.0.5:8000/v1
    identifier: qwen
    api_key: env:QWEN_KEY
    has_native_fim: true
    idle_s: 5
    context_window: 32000
  - {name: echo, family: general, provider: echo, state: disabled}
groups:
  - path: /payments/
    gitlab_id: 7
  - {path: elsewhere, parent: payments}
rules:
  - feature: duo_chat
    state: on
  - group: payments
    feature: duo_chat
    state: inherit
    locked: true
    model: Qwen 7B
"""


class TestRead:
    def test_finds_models_groups_and_rules(self):
        found = document.read(TEXT)

        qwen = found.models["Qwen 7B"]
        assert (qwen["family"], qwen["api_key"], qwen["state"]) == (
            "qwen",
            "env:QWEN_KEY",
            "active",
        )
        assert (qwen["has_native_fim"], qwen["idle_s"], qwen["context_window"]) == (True, 5, 32_000)
        assert qwen["provider"] == "openai_compatible"
        assert found.models["echo"]["state"] == "disabled"
        assert found.groups["payments"] == {"gitlab_id": 7, "parent": None}
        assert found.groups["elsewhere"]["parent"] == "payments"
        assert found.rules[None, "duo_chat"] == {"state": "on", "locked": False, "model": None}
        assert found.rules["payments", "duo_chat"]["model"] == "Qwen 7B"

    def test_knows_what_is_missing(self):
        found = document.read("rules: []")

        assert (found.models, found.groups) == (None, None)
        assert len(found.rules) == 0

    def test_reads_every_column_of_a_model(self):
        for column in SelfHostedModel.COLUMNS:
            assert column in document.KNOWN["models"]

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("", "line 1: the file is empty"),
            ("models: [", "this is not YAML"),
            ("model: []", "line 1: 'model' is not known here; known are: models, groups, rules"),
            ("rules: {}", "line 1: rules must be a list"),
            ("rules:\n- state: on", "line 2: an entry of rules has no feature"),
            ("rules:\n- feature: duo_chat", "line 2: an entry of rules has no state"),
            (
                "rules:\n- feature: telepathy\n  state: on",
                "line 2: feature 'telepathy' is not known; known are: code_completions",
            ),
            ("rules:\n- feature: duo_chat\n  state: maybe", "line 3: state 'maybe' is not known"),
            ("rules:\n- {feature: duo_chat, state: on, locked: 1}", "line 2: locked must be true"),
            (
                "rules:\n- {feature: duo_chat, state: on}\n- {feature: duo_chat, state: off}",
                "line 3: an entry of rules has the same name as the one in line 2",
            ),
            ("models:\n- name: a", "line 2: an entry of models has no family"),
            (
                "models:\n- name: a\n  family: llama9",
                "line 3: family 'llama9' is not known; known are: mistral",
            ),
            ("models:\n- {name: a, family: gpt, provider: x}", "provider 'x' is not known"),
            ("models:\n- {name: a, family: gpt, state: discovered}", "state 'discovered' is not"),
            ("models:\n- {name: a, family: gpt, colour: red}", "'colour' is not known here"),
            ("models:\n- {name: a, family: gpt, idle_s: fast}", "idle_s must be a number above 0"),
            (
                "models:\n- {name: a, family: gpt}\n- {name: a, family: gpt}",
                "line 3: an entry of models has the same name as the one in line 2",
            ),
            ("groups:\n- path: a\n  path: b", "line 3: 'path' stands here a second time"),
            ("groups:\n- path: ' / '", "line 2: path is empty"),
            ("groups:\n- {path: a, gitlab_id: x}", "line 2: gitlab_id must be a whole number"),
        ],
    )
    def test_names_the_place_and_the_reason(self, text, place):
        with pytest.raises(BadConfigFile) as refusal:
            document.read(text)

        assert place in str(refusal.value)

    def test_names_every_place(self):
        with pytest.raises(BadConfigFile) as refusal:
            document.read("models:\n- name: a\n- family: gpt\nrules:\n- state: on\ngroups:\n- {}")

        assert [fault.partition(":")[0] for fault in refusal.value.faults] == [
            *("line 2", "line 3", "line 7", "line 5")
        ]


class TestWrite:
    def test_can_be_read_again(self):
        found = document.read(TEXT)

        again = document.read(document.write(found))

        assert (dict(again.models), dict(again.groups), dict(again.rules)) == (
            dict(found.models),
            dict(found.groups),
            dict(found.rules),
        )

    def test_leaves_out_what_has_its_default(self):
        written = yaml.safe_load(document.write(document.read(TEXT)))

        assert written["models"][1] == {
            "name": "echo",
            "state": "disabled",
            "family": "general",
            "provider": "echo",
        }
        assert written["rules"][0] == {"feature": "duo_chat", "state": "on"}

    def test_writes_a_certificate_as_a_block(self):
        text = "models:\n- name: a\n  family: gpt\n  ca_bundle: |\n    one\n    two\n"

        assert "ca_bundle: |\n    one\n    two\n" in document.write(document.read(text))

    def test_leaves_out_a_section_that_is_missing(self):
        assert document.write(document.read("groups: []")) == "groups: []\n"
