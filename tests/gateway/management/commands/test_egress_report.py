"""The egress report as text and as JSON."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command

from models_registry import egress_report
from models_registry.models import EgressDestination


@pytest.fixture
def _refused(db):
    EgressDestination.objects.create(
        host="8.8.8.8", port=443, purpose="model", refused=3, reason="not_listed"
    )


@pytest.mark.usefixtures("_refused")
class TestEgressReport:
    def test_is_text(self, capsys):
        call_command("egress_report")

        said = capsys.readouterr().out
        assert "Nothing was reached." in said
        assert "8.8.8.8:443  model, 3x" in said
        assert "Add 8.8.8.8:443 to GATEWAY_EGRESS_ALLOW" in said

    def test_is_json(self, capsys):
        call_command("egress_report", "--json")

        assert json.loads(capsys.readouterr().out) == egress_report.as_json()
