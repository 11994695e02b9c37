"""Promises of gateway/api/model_fields.py: how GitLab names a model."""

import pytest
from pydantic import ValidationError

from gateway.api.model_fields import (
    ALIASES,
    FlatModel,
    ModelMetadata,
    check_url,
    is_named,
    known_family,
    named_model,
)
from gateway.calls import NamedModel
from models_registry.families import FAMILIES


class TestKnownFamily:
    @pytest.mark.parametrize("name", FAMILIES)
    def test_knows_every_family_that_gitlab_approves(self, name):
        assert known_family(name) == name

    @pytest.mark.parametrize("name", ALIASES)
    def test_knows_what_gitlab_calls_single_models_of_a_family(self, name):
        assert known_family(name) in FAMILIES

    @pytest.mark.parametrize("name", ["", "unknown", "Codestral", "../mistral"])
    def test_refuses_others_without_repeating_them(self, name):
        with pytest.raises(ValueError, match=r"^unknown model family$"):
            known_family(name)


class TestNamedModel:
    ADDRESS = {"endpoint": "http://10.0.0.1/v1", "identifier": None, "api_key": None}

    @pytest.mark.parametrize(
        ("name", "family", "unknown"),
        [
            ("codestral", "codestral", ""),
            ("codestral-2501", "codestral", ""),
            (None, "general", ""),
            ("", "general", ""),
            ("granite", "general", "granite"),
            ("Codestral", "general", "Codestral"),
        ],
    )
    def test_is_of_the_family_that_serves_what_gitlab_calls_so(self, name, family, unknown):
        named = named_model(name=name, **self.ADDRESS)

        assert (named.family, named.unknown_family) == (family, unknown)


class TestIsNamed:
    @pytest.mark.parametrize(
        ("endpoint", "identifier", "expected"),
        [
            ("http://10.0.0.1/v1", None, True),
            (None, "bedrock/us.claude", True),
            ("", "bedrock/us.claude", True),
            (None, "azure/gpt-5", False),
            (None, "claude", False),
            (None, None, False),
        ],
    )
    def test_takes_an_address_or_a_model_of_bedrock(self, endpoint, identifier, expected):
        assert is_named(endpoint, identifier) is expected

    def test_lets_bodies_name_a_model_of_bedrock_alone(self):
        flat = FlatModel(model_identifier="bedrock/us.claude").as_named_model("claude_3")
        metadata = ModelMetadata(provider="openai", name="claude_3", identifier="bedrock/us.claude")

        assert flat == metadata.as_named()
        assert (flat.endpoint, flat.identifier) == ("", "bedrock/us.claude")


class TestCheckUrl:
    @pytest.mark.parametrize(
        "url",
        [
            "http://10.0.0.1:8000/v1",
            "https://llm.example.com",
            "bedrockselfhostedmodel://x",
            "llm:8000",  # a scheme and a path, as the reference reads it
        ],
    )
    def test_takes_what_gitlab_s_form_takes(self, url):
        assert check_url(url) == url

    @pytest.mark.parametrize(
        "url",
        ["", "//host/v1", "http://", "http://[::1", "a b", "http://host:port/v1", "http://h:99999"],
    )
    def test_refuses_what_is_no_address(self, url):
        with pytest.raises(ValueError, match="absolute URL"):
            check_url(url)


class TestFlatModel:
    def test_names_a_model_of_a_family(self):
        fields = FlatModel(model_endpoint="http://10.0.0.1/v1", model_identifier="custom_openai/x")

        assert fields.as_named_model("codestral-2501") == NamedModel(
            family="codestral", endpoint="http://10.0.0.1/v1", identifier="custom_openai/x"
        )
        assert fields.as_named_model(None).family == "general"

    def test_names_none_without_an_address(self):
        assert FlatModel(model_identifier="x").as_named_model("codestral") is None


class TestModelMetadata:
    def test_names_a_model(self):
        metadata = ModelMetadata(
            provider="openai",
            name="codestral-2501",
            endpoint="http://10.0.0.1/v1",
            api_key="sk-1",
            identifier="custom_openai/x",
        )

        assert metadata.as_named() == NamedModel(
            family="codestral",
            endpoint="http://10.0.0.1/v1",
            identifier="custom_openai/x",
            api_key="sk-1",
        )

    def test_names_none_without_an_address(self):
        assert ModelMetadata(provider="gitlab", identifier="").as_named() is None

    @pytest.mark.parametrize("provider", ["gitlab", "amazon_q", "fireworks_ai"])
    def test_takes_what_the_vendor_calls_its_own_models(self, provider):
        metadata = ModelMetadata(provider=provider, name="claude_sonnet_4")

        assert (metadata.name, metadata.as_named()) == ("claude_sonnet_4", None)

    def test_stands_for_any_model_where_it_names_no_family(self):
        named = ModelMetadata(provider="openai", endpoint="http://10.0.0.1/v1").as_named()

        assert named.family == "general"

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"provider": None},
            {"provider": "openai", "name": "unknown"},
            {"provider": "openai", "name": "unknown", "endpoint": None},
            {"provider": "openai", "name": "unknown", "endpoint": ""},
            {"provider": "openai", "endpoint": "nowhere"},
            {"provider": "openai", "endpoint": f"http://{'a' * 249}"},
            {"provider": "openai", "api_key": "k" * 2_001},
            {"provider": "openai", "identifier": "i" * 1_001},
        ],
    )
    def test_refuses_what_does_not_fit(self, fields):
        with pytest.raises(ValidationError):
            ModelMetadata.model_validate(fields)

    def test_does_not_show_the_key(self):
        named = ModelMetadata(
            provider="openai", endpoint="http://10.0.0.1/v1", api_key="sk-canary"
        ).as_named()

        assert "sk-canary" not in repr(named)
