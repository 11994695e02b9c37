"""POST /v1/prompts/<prompt_id>: a prompt by its id, also GitLab's "Test connection".

Source: gateway-api.md 3.1, 4.8, 8.2; gitlab-client.md 1.7, 1.8, 3.2.
"""

from __future__ import annotations

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from gateway import pipeline
from gateway.api.endpoint import Endpoint
from gateway.api.prompt_calls import read_call
from gateway.api.responses import json_response, text_stream


class Prompts(Endpoint):
    """The answer is a bare JSON string, or raw text where it is streamed."""

    is_prompt = True

    def post(self, request: Request, prompt_id: str) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        call = read_call(request, prompt_id)
        if call.is_streamed:
            return text_stream(pipeline.stream(call).pieces)
        return json_response(pipeline.answer(call).text)
