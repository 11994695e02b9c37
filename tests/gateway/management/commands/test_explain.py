"""Tests for gateway/management/commands/explain.py."""

import json

import pytest
from django.core.management import CommandError, call_command

from models_registry.changes import made_by
from tests.factories import make_group, make_member, make_model, make_rule

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _company():
    group = make_group("payments", gitlab_id=7)
    make_member(group, "42")
    with made_by("adam"):
        make_rule(None, feature="duo_chat", model=make_model(name="house"))
        make_rule(group, feature="duo_chat", state="off")


def said(capsys, **options):
    call_command("explain", **{"feature": "duo_chat", **options})
    return capsys.readouterr().out


class TestExplain:
    def test_prints_the_ladder(self, capsys):
        lines = said(capsys, user="42").splitlines()

        assert lines[0] == "General Chat: off (group 'payments': off)"
        assert lines[1] == "  payments:"
        assert lines[2].startswith("    instance: on, model 'house' → on   [adam, 20")
        assert lines[3].startswith("    group 'payments': off → off   [adam, 20")

    def test_prints_notes_and_the_model(self, capsys):
        text = said(capsys, project="nowhere/app")

        assert "  model: 'house' (instance), unless the call names another" in text
        assert "  note: No group is known that 'nowhere/app' lies in" in text
        assert "  no group:" in text

    def test_says_that_a_call_is_refused_all_the_same(self, capsys):
        make_rule(None, feature="code_completions", model=make_model(state="disabled"))

        assert "refused all the same: Model" in said(capsys, feature="code_completions")

    def test_speaks_to_programs(self, capsys):
        found = json.loads(said(capsys, group="payments", json=True))

        assert (found["is_allowed"], found["groups"]) == (False, ["payments"])

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"feature": "telepathy"}, "no feature 'telepathy'"),
            ({"at": "yesterday"}, "cannot be read"),
            ({"at": "1999-01-01"}, "only since"),
        ],
    )
    def test_says_what_is_wrong_with_a_question(self, options, reason):
        with pytest.raises(CommandError, match=reason):
            call_command("explain", **{"feature": "duo_chat", **options})
