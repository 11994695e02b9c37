"""`.env.example` names every environment variable, with the default it really has."""

from __future__ import annotations

import re
from pathlib import Path

import environ

from gateway.settings.base import ALIASES, ENV

EXAMPLE = (Path(__file__).resolve().parents[1] / ".env.example").read_text()
STATED = dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))


class TestExample:
    def test_names_every_variable_and_no_other(self):
        assert list(STATED) == list(ENV)

    def test_states_every_default(self, monkeypatch):
        for name, value in STATED.items():
            monkeypatch.setitem(environ.Env.ENVIRON, name, value)
        env = environ.Env(**ENV)

        stated = {name: env(name) for name in ENV}

        assert stated == {name: default for name, (_, default) in ENV.items()}

    def test_changes_nothing_when_it_is_copied_as_it_stands(self):
        assert re.findall(r"^[^#\n]", EXAMPLE, re.MULTILINE) == []

    def test_names_every_alias(self):
        names = [alias for aliases in ALIASES.values() for alias in aliases]

        assert [name for name in names if name not in EXAMPLE] == []
