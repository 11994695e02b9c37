"""Tests for models_registry/adoption.py."""

import threading

import pytest
from cryptography.fernet import Fernet
from django.db import connection

from models_registry import adoption
from models_registry.adoption import Address, AdoptionRefused
from models_registry.errors import ModelMisconfigured
from models_registry.models import ModelRevision, SelfHostedModel, State
from tests.factories import ENDPOINT, make_model

NAMED = {
    "family": "codestral",
    "endpoint": ENDPOINT,
    "identifier": "custom_openai/codestral",
    "api_key": "sk-from-gitlab",
}


@pytest.fixture(autouse=True)
def _nothing_remembered():
    adoption.forget()
    yield
    adoption.forget()


class TestAddress:
    @pytest.mark.parametrize(
        ("endpoint", "identifier"),
        [
            ("http://LLM.example/v1", "code"),
            ("http://llm.example/v1/", "code"),
            ("HTTP://llm.example/v1", "code"),
            (" http://llm.example/v1", "code"),
            ("http://llm.example/v1", "custom_openai/code"),
            ("http://llm.example/v1", "openai/code"),
        ],
    )
    def test_has_one_spelling(self, endpoint, identifier):
        address = Address.of(family="general", endpoint=endpoint, identifier=identifier)

        assert address == Address.of(
            family="general", endpoint="http://llm.example/v1", identifier="code"
        )

    @pytest.mark.parametrize(
        "other",
        [
            {"family": "mistral"},
            {"endpoint": "http://llm.example/V1"},
            {"endpoint": "https://llm.example/v1"},
            {"endpoint": "http://llm.example:8000/v1"},
            {"identifier": "Code"},
            {"identifier": "bedrock/code"},
        ],
    )
    def test_tells_different_models_apart(self, other):
        facts = {"family": "general", "endpoint": "http://llm.example/v1", "identifier": "code"}

        assert Address.of(**facts) != Address.of(**{**facts, **other})

    @pytest.mark.parametrize(
        ("provider", "identifier"),
        [
            ("azure_openai", "azure/house"),
            ("azure_openai", "house"),
            ("openai_compatible", "azure/house"),
        ],
    )
    def test_is_that_of_the_model_that_gitlab_means(self, provider, identifier):
        row = SelfHostedModel(
            family="gpt", provider=provider, endpoint="http://llm.example", identifier=identifier
        )

        assert Address.of_row(row) == Address.of(
            family="gpt", endpoint="http://llm.example", identifier="azure/house"
        )

    @pytest.mark.parametrize("endpoint", ["", "https://vpce.example.com"])
    @pytest.mark.parametrize(
        "named", ["http://bedrockselfhostedmodel.com", "http://localhost:11434/v1"]
    )
    def test_of_bedrock_is_the_identifier(self, endpoint, named):
        row = SelfHostedModel(
            family="claude_3", provider="bedrock", endpoint=endpoint, identifier="us.claude"
        )

        assert Address.of_row(row) == Address.of(
            family="claude_3", endpoint=named, identifier="bedrock/us.claude"
        )

    def test_takes_any_text(self):
        assert Address.of(family="", endpoint="http://[", identifier="").endpoint == "http://["


