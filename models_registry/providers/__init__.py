"""The catalog of providers: who speaks which wire format."""

from __future__ import annotations


def choices() -> list[tuple[str, str]]:
    """Return the providers for a form field."""
    return [("openai_compatible", "OpenAI-compatible"), ("echo", "Echo (no backend)")]
