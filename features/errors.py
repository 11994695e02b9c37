"""Why a call is not served, as far as features and groups are concerned.

FeatureError
├── UnknownFeature       no such feature in the catalog
├── FeatureDisabled      policy says no; `reason` names the rule
├── NoModelAssigned      allowed, but nothing says which model
├── NoActiveModel        allowed, but its model is switched off
├── UnregisteredModel    GitLab named a model that GATEWAY_UNREGISTERED_MODELS=refuse keeps out
└── NoHistory            the configuration of a moment is asked for that is not on record
"""

from __future__ import annotations


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


class UnregisteredModel(FeatureError):
    """The call names a model that is not registered."""

    code = "unregistered_model"


class NoHistory(FeatureError):
    """The configuration of that moment is not on record."""

    code = "no_history"
