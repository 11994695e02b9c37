"""Why an inference has no answer: every code that a record may hold, with its sentence.

The sentences are the errors' own, so a new error class is known here by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from features.errors import FeatureError
from gateway.errors import GatewayError, InferenceFailed, StreamBroken
from models_registry.errors import InferenceCancelled, ModelError
from prompts.errors import PromptError

# Raised inside Enclave only; a record says `client_left`, or why the stream was cut.
NEVER_RECORDED = (InferenceFailed, StreamBroken, InferenceCancelled)


def _errors(base: type[Exception]) -> Iterator[type[Exception]]:
    for error in base.__subclasses__():
        yield error
        yield from _errors(error)


CAUSES: dict[str, str] = {
    "reply_lost": "A piece of the answer was lost on the way.",
    **{
        getattr(error, "code"): (error.__doc__ or "").strip().split("\n", 1)[0]  # noqa: B009
        for base in (FeatureError, PromptError, ModelError, GatewayError)
        for error in _errors(base)
        if error not in NEVER_RECORDED
    },
}
