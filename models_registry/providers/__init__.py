"""The catalog of providers: who speaks which wire format."""

from __future__ import annotations

from models_registry.providers.types import Completion, Delta


def choices() -> list[tuple[str, str]]:
    """Return the providers for a form field."""
    return [("openai_compatible", "OpenAI-compatible"), ("echo", "Echo (no backend)")]


class _InterimEcho:
    def complete(self, prompt, model, *, limits, cancellation=None, correlation_id=""):
        return Completion(text="echo", finish_reason="stop", prompt_tokens=1, completion_tokens=1)

    def stream(self, prompt, model, *, limits, cancellation=None, correlation_id=""):
        yield Delta(text="ec")
        yield Delta(text="ho")
        yield Delta(finish_reason="stop", prompt_tokens=1, completion_tokens=2)


def get_provider(slug):
    return _InterimEcho()