@pytest.mark.django_db
class TestAdopt:
    def test_registers_an_unknown_model_for_review(self):
        config = adoption.adopt(**NAMED)

        row = SelfHostedModel.objects.get()
        assert row.state == State.DISCOVERED
        assert row.name == "discovered: custom_openai/codestral (codestral)"
        assert config == row.current.as_config()
        assert config.api_key == "sk-from-gitlab"
        assert config.endpoint == ENDPOINT

    @pytest.mark.parametrize(
        ("identifier", "provider"),
        [
            ("azure/gpt-5", "azure_openai"),
            ("anthropic/claude", "anthropic"),
            ("bedrock/us.claude", "bedrock"),
            ("nosuchprovider/gpt-5", "openai_compatible"),
        ],
    )
    def test_adopts_with_the_provider_that_the_identifier_says(self, identifier, provider):
        config = adoption.adopt(**{**NAMED, "identifier": identifier})

        assert (config.provider, config.identifier) == (provider, identifier)
        assert SelfHostedModel.objects.get().provider == provider

    @pytest.mark.parametrize(
        ("endpoint", "identifier"),
        [
            ("http://bedrockselfhostedmodel.com", "bedrock/us.claude"),
            ("http://bedrockselfhostedmodel.com", "amazon.nova-pro-v1:0"),
            ("http://localhost:11434/v1", "bedrock/us.claude"),
        ],
    )
    def test_takes_no_address_from_what_stands_beside_a_model_of_bedrock(
        self, endpoint, identifier
    ):
        config = adoption.adopt(**{**NAMED, "endpoint": endpoint, "identifier": identifier})

        assert (config.provider, config.endpoint) == ("bedrock", "")

    def test_stores_the_key_encrypted(self):
        adoption.adopt(**NAMED)

        with connection.cursor() as cursor:
            cursor.execute("SELECT api_key FROM models_registry_selfhostedmodel")
            stored = cursor.fetchone()[0]

        assert "sk-from-gitlab" not in stored

    def test_makes_no_query_the_second_time(self, django_assert_num_queries):
        first = adoption.adopt(**NAMED)

        with django_assert_num_queries(0):
            assert adoption.adopt(**NAMED) == first

    def test_asks_the_database_again_after_a_while(self, monkeypatch):
        first = adoption.adopt(**NAMED)
        SelfHostedModel.objects.all().delete()
        monkeypatch.setattr(adoption, "REMEMBER_S", 0.0)

        assert adoption.adopt(**NAMED).model_id != first.model_id

    def test_finds_the_same_row_in_another_process(self):
        first = adoption.adopt(**NAMED)
        adoption.forget()

        again = adoption.adopt(**{**NAMED, "endpoint": ENDPOINT + "/"})

        assert again == first

    def test_follows_the_key_that_gitlab_sends(self):
        first = adoption.adopt(**NAMED)

        second = adoption.adopt(**{**NAMED, "api_key": "sk-rotated"})

        assert second.model_id == first.model_id
        assert second.revision_id != first.revision_id
        assert second.api_key == "sk-rotated"

    def test_replaces_a_key_that_cannot_be_read_any_more(self, settings):
        first = adoption.adopt(**NAMED)
        adoption.forget()
        settings.GATEWAY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

        again = adoption.adopt(**NAMED)

        assert (again.model_id, again.api_key) == (first.model_id, "sk-from-gitlab")

    def test_never_changes_what_a_person_registered(self):
        model = make_model(identifier="codestral", endpoint=ENDPOINT, api_key="sk-ours")

        config = adoption.adopt(**NAMED)

        assert config == model.current.as_config()
        assert config.api_key == "sk-ours"

    def test_refuses_a_disabled_model(self):
        make_model(identifier="codestral", endpoint=ENDPOINT, state=State.DISABLED)

        with pytest.raises(AdoptionRefused, match="disabled"):
            adoption.adopt(**NAMED)

    def test_numbers_equal_names(self):
        adoption.adopt(**NAMED)
        adoption.adopt(**{**NAMED, "endpoint": "http://10.1.2.4/v1"})
        adoption.adopt(**{**NAMED, "endpoint": "http://10.1.2.5/v1"})

        names = SelfHostedModel.objects.order_by("pk").values_list("name", flat=True)
        assert [name.rpartition(")")[2] for name in names] == ["", " #2", " #3"]

    def test_shortens_a_long_identifier_in_the_name_only(self):
        config = adoption.adopt(**{**NAMED, "identifier": "x" * 1000})

        assert config.identifier == "x" * 1000
        assert len(config.name) < 200

    def test_stops_when_too_many_wait_for_review(self, monkeypatch):
        monkeypatch.setattr(adoption, "MAX_DISCOVERED", 2)
        adoption.adopt(**{**NAMED, "identifier": "1"})
        adoption.adopt(**{**NAMED, "identifier": "2"})

        with pytest.raises(AdoptionRefused, match="wait for review"):
            adoption.adopt(**{**NAMED, "identifier": "3"})

        assert SelfHostedModel.objects.count() == 2

    @pytest.mark.parametrize(
        "fact",
        [
            {"family": "unheard-of"},
            {"endpoint": ""},
            {"endpoint": "gopher://canary"},
            {"endpoint": "http://169.254.169.254/canary"},
            {"identifier": "canary" * 1000},
            {"identifier": "can\0ary"},
            {"api_key": "can\0ary"},
        ],
    )
    def test_refuses_what_a_form_would_refuse_without_repeating_it(self, fact):
        with pytest.raises(ModelMisconfigured) as caught:
            adoption.adopt(**{**NAMED, **fact})

        assert SelfHostedModel.objects.count() == 0
        assert not any(value and value in str(caught.value) for value in fact.values())


@pytest.mark.django_db(transaction=True)
class TestAdoptAtOnce:
    def test_registers_one_row_when_two_processes_meet_a_model(self):
        start = threading.Barrier(4)
        configs = []

        def meet():
            start.wait()
            configs.append(adoption._adopt(ModelRevision(provider="openai_compatible", **NAMED)))
            connection.close()

        threads = [threading.Thread(target=meet) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(configs) == 4
        assert SelfHostedModel.objects.count() == 1
        assert len({config.revision_id for config in configs}) == 1

    def test_keeps_no_connection_while_the_call_waits(self):
        adoption.adopt(**NAMED)

        assert connection.connection is None


@pytest.mark.django_db
class TestTemporary:
    def test_registers_no_model(self):
        config = adoption.temporary(**NAMED)

        assert SelfHostedModel.objects.count() == 0
        assert config.model_id is None
        assert ModelRevision.objects.get(pk=config.revision_id).as_config() == config

    def test_writes_one_revision_for_equal_facts(self):
        first = adoption.temporary(**NAMED)
        adoption.forget()

        again = adoption.temporary(**NAMED)

        assert again == first
        assert ModelRevision.objects.count() == 1

    def test_makes_no_query_the_second_time(self, django_assert_num_queries):
        first = adoption.temporary(**NAMED)

        with django_assert_num_queries(0):
            assert adoption.temporary(**NAMED) == first

    def test_leaves_the_address_to_the_door(self):
        config = adoption.temporary(**{**NAMED, "endpoint": "http://169.254.169.254"})

        assert config.endpoint == "http://169.254.169.254"

    def test_refuses_an_unknown_family(self):
        with pytest.raises(ModelMisconfigured, match="family"):
            adoption.temporary(**{**NAMED, "family": "unheard-of"})
