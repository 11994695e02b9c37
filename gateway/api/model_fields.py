"""What the wire formats say about a model: families by name, endpoints as URLs.

GitLab's next release may know a family that we do not: a model that it names with an address is
served as one of the family `general`.

Source: gateway-api.md 3.3.1, 4.2, 4.4; gitlab-client.md 1.4.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import StringConstraints, field_validator, model_validator

from gateway.api import wire
from gateway.calls import NamedModel
from models_registry.families import FAMILIES, GENERAL
from models_registry.providers import names

ENDPOINT_MAX = 255

# Names that GitLab sends for models of a family that has another name here.
ALIASES = {
    "codestral-2501": "codestral",
    "codestral-2508": "codestral",
    "qwen2p5-coder-7b": "qwen",
}

# Providers whose models are the vendor's own: what they are called is no family of ours.
VENDORED = ("gitlab", "amazon_q", "fireworks_ai")


def known_family(name: str) -> str:
    """Return the family's slug.

    Raises:
        ValueError: no such family.
    """
    slug = ALIASES.get(name, name)
    if slug not in FAMILIES:
        raise ValueError("unknown model family")
    return slug


def named_model(
    *, name: str | None, endpoint: str, identifier: str | None, api_key: str | None
) -> NamedModel:
    """Return the model that GitLab names by its address; `name` is what it calls the family."""
    called = name or GENERAL
    family = ALIASES.get(called, called)
    is_known = family in FAMILIES
    return NamedModel(
        family=family if is_known else GENERAL,
        unknown_family="" if is_known else family,
        endpoint=endpoint,
        identifier=identifier or "",
        api_key=api_key or "",
    )


def is_named(endpoint: str | None, identifier: str | None) -> bool:
    """Test whether a call names a model: by its address, or one of Bedrock, which needs none."""
    provider = names.provider_of(endpoint=endpoint or "", identifier=identifier or "")
    return bool(endpoint) or provider == names.BEDROCK


def check_url(value: str | None) -> str | None:
    """Return an absolute URL as it is.

    Raises:
        ValueError: it is none.
    """
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        is_absolute = bool(parts.scheme and (parts.hostname or parts.path))
        _ = parts.port
    except ValueError:
        is_absolute = False
    if not is_absolute:
        raise ValueError("must be an absolute URL")
    return value


class FlatModel(wire.Body):
    """The fields in which older bodies say where a model is; its family has other names in each."""

    model_endpoint: Annotated[str, StringConstraints(max_length=ENDPOINT_MAX)] | None = None
    model_api_key: Annotated[str, StringConstraints(max_length=2000)] | None = None
    model_identifier: Annotated[str, StringConstraints(max_length=1000)] | None = None

    @field_validator("model_endpoint")
    @classmethod
    def _endpoint_is_url(cls, value: str | None) -> str | None:
        return check_url(value)

    def as_named_model(self, family: str | None) -> NamedModel | None:
        """Return the model that is named, or None where the fields name no address."""
        if not is_named(self.model_endpoint, self.model_identifier):
            return None
        return named_model(
            name=family,
            endpoint=self.model_endpoint or "",
            identifier=self.model_identifier,
            api_key=self.model_api_key,
        )


class ModelMetadata(wire.Body):
    """The `model_metadata` object of prompts, chat and newer code endpoints."""

    provider: Annotated[str, StringConstraints(max_length=255)]
    name: Annotated[str, StringConstraints(max_length=255)] | None = None
    endpoint: Annotated[str, StringConstraints(max_length=ENDPOINT_MAX)] | None = None
    api_key: Annotated[str, StringConstraints(max_length=2000)] | None = None
    identifier: Annotated[str, StringConstraints(max_length=1000)] | None = None

    @field_validator("name")
    @classmethod
    def _by_its_slug(cls, value: str | None) -> str | None:
        return value and ALIASES.get(value, value)

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        return check_url(value)

    @model_validator(mode="after")
    def _is_family(self) -> ModelMetadata:
        if self.name and not self.endpoint and self.provider not in VENDORED:
            known_family(self.name)
        return self

    def as_named(self) -> NamedModel | None:
        """Return the model that is named, or None where the metadata names no address."""
        if not is_named(self.endpoint, self.identifier):
            return None
        return named_model(
            name=self.name,
            endpoint=self.endpoint or "",
            identifier=self.identifier,
            api_key=self.api_key,
        )
