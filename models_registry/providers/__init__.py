"""The catalog of providers: who speaks which wire format.

To add one: a class in a module of its own, and one line in PROVIDERS; one in `names.ROUTES` where
GitLab has a route to it.
"""

from __future__ import annotations

from models_registry.errors import ModelMisconfigured
from models_registry.providers import names
from models_registry.providers.anthropic import Anthropic
from models_registry.providers.azure_openai import AzureOpenAI
from models_registry.providers.base import Provider
from models_registry.providers.bedrock import Bedrock
from models_registry.providers.echo import Echo
from models_registry.providers.openai_compatible import OpenAICompatible

PROVIDERS: dict[str, Provider | Echo] = {
    names.OPENAI_COMPATIBLE: OpenAICompatible(),
    names.AZURE: AzureOpenAI(),
    names.ANTHROPIC: Anthropic(),
    names.BEDROCK: Bedrock(),
    "echo": Echo(),
}

# Those that know by themselves where to ask, if anywhere.
WITHOUT_ENDPOINT = frozenset(("echo", names.BEDROCK))


def get_provider(slug: str) -> Provider | Echo:
    """Return the provider.

    Raises:
        ModelMisconfigured: there is none of this name.
    """
    try:
        return PROVIDERS[slug]
    except KeyError:
        raise ModelMisconfigured(f"There is no provider '{slug}'.") from None


def choices() -> list[tuple[str, str]]:
    """Return the providers for a form field."""
    return [(slug, provider.label) for slug, provider in PROVIDERS.items()]
