"""Why an inference has no answer: every code that a record may hold, its sentence and its owner.

The sentences are the errors' own, so a new error class is known here by itself. The owner is the
side that can mend it; a class that is not named in OWNERS takes that of the class above it.
"""

from __future__ import annotations

from collections.abc import Iterator

from features.errors import FeatureError
from gateway.errors import ClientLeft, GatewayError, InferenceFailed, StreamBroken
from models_registry.errors import (
    BackendAuthFailed,
    ContextTooLong,
    EgressDenied,
    InferenceCancelled,
    ModelError,
    ModelMisconfigured,
)
from prompts.errors import InvalidPrompt, PromptError, PromptNotFound

# Raised inside Enclave only; a record says `client_left`, or why the stream was cut.
NEVER_RECORDED = (InferenceFailed, StreamBroken, InferenceCancelled)

CALLER, POLICY, CONFIGURATION = "the caller", "policy", "the configuration"
MODEL_SERVER, ENCLAVE = "the model server", "Enclave"

OWNERS: dict[type[Exception], str] = {
    FeatureError: POLICY,
    PromptError: CALLER,
    PromptNotFound: ENCLAVE,
    InvalidPrompt: ENCLAVE,
    ModelError: MODEL_SERVER,
    BackendAuthFailed: CONFIGURATION,
    EgressDenied: CONFIGURATION,
    ModelMisconfigured: CONFIGURATION,
    ContextTooLong: CALLER,
    GatewayError: ENCLAVE,
    ClientLeft: CALLER,
}


def _errors(base: type[Exception]) -> Iterator[type[Exception]]:
    for error in base.__subclasses__():
        yield error
        yield from _errors(error)


_RECORDED: dict[str, type[Exception]] = {
    getattr(error, "code"): error  # noqa: B009
    for base in (FeatureError, PromptError, ModelError, GatewayError)
    for error in _errors(base)
    if error not in NEVER_RECORDED
}

CAUSES: dict[str, str] = {
    "reply_lost": "A piece of the answer was lost on the way.",
    **{code: (error.__doc__ or "").strip().split("\n", 1)[0] for code, error in _RECORDED.items()},
}


def owner(code: str) -> str:
    """Return who can mend what a code says; Enclave answers for what nobody else does."""
    error = _RECORDED.get(code, GatewayError)
    return next(OWNERS[above] for above in error.__mro__ if above in OWNERS)
