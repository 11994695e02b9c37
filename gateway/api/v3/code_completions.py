"""POST /v3/code/completions: code completed or generated, answered whole or as raw text.

Source: gateway-api.md 3.5; gitlab-client.md 1.6.
"""

from __future__ import annotations

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from gateway import pipeline
from gateway.api import code_components
from gateway.api.endpoint import Endpoint
from gateway.api.responses import json_response, text_stream


class CodeCompletions(Endpoint):
    """One suggestion."""

    def post(self, request: Request) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        suggestion = code_components.read(request)
        if suggestion.call.is_streamed:
            return text_stream(pipeline.stream(suggestion.call).pieces)
        return json_response(code_components.answer(suggestion))
