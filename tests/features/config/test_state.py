"""Tests for features/config/state.py."""

import pytest

from features.config.state import KEPT, AppliedConfig
from models_registry.changes import made_by

pytestmark = pytest.mark.django_db


class TestAppliedConfig:
    def test_remembers_who_applied_what(self):
        with made_by("pipeline"):
            AppliedConfig.keep("groups: []\n", name="enclave.yml")

        last = AppliedConfig.last()
        assert (last.actor, last.name, last.document) == ("pipeline", "enclave.yml", "groups: []\n")

    def test_forgets_old_ones(self):
        for number in range(KEPT + 5):
            AppliedConfig.keep(str(number), name="x")

        assert AppliedConfig.objects.count() == KEPT
        assert AppliedConfig.last().document == str(KEPT + 4)

    def test_is_none_before_the_first(self):
        assert AppliedConfig.last() is None
