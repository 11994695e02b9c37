"""Models that GitLab names and nobody registered: adopted for review, or used once for a test.

Both ways remember their answers in the process for a minute, so that the usual call makes no query.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import connection, transaction

from models_registry import changes
from models_registry.configuration import ConfigVersion
from models_registry.errors import ModelError, ModelMisconfigured
from models_registry.fields import CannotDecrypt, clear_text
from models_registry.models import Connection, ModelRevision, SelfHostedModel, State
from models_registry.providers import names
from models_registry.providers.types import ModelConfig

CALLS = "a call of GitLab"
CUT_PREFIXES = ("custom_openai/", "openai/")
MAX_DISCOVERED = 500
PREFERENCE = [State.ACTIVE, State.DISCOVERED, State.DISABLED]
NOT_NAMED = frozenset({"model", "name", "digest"})
REMEMBER_S = 60.0
MAX_REMEMBERED = 1_000


class AdoptionRefused(ModelError):
    """The model that the call names is not registered and cannot be adopted."""

    code = "unregistered_model"


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """What GitLab knows a model by; two spellings of one model have equal addresses."""

    family: str
    endpoint: str
    identifier: str

    @classmethod
    def of(
        cls, *, family: str, endpoint: str, identifier: str, provider: str | None = None
    ) -> Address:
        """Return the address without what makes no difference to a backend.

        Without a provider it is the one that GitLab means by such an address. A model of Bedrock
        is known by its identifier alone: what GitLab writes beside it is no address.
        Source: gitlab-client.md 1.4 (prefixes) and 2.1 (endpoints are typed in by people).
        """
        for prefix in CUT_PREFIXES:
            identifier = identifier.removeprefix(prefix)
        provider = provider or names.provider_of(endpoint=endpoint, identifier=identifier)
        route = names.ROUTE_TO.get(provider)
        if route and not identifier.startswith(f"{route}/"):
            identifier = f"{route}/{identifier}"
        if provider == names.BEDROCK:
            endpoint = ""
        return cls(family=family, endpoint=_one_spelling(endpoint), identifier=identifier)

    @classmethod
    def of_row(cls, row: Connection) -> Address:
        """Return the address that a row answers to."""
        return cls.of(
            family=row.family,
            endpoint=row.endpoint,
            identifier=row.identifier,
            provider=row.provider,
        )


def _one_spelling(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint.strip())
    except ValueError:
        return endpoint
    host = parts.netloc.lower()
    return parts._replace(netloc=host, path=parts.path.rstrip("/")).geturl()


# Adopting


def adopt(*, family: str, endpoint: str, identifier: str, api_key: str) -> ModelConfig:
    """Return the registered model with this address; if there is none, register it for review.

    The key of a discovered model follows the calls; what a person registered is never changed.

    Raises:
        AdoptionRefused: the model is disabled, or too many wait for review.
        ModelMisconfigured: its facts are invalid.
    """
    named = _named(family=family, endpoint=endpoint, identifier=identifier, api_key=api_key)
    return _remembered("adopted", named, _adopt)


def temporary(*, family: str, endpoint: str, identifier: str, api_key: str) -> ModelConfig:
    """Return a model that is registered nowhere, for "Test connection".

    Raises:
        ModelMisconfigured: its facts are invalid.
    """
    named = _named(family=family, endpoint=endpoint, identifier=identifier, api_key=api_key)
    return _remembered("temporary", named, _revise)


def _named(*, family: str, endpoint: str, identifier: str, api_key: str) -> ModelRevision:
    """Return what GitLab names, with the provider that its address means.

    Beside a model of Bedrock stands a placeholder, or whatever was typed in: neither is dialled.
    """
    provider = names.provider_of(endpoint=endpoint, identifier=identifier)
    return ModelRevision(
        family=family,
        provider=provider,
        endpoint="" if provider == names.BEDROCK else endpoint,
        identifier=identifier,
        api_key=api_key,
    )


def _adopt(named: ModelRevision) -> ModelConfig:
    row = _find(named)
    if row is None or not _is_settled(row, named):
        row = _register(named)
    if row.state == State.DISABLED or row.current is None:
        raise AdoptionRefused("The model that the call names is disabled in Enclave.")
    return row.current.as_config()


def _revise(named: ModelRevision) -> ModelConfig:
    # An address that may not be reached is refused where it is dialed, and so on record.
    _check(named, exclude=NOT_NAMED | {"endpoint"})
    return ModelRevision.of(named, model=None).as_config()


def _find(named: ModelRevision) -> SelfHostedModel | None:
    """Return the row with this address; of several, one that is in use, then the oldest."""
    address = Address.of_row(named)
    rows = SelfHostedModel.objects.select_related("current").filter(family=named.family)
    matches = [row for row in rows.order_by("pk") if Address.of_row(row) == address]
    return min(matches, key=lambda row: PREFERENCE.index(row.state), default=None)


def _is_settled(row: SelfHostedModel, named: ModelRevision) -> bool:
    """Test whether the row needs no change: a person decided it, or the key is the same."""
    if row.state != State.DISCOVERED:
        return True
    try:
        return bool(clear_text(row.api_key) == named.api_key)
    except CannotDecrypt:
        return False


def _register(named: ModelRevision) -> SelfHostedModel:
    """Write the row, once even if two processes meet the model at the same time."""
    with changes.made_by(CALLS), transaction.atomic():
        ConfigVersion.bump()  # its row lock lets one process in at a time
        row = _find(named)
        if row is None:
            row = _discovered(named)
        elif _is_settled(row, named):
            return row
        row.api_key = named.api_key
        row.save()
    return row


def _discovered(named: ModelRevision) -> SelfHostedModel:
    _check(named)
    if SelfHostedModel.objects.filter(state=State.DISCOVERED).count() >= MAX_DISCOVERED:
        raise AdoptionRefused(
            f"{MAX_DISCOVERED} discovered models wait for review. Activate or delete some under "
            "Models, or set GATEWAY_UNREGISTERED_MODELS=refuse."
        )
    return SelfHostedModel(
        name=_free_name(named),
        state=State.DISCOVERED,
        family=named.family,
        provider=named.provider,
        endpoint=named.endpoint,
        identifier=named.identifier,
    )


def _free_name(named: ModelRevision) -> str:
    wanted = f"discovered: {named.identifier[:150] or 'no identifier'} ({named.family})"
    taken = set(
        SelfHostedModel.objects.filter(name__startswith=wanted).values_list("name", flat=True)
    )
    numbered = (f"{wanted} #{number}" for number in count(2))
    return next(name for name in chain([wanted], numbered) if name not in taken)


def _check(named: ModelRevision, *, exclude: frozenset[str] = NOT_NAMED) -> None:
    """Accept facts that a form would take.

    Raises:
        ModelMisconfigured: it would not; the message repeats none of them.
    """
    if "\0" in named.endpoint + named.identifier + named.api_key:
        raise ModelMisconfigured("The call names an unusable model: it holds a NUL character.")
    try:
        named.clean_fields(exclude=exclude)
        named.clean()
    except ValidationError as exc:
        # The endpoint's validator says what to change without repeating the address.
        faults = [
            " ".join(messages) if name == "endpoint" else f"The {name} is not valid."
            for name, messages in exc.message_dict.items()
        ]
        raise ModelMisconfigured(f"The call names an unusable model. {' '.join(faults)}") from None


# What was found lately

_memory: dict[tuple[str, str], tuple[float, ModelConfig]] = {}


def forget() -> None:
    """Forget what was found, so that the next call asks the database."""
    _memory.clear()


def _remembered(
    purpose: str, named: ModelRevision, find: Callable[[ModelRevision], ModelConfig]
) -> ModelConfig:
    """Return what `find` finds, or found within the last REMEMBER_S."""
    key = (purpose, named.fingerprint())
    found_at, config = _memory.get(key, (0.0, None))
    if config is not None and time.monotonic() - found_at < REMEMBER_S:
        return config
    try:
        config = find(named)
    finally:
        if not connection.in_atomic_block:
            connection.close()  # the call goes on to wait for its answer without one
    if len(_memory) >= MAX_REMEMBERED:
        forget()
    _memory[key] = (time.monotonic(), config)
    return config
