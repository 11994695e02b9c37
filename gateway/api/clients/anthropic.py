"""/anthropic/v1/…: messages, their tokens, and models, in Anthropic's API.

Source: Anthropic API reference (version 2023-06-01).
"""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from gateway.api.client_endpoint import (
    ClientEndpoint,
    ModelsEndpoint,
    UnknownPath,
    require_clients,
)
from gateway.api.responses import json_response
from gateway.api.vendors.anthropic_messages import AnthropicMessages
from models_registry.providers.types import ModelConfig
from prompts.budget import estimate_prompt

# What Anthropic says of a model whose date nobody knows.
UNKNOWN_DATE = "1970-01-01T00:00:00Z"


class Messages(ClientEndpoint):
    """A conversation and its answer."""

    format = AnthropicMessages()


class CountTokens(ClientEndpoint):
    """How long a conversation is, by our estimate: no model is asked."""

    format = AnthropicMessages()

    def post(self, request: Request) -> HttpResponseBase:
        """Read the wire format, count, write the wire format."""
        require_clients(request)
        _, conversation = self.read(request)
        return json_response({"input_tokens": estimate_prompt(conversation)})


class Models(ModelsEndpoint):
    """The models for words."""

    format = AnthropicMessages()

    def as_model(self, model: ModelConfig) -> dict[str, Any]:
        """Return a model as Anthropic describes one."""
        return {
            "type": "model",
            "id": model.name,
            "display_name": model.name,
            "created_at": UNKNOWN_DATE,
            "lifecycle": "active",
        }

    def as_list(self, models: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the list, in one page."""
        ids = [model["id"] for model in models] or [None]
        return {"data": models, "has_more": False, "first_id": ids[0], "last_id": ids[-1]}


class Unknown(UnknownPath):
    """Every other path below /anthropic."""

    format = AnthropicMessages()
