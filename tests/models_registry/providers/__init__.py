"""Tests of the providers, and what those beside OpenAI's are all asked."""

from __future__ import annotations

import time
from typing import Any

from models_registry.egress import Limits
from models_registry.providers.types import Message, ModelConfig, Prompt

CHAT = Prompt(
    messages=(
        Message(role="system", content="Be brief."),
        Message(role="user", content="Say hello."),
    ),
    max_tokens=16,
    temperature=0.0,
)
PARAMETERS = {"type": "object", "properties": {"query": {"type": "string"}}}
TOOL = {
    "type": "function",
    "function": {"name": "lookup", "description": "Looks up.", "parameters": PARAMETERS},
}


def model_of(provider: str, **fields: Any) -> ModelConfig:
    """Return a model of a provider, with an endpoint and a key unless the fields say otherwise."""
    facts: dict[str, Any] = {
        "revision_id": 1,
        "model_id": 1,
        "name": "house",
        "family": "general",
        "provider": provider,
        "endpoint": "https://llm.example.com",
        "identifier": "",
        "api_key": "key",
    }
    return ModelConfig(**(facts | fields))


def limits() -> Limits:
    """Return limits that no test reaches."""
    return Limits(deadline_at=time.monotonic() + 30, first_byte_s=30, idle_s=30, max_bytes=10**6)
