"""The model that GitLab names in a call: found in the registry, adopted, or refused.

Only a call signed by the GitLab instance itself may name a model by its address; from a user's own
token or an API key an address is never dialled.
"""

from __future__ import annotations

from django.conf import settings

from features import policy
from features.errors import UnregisteredModel
from features.snapshot import Snapshot
from gateway.audit.models import CallerKind
from gateway.calls import Call
from models_registry import adoption
from models_registry.providers.types import ModelConfig


def resolve_named(call: Call, config: Snapshot) -> ModelConfig | None:
    """Return the model that the call names, or None where it may not name one.

    Raises:
        UnregisteredModel: the registry does not know it, and unknown models are refused.
    """
    named = call.named_model
    if named is None or call.caller.kind != CallerKind.INSTANCE:
        return None
    if call.is_connection_test:
        return adoption.temporary(
            family=named.family,
            endpoint=named.endpoint,
            identifier=named.identifier,
            api_key=named.api_key,
        )
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
    return adoption.adopt(
        family=named.family,
        endpoint=named.endpoint,
        identifier=named.identifier,
        api_key=named.api_key,
    )
