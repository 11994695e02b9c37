"""What an identifier says of a model: who serves it, by which name, and what it refuses.

GitLab writes `route/model`, where the route is one of the reference's client library.
Source: gateway-api.md 4.3 and 4.5; gitlab-client.md 1.4 and 2.1.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from models_registry.providers.types import ModelConfig

OPENAI_COMPATIBLE = "openai_compatible"
AZURE = "azure_openai"
ANTHROPIC = "anthropic"
BEDROCK = "bedrock"

# What GitLab stores as the endpoint of its Bedrock models; nobody is there (gitlab-client.md 1.4).
BEDROCK_PLACEHOLDER = "bedrockselfhostedmodel.com"

# The reference takes the text before any first slash for a route and fails on one it does not
# know. Here such an identifier is sent whole: servers call their models Qwen/Qwen2.5-Coder-7B.
ROUTES = {
    "azure": AZURE,
    "anthropic": ANTHROPIC,
    "bedrock": BEDROCK,
    **dict.fromkeys(
        (
            "custom_openai",
            "openai",
            "hosted_vllm",
            "litellm_proxy",
            "lm_studio",
            "together_ai",
            "text-completion-openai",
            "codestral",
            "mistral",
            "deepseek",
            "xai",
            "groq",
            "ollama",
            "ollama_chat",
            "llamafile",
            "azure_ai",
            "huggingface",
            "bedrock_mantle",
            "provider",  # GitLab's own examples: provider/some-model
        ),
        OPENAI_COMPATIBLE,
    ),
}
# The one route to each provider that has no other.
ROUTE_TO = {AZURE: "azure", ANTHROPIC: "anthropic", BEDROCK: "bedrock"}

# Models that refuse `max_tokens`, `temperature` and `stop`.
_REASONING = re.compile(r"(^|[/\-_.:])(gpt-5|o[134])([\-_.:]|$)", re.IGNORECASE)
# Models that refuse `temperature` only.
_FIXED_TEMPERATURE = re.compile(r"opus[-_.]4[-_.][78]|(sonnet|fable|mythos)[-_.]5", re.IGNORECASE)


def provider_of(*, endpoint: str, identifier: str) -> str:
    """Return the provider of a model that GitLab names; OpenAI's format where it names no other."""
    if is_bedrock_placeholder(endpoint):
        return BEDROCK
    route, slash, _ = identifier.partition("/")
    return ROUTES.get(route, OPENAI_COMPATIBLE) if slash else OPENAI_COMPATIBLE


def is_bedrock_placeholder(endpoint: str) -> bool:
    """Test whether an endpoint means AWS Bedrock, and no address."""
    try:
        return urlsplit(endpoint.strip()).hostname == BEDROCK_PLACEHOLDER
    except ValueError:
        return False


def served_name(model: ModelConfig) -> str:
    """Return the name the backend knows the model by: the identifier without its provider's route.

    A model without an identifier is called by its family.
    """
    route, slash, name = model.identifier.partition("/")
    is_routed = slash and ROUTES.get(route) == model.provider
    return (name if is_routed else model.identifier) or model.family


def is_reasoning(model: ModelConfig) -> bool:
    """Test whether the model refuses `max_tokens`, `temperature` and `stop`."""
    return model.is_reasoning or _REASONING.search(served_name(model)) is not None


def takes_temperature(model: ModelConfig) -> bool:
    """Test whether the model may be told how to sample."""
    return not is_reasoning(model) and not _FIXED_TEMPERATURE.search(served_name(model))
