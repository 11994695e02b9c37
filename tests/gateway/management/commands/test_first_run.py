"""The first start makes what a first look needs, once, and tells it again."""

from __future__ import annotations

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command

from features import catalog
from features.models import ApiKey, FeatureRule, State, digest_key
from gateway.management.commands import first_run
from models_registry.models import SelfHostedModel

pytestmark = pytest.mark.django_db


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path


def prepare(data_dir, port=5052):
    return first_run.prepare(base_url=f"http://127.0.0.1:{port}", data_dir=data_dir)


class TestPrepare:
    def test_makes_an_administrator_who_can_log_in(self, data_dir):
        facts = prepare(data_dir)

        user = authenticate(username=facts["ADMIN_USER"], password=facts["ADMIN_PASSWORD"])
        assert user.is_superuser
        assert user.is_staff
        assert facts["ADMIN_URL"] == "http://127.0.0.1:5052/admin/"

    def test_makes_a_key_of_which_only_a_digest_is_stored(self, data_dir):
        facts = prepare(data_dir)

        key = ApiKey.objects.get()
        assert key.digest == digest_key(facts["API_KEY"])
        assert key.group is None

    def test_switches_every_feature_on_for_everyone_on_an_echo_model(self, data_dir):
        prepare(data_dir)

        rules = {rule.feature: rule for rule in FeatureRule.objects.all()}
        assert set(rules) == {slug for slug, _ in catalog.choices()}
        assert all(rule.group is None and rule.state == State.ON for rule in rules.values())
        assert all(rule.model.provider == "echo" for rule in rules.values())
        assert all(catalog.fits(slug, rule.model.family) for slug, rule in rules.items())

    def test_writes_what_it_tells_for_this_user_only(self, data_dir):
        facts = prepare(data_dir)

        file = data_dir / "first-run.env"
        assert file.read_text() == (
            f"ADMIN_URL={facts['ADMIN_URL']}\n"
            f"ADMIN_USER={facts['ADMIN_USER']}\n"
            f"ADMIN_PASSWORD={facts['ADMIN_PASSWORD']}\n"
            f"API_KEY={facts['API_KEY']}\n"
        )
        assert file.stat().st_mode & 0o777 == 0o600

    def test_tells_the_same_the_second_time(self, data_dir):
        first = prepare(data_dir)

        assert prepare(data_dir) == first
        assert ApiKey.objects.count() == 1

    def test_tells_and_writes_the_port_of_today(self, data_dir):
        prepare(data_dir)

        facts = prepare(data_dir, port=6000)

        assert facts["ADMIN_URL"] == "http://127.0.0.1:6000/admin/"
        assert first_run.read(data_dir / "first-run.env") == facts

    def test_leaves_alone_what_an_administrator_changed_since(self, data_dir):
        prepare(data_dir)
        FeatureRule.objects.filter(feature="code_completions").delete()
        SelfHostedModel.objects.filter(name="echo").update(name="renamed")

        prepare(data_dir)

        assert not FeatureRule.objects.filter(feature="code_completions").exists()
        assert {m.name for m in SelfHostedModel.objects.all()} == {"renamed", "echo-embedding"}

    def test_tells_only_the_address_after_the_file_was_deleted(self, data_dir):
        prepare(data_dir)
        (data_dir / "first-run.env").unlink()

        facts = prepare(data_dir)

        assert facts == {"ADMIN_URL": "http://127.0.0.1:5052/admin/"}
        assert not (data_dir / "first-run.env").exists()

    def test_makes_nothing_if_the_file_cannot_be_written(self, data_dir):
        with pytest.raises(FileNotFoundError):
            prepare(data_dir / "missing")

        assert not ApiKey.objects.exists()
        assert not SelfHostedModel.objects.exists()


class TestCommand:
    def test_prints_what_the_file_holds(self, data_dir, settings, capsys):
        settings.GATEWAY_DATA_DIR = data_dir

        call_command("first_run", url="http://enclave.example.com")

        assert capsys.readouterr().out == (data_dir / "first-run.env").read_text()
