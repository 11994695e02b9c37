"""The model that a client with an API key asks for by name: one it is offered, or the assigned.

Never an address: the name is looked up among the models that rules assign to the key's group, and
nowhere else. Which names are taken for "whatever is assigned" is GATEWAY_CLIENT_MODEL_NAMES
(docs/adr/0023).
"""

from __future__ import annotations

from django.conf import settings

from features import policy
from features.errors import ModelNotFound
from features.policy import Decision
from features.snapshot import Snapshot
from gateway.calls import Call
from models_registry.providers.types import ModelConfig

# Asks for the assigned model, whatever it is called.
DEFAULT = "default"


def choose_asked(
    call: Call, config: Snapshot, decision: Decision, group_ids: tuple[int, ...]
) -> ModelConfig:
    """Return the model of the name that the call asks for, if it is offered; else the assigned.

    Raises:
        ModelNotFound: it is not, and GATEWAY_CLIENT_MODEL_NAMES wants names to be those of models.
        FeatureError, GoesToVendor: no model is assigned, or it cannot be used.
    """
    is_known = any(entry.name == call.asked_model for entry in config.models.values())
    if is_known:  # to know what is offered, every feature's rules are read
        offered = policy.offered_models(config, feature=call.feature, group_ids=group_ids)
        for model in offered:
            if model.name == call.asked_model:
                return model
    if call.asked_model != DEFAULT and settings.GATEWAY_CLIENT_MODEL_NAMES == "listed":
        raise ModelNotFound
    return policy.choose_model(config, decision, named=None)
