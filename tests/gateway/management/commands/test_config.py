"""Tests for gateway/management/commands/config.py."""

import io

import pytest
from django.core.management import CommandError, call_command

from features.config.state import AppliedConfig
from features.models import FeatureRule
from models_registry.changes import ConfigChange
from tests.factories import make_group, make_member, make_model, make_rule

pytestmark = pytest.mark.django_db
RULES = "rules:\n- {feature: duo_chat, state: on}\n"


@pytest.fixture
def file(tmp_path):
    """A function that writes a file and returns its path."""

    def write(text):
        path = tmp_path / "enclave.yml"
        path.write_text(text)
        return path

    return write


class TestExport:
    def test_prints_or_writes_what_is_live(self, capsys, tmp_path):
        make_rule(None, model=make_model(name="house"))

        call_command("config", "export")
        call_command("config", "export", tmp_path / "out.yml")

        printed = capsys.readouterr().out
        assert "model: house" in printed
        assert (tmp_path / "out.yml").read_text() == printed

    def test_can_be_planned_without_a_difference(self, file, capsys):
        make_rule(None, model=make_model())
        call_command("config", "export")
        exported = capsys.readouterr().out

        call_command("config", "plan", file(exported))

        assert capsys.readouterr().out == "Nothing differs.\n"

    def test_says_where_it_cannot_write(self):
        with pytest.raises(CommandError, match="cannot be written"):
            call_command("config", "export", "/not/there/out.yml")


class TestPlan:
    def test_says_what_would_change_and_for_whom_and_changes_nothing(self, file, capsys):
        make_member(make_group("payments"), "42")

        with pytest.raises(SystemExit) as end:
            call_command("config", "plan", file(RULES))

        said = capsys.readouterr().out
        assert end.value.code == 2
        assert "+ Rule Whole instance, General Chat: state on" in said
        assert "1 to add, 0 to change, 0 to remove." in said
        assert "  1 users and 0 API keys gain General Chat" in said
        assert "  callers without a known group gain General Chat" in said
        assert not FeatureRule.objects.exists()
        assert AppliedConfig.last() is None


class TestApply:
    def test_applies_and_says_what_it_did(self, file, capsys):
        call_command("config", "apply", file(RULES))

        assert "1 to add" in capsys.readouterr().out
        assert FeatureRule.objects.get().state == "on"
        assert ConfigChange.objects.latest("pk").actor.endswith("(config apply)")
        assert AppliedConfig.last().name.endswith("enclave.yml")

    def test_reads_standard_input(self, monkeypatch, capsys):
        monkeypatch.setattr("sys.stdin", io.StringIO(RULES))

        call_command("config", "apply", "-")

        assert FeatureRule.objects.count() == 1

    @pytest.mark.parametrize("what", ["plan", "apply"])
    def test_names_every_place_that_is_wrong(self, file, what):
        path = file("rules:\n- {feature: x, state: on}\n- {feature: duo_chat, state: maybe}\n")

        with pytest.raises(CommandError) as refusal:
            call_command("config", what, path)

        said = str(refusal.value).splitlines()
        assert said[0].endswith("enclave.yml: nothing was changed.")
        assert [line.partition(":")[0] for line in said[1:]] == ["line 2", "line 3"]

    def test_says_that_there_is_no_such_file(self):
        with pytest.raises(CommandError, match="cannot be read"):
            call_command("config", "apply", "/not/there.yml")
