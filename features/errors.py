"""Why a call is not served, as far as features and groups are concerned.

FeatureError
├── UnknownFeature       no such feature in the catalog
├── FeatureDisabled      policy says no; `reason` names the rule
├── NoModelAssigned      allowed, but nothing says which model
├── NoActiveModel        allowed, but its model is switched off
├── ModelNotFound        a client asks for a model by a name that it is not offered
├── UnfitModel           allowed, but its model gives vectors for words, or words for vectors
├── UnregisteredModel    GitLab named a model that GATEWAY_UNREGISTERED_MODELS=refuse keeps out
├── NoHistory            the configuration of a moment is asked for that is not on record
└── UnreadableDate       a day is asked for that is none

Why a change of configuration was refused; nothing is half-saved, and the last good state stays.

BadProposal              rules cannot be saved as they were proposed
BadConfigFile            a file of configuration cannot be applied

SyncError
├── SyncNotConfigured    no address of GitLab, or no token
├── GitLabUnreachable    no answer, or an answer that may be another one soon
├── GitLabRefused        the token is wrong, or may not see groups
├── GitLabNonsense       an answer that is not what GitLab's API promises
├── BadDirectory         the groups contradict each other or what is here
└── TooManyGone          so many groups are missing that the answer is not believed
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


class NoHistory(FeatureError):
    """The configuration of that moment is not on record."""

    code = "no_history"


class UnreadableDate(FeatureError):
    """The text is no date."""

    code = "unreadable_date"


class BadProposal(Exception):
    """Rules cannot be saved as they were proposed."""

    code = "bad_proposal"


class BadConfigFile(Exception):
    """A file of configuration cannot be applied; `faults` says where and why, one sentence each."""

    code = "bad_config_file"

    def __init__(self, faults: list[str]) -> None:
        """Keep every fault."""
        super().__init__("\n".join(faults))
        self.faults = faults


class SyncError(Exception):
    """The groups were not taken over."""

    code = "sync_error"


class SyncNotConfigured(SyncError):
    """Something that the sync needs is not set."""

    code = "sync_not_configured"


class GitLabUnreachable(SyncError):
    """GitLab gives no answer now."""

    code = "gitlab_unreachable"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        """Keep how long GitLab asked us to wait."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class GitLabRefused(SyncError):
    """GitLab does not let us read groups."""

    code = "gitlab_refused"


class GitLabNonsense(SyncError):
    """GitLab's answer is not what its API promises."""

    code = "gitlab_nonsense"


class BadDirectory(SyncError):
    """The groups contradict each other, or what is here already."""

    code = "bad_directory"


class TooManyGone(SyncError):
    """More groups are missing than is believed without a word."""

    code = "too_many_gone"
