"""Tests for models_registry/advice.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

from models_registry import advice as module
from models_registry.advice import ADVICE, UNKNOWN, advice
from models_registry.connection_test import STEPS
from models_registry.forms import SelfHostedModelForm

FACTS = {
    name: f"<{name}>"
    for name in ("host", "port", "entry", "request_id", "missing", "ended", "names")
}
REGISTRY = Path(module.__file__).parent


class TestAdvice:
    def test_prefers_what_is_said_for_the_step(self):
        assert advice("fim", "backend_not_found", facts=FACTS) != advice(
            "answer", "backend_not_found", facts=FACTS
        )

    def test_takes_the_first_word_that_it_knows(self):
        known = advice("tcp", "", "unheard of", "refused", "no_route", facts=FACTS)

        assert known == advice("tcp", "refused", facts=FACTS)

    def test_names_the_log_where_it_knows_no_better(self):
        assert advice("tcp", "unheard of", facts=FACTS).text == UNKNOWN.text.format_map(FACTS)

    @pytest.mark.parametrize("key", ADVICE)
    def test_finds_its_facts_and_ends_as_a_sentence(self, key):
        text = ADVICE[key].text.format_map(FACTS)

        assert text.endswith(".")
        assert "{" not in text


class TestTable:
    @pytest.mark.parametrize("key", ADVICE)
    def test_changes_a_field_of_the_form_or_a_setting(self, key):
        change = ADVICE[key].change

        assert (
            change == "" or change in SelfHostedModelForm.base_fields or hasattr(settings, change)
        )

    def test_has_an_entry_for_every_reason_that_the_code_gives(self):
        texts = [path.read_text() for path in REGISTRY.rglob("*.py")]
        given = {word for text in texts for word in re.findall(r'\breason="(\w+)"', text)}
        egress = (REGISTRY / "egress.py").read_text()
        given |= set(re.findall(r'\(\s*"(\w+)",\s*"(?:is|was|has) ', egress))

        assert {"refused", "redirect", "web_page", "expired", "unknown_authority"} <= given
        assert given - set(ADVICE) == set()

    def test_speaks_of_steps_that_there_are(self):
        named = {key.partition(".")[0] for key in ADVICE if "." in key}

        assert named <= {step.slug for step in STEPS}
