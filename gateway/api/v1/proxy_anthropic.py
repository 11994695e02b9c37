"""POST /v1/proxy/anthropic/v1/messages and .../count_tokens: Anthropic's API on our models.

Source: gateway-api.md 3.12; gitlab-client.md 1.9.
"""

from __future__ import annotations

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from gateway.api.proxy import ProxyEndpoint, UnknownProxy
from gateway.api.responses import json_response
from gateway.api.vendors.anthropic_messages import AnthropicMessages
from prompts.budget import estimate_prompt


class Messages(ProxyEndpoint):
    """A conversation and its answer."""

    format = AnthropicMessages()


class CountTokens(ProxyEndpoint):
    """How long a conversation is, by our estimate: no model is asked."""

    format = AnthropicMessages()

    def post(self, request: Request) -> HttpResponseBase:
        """Read the wire format, count, write the wire format."""
        _, conversation = self.read(request)
        return json_response({"input_tokens": estimate_prompt(conversation)})


class Unknown(UnknownProxy):
    """Every other path below /v1/proxy/anthropic."""

    format = AnthropicMessages()
