"""What an identifier says of a model."""

from __future__ import annotations

from typing import Any

import pytest

from models_registry.providers.names import (
    is_bedrock_placeholder,
    provider_of,
    served_name,
    takes_temperature,
)
from models_registry.providers.types import ModelConfig
from tests.models_registry.providers import model_of

ENDPOINT = "http://llm.example.com:8000/v1"
PLACEHOLDER = "http://bedrockselfhostedmodel.com"


def model(provider: str = "openai_compatible", **fields: Any) -> ModelConfig:
    return model_of(provider, **fields)


class TestProviderOf:
    @pytest.mark.parametrize(
        ("identifier", "provider"),
        [
            ("custom_openai/house", "openai_compatible"),
            ("house", "openai_compatible"),
            ("", "openai_compatible"),
            ("Qwen/Qwen2.5-Coder", "openai_compatible"),
            ("azure_ai/house", "openai_compatible"),
            ("azure", "openai_compatible"),
            ("azure/gpt-5", "azure_openai"),
            ("anthropic/claude-sonnet-4-5", "anthropic"),
            ("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock"),
        ],
    )
    def test_is_what_the_route_says(self, identifier, provider):
        assert provider_of(endpoint=ENDPOINT, identifier=identifier) == provider

    @pytest.mark.parametrize(
        "identifier", ["", "anthropic.claude-3-haiku-20240307-v1:0", "bedrock/x"]
    )
    def test_is_bedrock_where_gitlab_writes_its_placeholder(self, identifier):
        assert provider_of(endpoint=PLACEHOLDER, identifier=identifier) == "bedrock"


class TestBedrockPlaceholder:
    @pytest.mark.parametrize(
        "endpoint", [PLACEHOLDER, f"{PLACEHOLDER}/", f" {PLACEHOLDER.upper()}:80 "]
    )
    def test_is_known_however_it_is_written(self, endpoint):
        assert is_bedrock_placeholder(endpoint)

    @pytest.mark.parametrize("endpoint", ["", "http://[", ENDPOINT, f"{PLACEHOLDER}.example"])
    def test_is_nothing_else(self, endpoint):
        assert not is_bedrock_placeholder(endpoint)


class TestServedName:
    @pytest.mark.parametrize(
        ("identifier", "name"),
        [
            ("custom_openai/house", "house"),
            ("openai/house", "house"),
            ("hosted_vllm/Qwen/Qwen2.5-Coder", "Qwen/Qwen2.5-Coder"),
            ("custom_openai/openai/gpt-oss-20b", "openai/gpt-oss-20b"),
            ("litellm_proxy/house", "house"),
            ("lm_studio/house", "house"),
            ("text-completion-openai/house", "house"),
            ("codestral/house", "house"),
            ("ollama_chat/house:7b", "house:7b"),
            ("provider/some-model", "some-model"),
            ("house", "house"),
            ("Qwen/Qwen2.5-Coder", "Qwen/Qwen2.5-Coder"),
            ("mistralai/Devstral", "mistralai/Devstral"),
            ("anthropic/claude-3", "anthropic/claude-3"),
            ("/models/house.gguf", "/models/house.gguf"),
            ("", "general"),
            ("openai/", "general"),
        ],
    )
    def test_is_the_identifier_without_a_route_to_the_provider(self, identifier, name):
        assert served_name(model(identifier=identifier)) == name

    @pytest.mark.parametrize(
        ("provider", "identifier", "name"),
        [
            ("azure_openai", "azure/gpt-5", "gpt-5"),
            ("azure_openai", "gpt-5", "gpt-5"),
            ("azure_openai", "openai/gpt-5", "openai/gpt-5"),
            ("anthropic", "anthropic/claude-sonnet-4-5", "claude-sonnet-4-5"),
            ("bedrock", "bedrock/us.amazon.nova-pro-v1:0", "us.amazon.nova-pro-v1:0"),
        ],
    )
    def test_keeps_routes_to_other_providers(self, provider, identifier, name):
        assert served_name(model(provider=provider, identifier=identifier)) == name


class TestTakesTemperature:
    @pytest.mark.parametrize("identifier", ["gpt-4o", "claude-sonnet-4-5", "olmo1"])
    def test_is_so_for_most(self, identifier):
        assert takes_temperature(model(identifier=identifier))

    @pytest.mark.parametrize("identifier", ["azure/gpt-5", "o3-mini", "claude-opus-4-7"])
    def test_is_not_so_for_models_that_refuse_it(self, identifier):
        assert not takes_temperature(model(identifier=identifier))

    def test_is_not_so_for_a_model_that_is_marked(self):
        assert not takes_temperature(model(identifier="house", is_reasoning=True))
