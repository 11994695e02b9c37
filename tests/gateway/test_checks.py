"""Promises of gateway/checks.py: what an operator got wrong is named before anything starts."""

import inspect

import pytest
from django.conf import settings as django_settings
from django.core.checks import Error
from django.core.checks.registry import registry

from gateway import checks
from prompts import library
from prompts.errors import InvalidPrompt, PromptNotFound


def ids(found):
    return {message.id for message in found}


class TestDocumentation:
    def test_lists_every_id_that_is_used(self):
        with open(checks.__file__) as file:
            source = file.read()

        used = {part.split('"')[0] for part in source.split('id="')[1:]}

        assert used
        assert all(f"    {name}  " in checks.__doc__ for name in used)


class TestChecks:
    def test_are_all_run_by_django(self):
        written = {
            check
            for _, check in inspect.getmembers(checks, inspect.isfunction)
            if check.__annotations__.get("return") == "list[CheckMessage]"
        }

        assert written
        assert written <= set(registry.get_checks(include_deployment_checks=True))

    def test_hold_for_the_settings_of_the_tests(self):
        ours = [check for check in registry.get_checks() if check.__module__ == checks.__name__]

        assert ours
        assert not [message for check in ours for message in check()]


class TestPromptsExist:
    @pytest.mark.parametrize(
        ("error", "check_id"),
        [(PromptNotFound("no file"), "gateway.E001"), (InvalidPrompt("bad"), "gateway.E002")],
    )
    def test_names_what_is_wrong_with_a_prompt(self, monkeypatch, error, check_id):
        def broken(*_):
            raise error

        monkeypatch.setattr(library, "get_definition", broken)

        found = checks.prompts_exist()

        assert ids(found) == {check_id}
        assert str(error) in found[0].msg


class TestLimitsArePositive:
    @pytest.mark.parametrize("name", checks.LIMITS)
    @pytest.mark.parametrize("value", [0, -1])
    def test_names_a_limit_that_is_none(self, settings, name, value):
        setattr(settings, name, value)

        assert checks.limits_are_positive() == [
            Error(f"{name} must be greater than 0.", id="gateway.E003")
        ]

    def test_knows_every_limit(self):
        names = {
            name
            for name in dir(django_settings)
            if name.startswith("GATEWAY_") and name.endswith(("_S", "_BYTES", "_MS", "_TEXTS"))
        }

        # A window of 0 is no window.
        assert set(checks.LIMITS) == names - {"GATEWAY_FLUSH_WINDOW_MS"}


class TestSecretsAreUsable:
    def test_wants_a_key_and_says_how_to_make_one(self, settings):
        settings.GATEWAY_ENCRYPTION_KEYS = []

        (found,) = checks.secrets_are_usable()

        assert found.id == "gateway.E004"
        assert "Fernet.generate_key()" in found.hint

    @pytest.mark.parametrize("key", ["", "short", "é" * 44, "x" * 44])
    def test_refuses_a_malformed_one_without_repeating_it(self, settings, key):
        settings.GATEWAY_ENCRYPTION_KEYS = [*settings.GATEWAY_ENCRYPTION_KEYS, key]

        (found,) = checks.secrets_are_usable()

        assert found.id == "gateway.E004"
        assert not key or key not in found.msg


class TestChoicesAreKnown:
    @pytest.mark.parametrize("entry", ["10.0.0.0/99", "http://host", "a b", "10.0.0.1.2"])
    def test_names_an_entry_of_the_egress_list_that_is_none(self, settings, entry):
        settings.GATEWAY_EGRESS_ALLOW = ["10.0.0.0/8", entry]

        (found,) = checks.choices_are_known()

        assert found.id == "gateway.E005"
        assert entry in found.msg

    @pytest.mark.parametrize("choice", ["", "Adopt", "allow"])
    def test_names_the_two_ways_with_unregistered_models(self, settings, choice):
        settings.GATEWAY_UNREGISTERED_MODELS = choice

        (found,) = checks.choices_are_known()

        assert (found.id, "adopt or refuse" in found.msg) == ("gateway.E005", True)

    def test_wants_a_receiver_that_can_be_sent_to(self, settings):
        settings.GATEWAY_SIEM_URL = "siem.example.com"

        (found,) = checks.choices_are_known()

        assert (found.id, "GATEWAY_SIEM_URL" in found.msg) == ("gateway.E005", True)

    @pytest.mark.parametrize("choice", ["", "Any", "none"])
    def test_names_the_two_ways_with_the_names_that_clients_use(self, settings, choice):
        settings.GATEWAY_CLIENT_MODEL_NAMES = choice

        (found,) = checks.choices_are_known()

        assert (found.id, "any or listed" in found.msg) == ("gateway.E005", True)


