"""Tests for models_registry/models.py."""

import datetime
import inspect
from importlib import import_module

import pytest
from cryptography import x509
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db.models import ProtectedError

from models_registry import families
from models_registry.errors import ModelMisconfigured
from models_registry.families import Family
from models_registry.models import ModelRevision, SelfHostedModel
from models_registry.providers import PROVIDERS, WITHOUT_ENDPOINT
from tests.factories import ENDPOINT, make_model, make_rule

CANARY = "sk-canary-91cc"


def certificate() -> str:
    """Return a self-signed certificate as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.django_db
class TestSelfHostedModel:
    def test_is_served_by_its_current_revision(self):
        model = make_model(name="code", api_key=CANARY, endpoint=ENDPOINT + "/")

        config = model.current.as_config()

        assert config.model_id == model.pk
        assert config.revision_id == model.current_id
        assert config.name == "code"
        assert config.endpoint == ENDPOINT
        assert config.api_key == CANARY
        assert config.context_window == families.FAMILIES["codestral"].context_window

    def test_gets_a_new_revision_when_the_connection_changes(self):
        model = make_model(endpoint=ENDPOINT)
        first = model.current

        model.endpoint = "http://10.9.9.9/v1"
        model.save()

        assert model.current != first
        assert ModelRevision.objects.get(pk=first.pk).endpoint == ENDPOINT

    def test_gets_a_new_revision_when_only_the_key_changes(self):
        model = make_model(api_key="sk-old")
        first = model.current

        model.api_key = "sk-new"
        model.save()

        assert model.current != first
        assert first.as_config().api_key == "sk-old"
        assert model.current.as_config().api_key == "sk-new"

    def test_serves_again_when_a_lost_key_is_typed_in_again(self, settings):
        model = SelfHostedModel.objects.get(pk=make_model(api_key=CANARY).pk)
        settings.GATEWAY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

        model.api_key = CANARY
        model.save()

        assert model.current.as_config().api_key == CANARY

    def test_keeps_its_revision_when_the_connection_stays(self):
        model = SelfHostedModel.objects.get(pk=make_model().pk)
        first = model.current

        model.state = "disabled"
        model.save()

        assert model.current == first
        assert ModelRevision.objects.count() == 1

    def test_returns_to_its_old_revision_when_the_change_is_undone(self):
        model = make_model(identifier="a")
        first = model.current
        model.identifier = "b"
        model.save()

        model.identifier = "a"
        model.save()

        assert model.current == first

    def test_cannot_be_deleted_while_a_rule_names_it(self):
        rule = make_rule(model=make_model())

        with pytest.raises(ProtectedError):
            rule.model.delete()

    def test_leaves_its_revisions_behind_even_if_it_is_made_and_deleted_twice(self):
        facts = {"name": "twice", "identifier": "same", "api_key": "sk"}

        make_model(**facts).delete()
        make_model(**facts).delete()

        assert ModelRevision.objects.filter(model=None, name="twice").count() == 2

    @pytest.mark.parametrize("provider", sorted(PROVIDERS.keys() - WITHOUT_ENDPOINT))
    def test_needs_an_endpoint(self, provider):
        with pytest.raises(ValidationError) as caught:
            SelfHostedModel(name="m", family="general", provider=provider).full_clean()

        assert set(caught.value.message_dict) == {"endpoint"}

    @pytest.mark.parametrize("provider", ["echo", "bedrock"])
    def test_needs_none_where_the_provider_knows_where_to_ask(self, provider):
        SelfHostedModel(name="m", family="general", provider=provider).full_clean()

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("family", "unheard-of"),
            ("provider", "unheard-of"),
            ("endpoint", "ftp://10.1.2.3/"),
            ("ca_bundle", "-----BEGIN CERTIFICATE-----\nbroken"),
            ("ca_bundle", "no certificate"),
            ("context_window", 0),
            ("first_byte_s", 0.0),
            ("idle_s", -1.0),
            ("deadline_s", 0.0),
        ],
    )
    def test_refuses_what_could_never_work(self, field, value):
        facts = {"name": "m", "family": "general", "endpoint": ENDPOINT, field: value}

        with pytest.raises(ValidationError) as caught:
            SelfHostedModel(**facts).full_clean()

        assert set(caught.value.message_dict) == {field}

    def test_takes_a_private_authority(self):
        facts = {"name": "m", "family": "general", "endpoint": ENDPOINT}

        SelfHostedModel(**facts, ca_bundle=certificate()).full_clean()


@pytest.mark.django_db
class TestModelRevision:
    def test_is_shared_by_equal_connections(self):
        facts = {"family": "general", "provider": "openai_compatible", "endpoint": ENDPOINT}

        one = ModelRevision.of(ModelRevision(**facts, api_key="sk"), model=None)
        same = ModelRevision.of(ModelRevision(**facts, api_key="sk"), model=None)
        other = ModelRevision.of(ModelRevision(**facts, api_key="sk-2"), model=None)

        assert one == same
        assert one != other

    def test_names_its_fault_when_the_key_cannot_be_decrypted(self, settings):
        model = SelfHostedModel.objects.get(pk=make_model(api_key=CANARY).pk)
        settings.GATEWAY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

        with pytest.raises(ModelMisconfigured, match="API key cannot be decrypted"):
            model.current.as_config()

    def test_names_its_fault_when_its_family_left_the_catalog(self):
        model = make_model(family="forgotten")

        with pytest.raises(ModelMisconfigured, match="forgotten"):
            model.current.as_config()

    def test_keeps_its_key_out_of_its_text(self):
        model = make_model(api_key=CANARY)

        text = f"{model!r} {model} {model.current!r} {model.current} {model.current.as_config()!r}"

        assert CANARY not in text


@pytest.mark.django_db
class TestMigrations:
    def test_are_complete(self):
        call_command("makemigrations", "models_registry", "features", check=True, dry_run=True)

    def test_do_not_change_when_a_family_is_added(self, monkeypatch):
        new = Family(slug="new", label="New", context_window=1)
        monkeypatch.setitem(families.FAMILIES, "new", new)

        call_command("makemigrations", "models_registry", check=True, dry_run=True)

    def test_hold_no_copy_of_a_catalog(self):
        source = inspect.getsource(import_module("models_registry.migrations.0001_initial"))

        assert source.count("choices=models_registry.families.choices") == 2
        assert source.count("choices=models_registry.providers.choices") == 2
