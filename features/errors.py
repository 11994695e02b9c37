"""Why a call is not served, as far as features and groups are concerned.

FeatureError
├── UnknownFeature       no such feature in the catalog
├── FeatureDisabled      policy says no; `reason` names the rule
├── NoModelAssigned      allowed, but nothing says which model
├── NoActiveModel        allowed, but its model is switched off
├── ModelNotFound        a client asks for a model by a name that it is not offered
├── UnfitModel           allowed, but its model gives vectors for words, or words for vectors
└── UnregisteredModel    GitLab named a model that GATEWAY_UNREGISTERED_MODELS=refuse keeps out
"""

from __future__ import annotations


class GoesToVendor(Exception):
    """No model of the house serves a call, and the vendor route is open: no error."""


class FeatureError(Exception):
    """A call is not served."""

    code = "feature_error"


class UnknownFeature(FeatureError):
    """There is no such feature."""

    code = "unknown_feature"


class FeatureDisabled(FeatureError):
    """The feature is off for this caller."""

    code = "feature_disabled"


class NoModelAssigned(FeatureError):
    """The feature is on, but no model is assigned to it and the call names none."""

    code = "no_model_assigned"


class NoActiveModel(FeatureError):
    """The feature is on, but its model is disabled."""

    code = "no_active_model"


class ModelNotFound(FeatureError):
    """There is no model of this name, or this API key may not use it: see the list of models."""

    code = "model_not_found"

    def __init__(self) -> None:
        """Say it in the class's words: the name is the caller's."""
        super().__init__((self.__doc__ or "").strip())


class UnfitModel(FeatureError):
    """The feature is on, but its model is of a family that cannot serve it."""

    code = "unfit_model"


class UnregisteredModel(FeatureError):
    """The call names a model that is not registered."""

    code = "unregistered_model"
