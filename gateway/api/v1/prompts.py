"""POST /v1/prompts/<prompt_id>: a prompt by its id; so far GitLab's "Test connection".

Source: gateway-api.md 3.1, 4.8, 8.2; gitlab-client.md 1.7, 3.2.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from features.catalog import PROMPTS
from gateway import pipeline
from gateway.api import departure, wire
from gateway.api.endpoint import Endpoint, correlation_id, get_caller
from gateway.api.errors import Forbidden
from gateway.api.model_fields import ModelMetadata
from gateway.api.responses import json_response, text_stream
from gateway.calls import Call
from prompts.errors import PromptNotFound

CONNECTION_TEST = "model_configuration/check"


class Prompts(Endpoint):
    """The answer is a bare JSON string, or raw text where it is streamed."""

    is_prompt = True

    class Input(wire.Body):
        inputs: dict[str, Any]
        prompt_version: str | None = None
        stream: bool | None = None
        model_metadata: ModelMetadata | None = None

    def post(self, request: Request, prompt_id: str) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        data = wire.read(request._request, self.Input)
        prompt = PROMPTS.get(prompt_id)
        if prompt is None:
            raise PromptNotFound(f"There is no prompt '{prompt_id}'.")
        caller = get_caller(request)
        if not caller.can(prompt.unit_primitives):
            raise Forbidden(f"Unauthorized to access '{prompt_id}'")
        is_test = prompt_id == CONNECTION_TEST
        call = Call(
            feature=prompt.feature,
            prompt=prompt.slug,
            endpoint=request.path,
            caller=caller,
            inputs={},
            named_model=data.model_metadata.as_named() if data.model_metadata else None,
            is_connection_test=is_test,
            is_streamed=bool(data.stream),
            deadline_s=(
                settings.GATEWAY_CHECK_DEADLINE_S if is_test else settings.GATEWAY_PROMPT_DEADLINE_S
            ),
            correlation_id=correlation_id(request._request),
            has_left=departure.watch(request._request),
        )
        if data.stream:
            return text_stream(pipeline.stream(call).pieces)
        return json_response(pipeline.answer(call).text)
