"""POST /v1/proxy/openai/v1/chat/completions and /v1/responses: OpenAI's APIs on our models.

Source: gateway-api.md 3.12; gitlab-client.md 1.3.
"""

from __future__ import annotations

from gateway.api.proxy import ProxyEndpoint, UnknownProxy
from gateway.api.vendors.openai_chat import OpenAIChat
from gateway.api.vendors.openai_responses import OpenAIResponses


class ChatCompletions(ProxyEndpoint):
    """A conversation and its answer, as messages."""

    format = OpenAIChat()


class Responses(ProxyEndpoint):
    """A conversation and its answer, as items."""

    format = OpenAIResponses()


class Unknown(UnknownProxy):
    """Every other path below /v1/proxy/openai."""

    format = OpenAIChat()
