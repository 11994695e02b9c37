"""Promises of `manage.py audit`; those of its verbs: tests/gateway/audit/chain/test_verbs.py."""

import pytest
from django.core.management import CommandError, call_command


class TestCommand:
    def test_lists_its_verbs(self, capsys):
        with pytest.raises(SystemExit):
            call_command("audit", "--help")

        assert {"verify", "proof", "key", "roles"} <= {*capsys.readouterr().out.split()}

    def test_wants_a_verb(self):
        with pytest.raises(CommandError, match="required: verb"):
            call_command("audit")