class TestProductionIsSafe:
    @pytest.fixture(autouse=True)
    def _as_in_production(self, settings):
        settings.DEBUG = False
        settings.ALLOWED_HOSTS = ["enclave.example.com"]
        settings.GATEWAY_GITLAB_URL = "https://gitlab.example.com"
        settings.GATEWAY_SIGNING_KEY_FILE = "/etc/enclave/signing_key.pem"

    def test_is_content_with_production(self):
        assert checks.production_is_safe() == []

    @pytest.mark.parametrize(
        ("name", "value", "check_id"),
        [
            ("DEBUG", True, "gateway.E006"),
            ("ALLOWED_HOSTS", ["a", "*"], "gateway.E006"),
            ("GATEWAY_GITLAB_URL", "", "gateway.W001"),
            ("GATEWAY_SIGNING_KEY_FILE", "", "gateway.W002"),
            ("GATEWAY_VENDOR_ROUTE_URL", "http://10.1.2.3:5052", "gateway.W014"),
        ],
    )
    def test_names_what_a_development_machine_may_leave_open(self, settings, name, value, check_id):
        setattr(settings, name, value)

        assert ids(checks.production_is_safe()) == {check_id}


class TestVendorRouteIsUsable:
    @pytest.mark.parametrize("url", ["", "https://cloud.gitlab.com/ai", "http://10.1.2.3:5052"])
    def test_is_content_with_an_address_or_none(self, settings, url):
        settings.GATEWAY_VENDOR_ROUTE_URL = url

        assert checks.vendor_route_is_usable() == []

    @pytest.mark.parametrize(
        "url", ["cloud.gitlab.com", "ftp://a/b", "https://u:p@a/", "http://169.254.169.254/"]
    )
    def test_names_an_address_that_cannot_be_used(self, settings, url):
        settings.GATEWAY_VENDOR_ROUTE_URL = url

        (found,) = checks.vendor_route_is_usable()

        assert found.id == "gateway.E014"
        assert found.msg.startswith("GATEWAY_VENDOR_ROUTE_URL: The endpoint")


class TestDocumentationIsIndexed:
    def test_says_how_to_build_an_index_where_there_is_none(self, settings, tmp_path):
        settings.GATEWAY_DATA_DIR = tmp_path

        (found,) = checks.documentation_is_indexed()

        assert (found.id, "manage.py index_docs" in found.hint) == ("gateway.I013", True)

    def test_is_content_with_an_index(self, settings, tmp_path):
        settings.GATEWAY_DATA_DIR = tmp_path
        (tmp_path / "docs.sqlite3").touch()

        assert checks.documentation_is_indexed() == []


class TestAuditLogCanBeProved:
    @pytest.mark.parametrize(
        "name", ["GATEWAY_AUDIT_SIGNING_KEY_FILE", "GATEWAY_AUDITOR_PUBLIC_KEY_FILE"]
    )
    def test_names_a_key_that_cannot_be_used(self, settings, tmp_path, name):
        setattr(settings, name, str(tmp_path / "missing.pem"))

        (found,) = checks.audit_log_can_be_proved()

        assert found.id == "gateway.E020"
        assert found.msg.startswith(f"{name}: ")

    def test_wants_a_checkpoint_every_minute(self, settings):
        settings.GATEWAY_AUDIT_CHECKPOINT_S = 50
        assert checks.audit_log_can_be_proved() == []

        settings.GATEWAY_AUDIT_CHECKPOINT_S = 51

        assert ids(checks.audit_log_can_be_proved()) == {"gateway.E021"}

    def test_names_a_place_that_is_none(self, settings):
        settings.GATEWAY_AUDIT_ANCHORS = ["file:///var/log/checkpoints", "ftp://log.example.com"]

        (found,) = checks.audit_log_can_be_proved()

        assert found.id == "gateway.E021"
        assert "must begin with one of" in found.msg


class TestAuditLogIsProvedOutside:
    @pytest.fixture(autouse=True)
    def folder(self, settings, tmp_path):
        settings.GATEWAY_DATA_DIR = tmp_path
        return tmp_path

    def test_warns_where_all_is_in_one_hand(self, settings, folder):
        for places in ([], [f"file://{folder}/checkpoints"]):
            settings.GATEWAY_AUDIT_ANCHORS = places

            assert ids(checks.audit_log_is_proved_outside()) == {"gateway.W020"}

    def test_is_content_with_one_place_outside(self, settings, folder):
        settings.GATEWAY_AUDIT_ANCHORS = [
            f"file://{folder}/checkpoints",
            "https://log.example.com/",
        ]

        assert checks.audit_log_is_proved_outside() == []

    def test_warns_while_the_auditors_key_lies_here(self, settings, folder):
        settings.GATEWAY_AUDIT_ANCHORS = ["https://log.example.com/"]
        (folder / "auditor_key.pem").touch()

        (found,) = checks.audit_log_is_proved_outside()

        assert found.id == "gateway.W021"
