"""Tests for gateway/control/configuration.py."""

import pytest
import yaml
from django.urls import reverse

from features.config import applying, document
from features.config.state import AppliedConfig
from features.models import FeatureRule
from models_registry.changes import made_by
from tests.factories import make_model, make_rule

CANARY = "sk-canary-3d3d"


def page(operator):
    return operator.get(reverse("control:configuration")).text


class TestPage:
    def test_says_how_to_begin(self, operator):
        assert "No file was applied yet" in page(operator)

    def test_says_that_all_is_as_the_file_says(self, operator):
        applying.apply(document.read("rules: []"), name="enclave.yml")

        assert "As the last applied file says" in page(operator)

    def test_shows_what_has_drifted_and_by_whom(self, operator):
        applying.apply(
            document.read("rules:\n- {feature: duo_chat, state: on}"), name="enclave.yml"
        )
        with made_by("eve"):
            FeatureRule.objects.update(is_locked=True)

        shown = page(operator)

        assert "1 difference from the last applied file" in shown
        assert "Rule Whole instance, General Chat" in shown
        assert "locked: yes → no" in shown
        assert "eve, 20" in shown

    def test_says_that_a_file_does_not_fit_any_more(self, operator):
        AppliedConfig.keep("rules:\n- {feature: gone, state: on}\n", name="old.yml")

        assert "does not fit any more" in page(operator)

    @pytest.mark.parametrize("rows", [3, 30])
    def test_takes_the_same_number_of_queries(self, operator, rows, django_assert_num_queries):
        for _ in range(rows):
            make_rule(feature="duo_chat", group=None) if not FeatureRule.objects.exists() else None
            make_model()
        applying.apply(document.read("rules: []"), name="enclave.yml")

        with django_assert_num_queries(9):
            page(operator)


class TestExport:
    def test_is_a_file_without_keys(self, operator):
        make_model(name="Qwen", api_key=CANARY)

        answer = operator.get(reverse("control:configuration_export"))

        assert "attachment" in answer.headers["Content-Disposition"]
        assert yaml.safe_load(answer.content)["models"][0]["name"] == "Qwen"
        assert CANARY not in answer.text
