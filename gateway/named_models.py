"""The model that GitLab names in a call: found in the registry, adopted, or refused.

Only a call signed by the GitLab instance itself may name a model by its address; from a user's own
token or an API key an address is never dialled.
"""

from __future__ import annotations

from dataclasses import asdict

from django.conf import settings

from features import policy
from features.errors import UnregisteredModel
from features.snapshot import Snapshot
from gateway.audit.models import CallerKind
from gateway.calls import Call, NamedModel
from models_registry import adoption
from models_registry.providers.types import ModelConfig


def resolve_named(call: Call, config: Snapshot) -> ModelConfig | None:
    """Return the model that the call names, or None where it names none or may not.

    Raises:
        FeatureError, ModelError: it is not registered, not let in, or disabled.
    """
    named = _named(call)
    if named is None:
        return None
    known = policy.match_named(
        config, endpoint=named.endpoint, identifier=named.identifier, family=named.family
    )
    if known is not None and known.api_key == named.api_key:
        return known
    if known is None and settings.GATEWAY_UNREGISTERED_MODELS != "adopt":
        raise UnregisteredModel(
            "GitLab names a model that is not registered in Enclave. Add it under Models, or set "
            "GATEWAY_UNREGISTERED_MODELS=adopt."
        )
    return adoption.adopt(**_facts(named))


def tested_model(call: Call) -> ModelConfig:
    """Return the model of GitLab's "Test connection", which is registered nowhere.

    Raises:
        FeatureError, ModelError: the call names none, or one that cannot be.
    """
    named = _named(call)
    if named is None:
        raise UnregisteredModel("The call names no model to test.")
    return adoption.temporary(**_facts(named))


def _named(call: Call) -> NamedModel | None:
    return call.named_model if call.caller.kind == CallerKind.INSTANCE else None


def _facts(named: NamedModel) -> dict[str, str]:
    """Return what makes a model of the registry."""
    facts: dict[str, str] = asdict(named)
    del facts["unknown_family"]
    return facts
