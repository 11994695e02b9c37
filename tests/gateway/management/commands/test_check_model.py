"""The connection test in a terminal: the same steps, and an exit status."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from models_registry import model_checks
from models_registry.connection_test import STEPS
from models_registry.fields import Stored
from models_registry.models import EgressDestination, SelfHostedModel
from tests.factories import make_model
from tests.models_registry import ANSWER, RawServer, answering
from tests.models_registry.authority import Authority

KEY = "sk-canary-1c40"
pytestmark = pytest.mark.django_db


@pytest.fixture
def works(backend):
    return make_model(name="works", endpoint=backend.endpoint, identifier="stub", api_key=KEY)


class TestCheckModel:
    def test_prints_every_step_and_succeeds(self, works, capsys):
        call_command("check_model", "works")

        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "works"
        assert [line[4:22].strip() for line in lines[1:]] == [step.name for step in STEPS]
        assert model_checks.last(works.current.digest).state == "passed"

    def test_prints_the_fix_and_fails(self, works, backend, capsys):
        backend.names = ["codestral", "llama3"]

        with pytest.raises(CommandError, match="1 of 1 failed: works"):
            call_command("check_model", "works")

        said = capsys.readouterr().out
        assert "✗ Model present" in said
        assert "Fix: Take one of the names" in said
        assert "Listed: codestral, llama3" in said
        assert KEY not in said

    def test_tests_every_model_that_is_not_disabled(self, works, capsys):
        make_model(name="closed", endpoint="http://127.0.0.1:1/v1")
        make_model(name="off", endpoint="http://127.0.0.1:1/v1", state="disabled")
        make_model(name="echo", provider="echo", endpoint="")

        with pytest.raises(CommandError, match="1 of 3 failed: closed"):
            call_command("check_model", "--all")

        assert "off" not in capsys.readouterr().out.splitlines()

    def test_adds_a_forgotten_v1_and_saves_it(self, works, backend, capsys):
        backend.needs_version = True
        works.endpoint = backend.url
        works.save()

        call_command("check_model", "works")

        works.refresh_from_db()
        assert works.endpoint == works.current.endpoint == backend.endpoint
        assert works.current.as_config().api_key == KEY
        assert f"changed to {backend.endpoint}" in capsys.readouterr().out
        assert model_checks.last(works.current.digest).state == "passed"

    def test_shows_the_chain_that_it_refuses(self, tmp_path, capsys):
        authority = Authority(tmp_path, "Enclave test authority")
        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            make_model(name="tls", endpoint=f"{server.url}/v1")
            with pytest.raises(CommandError):
                call_command("check_model", "tls")

        assert "server, signed by Enclave test authority, valid until" in capsys.readouterr().out

    def test_writes_down_what_it_reached(self, works, backend):
        call_command("check_model", "works")

        assert EgressDestination.objects.get().port == backend.port

    def test_goes_on_after_a_key_that_cannot_be_read(self, works, capsys):
        broken = make_model(name="broken")
        SelfHostedModel.objects.filter(pk=broken.pk).update(api_key=Stored("f1:nonsense"))

        with pytest.raises(CommandError, match="1 of 2 failed: broken"):
            call_command("check_model", "--all")

        assert "enter it again" in capsys.readouterr().out

    def test_names_the_models_that_there_are(self, works):
        with pytest.raises(CommandError, match=r"no model 'other'\. Registered: works\."):
            call_command("check_model", "other")

    def test_wants_to_know_which(self, db):
        with pytest.raises(CommandError, match="required"):
            call_command("check_model")

    def test_tests_more_models_than_a_person_may_in_the_admin(self, db, capsys):
        for number in range(12):
            make_model(name=f"echo {number}", provider="echo", endpoint="")

        call_command("check_model", "--all")

        assert capsys.readouterr().out.count("✓ Stream") == 12
