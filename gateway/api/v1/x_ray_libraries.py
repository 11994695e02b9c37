"""POST /v1/x-ray/libraries: what a project's libraries are for, as CI jobs of GitLab 17 ask.

The job brings the whole question. What it says of a model is about the vendor's, and is not read.
Source: gateway-api.md 3.15; gitlab-client.md 1.3, 1.9.
"""

from __future__ import annotations

from typing import Annotated, Literal

from django.http.response import HttpResponseBase
from pydantic import Field, StringConstraints
from rest_framework.request import Request

from features.catalog import PROMPTS
from gateway import pipeline
from gateway.api import code, wire
from gateway.api.endpoint import Endpoint
from gateway.api.responses import json_response

PROMPT = PROMPTS["x_ray/libraries"]

Question = Annotated[str, StringConstraints(max_length=400_000)]
Label = Annotated[str, StringConstraints(max_length=100)]


class Payload(wire.Body):
    """The question; some jobs send it bare."""

    prompt: Question


class Component(wire.Body):
    """The one part of a body."""

    type: Literal["x_ray_package_file_prompt"] = "x_ray_package_file_prompt"
    payload: Payload | Question
    metadata: Annotated[dict[Label, code.Text255], Field(max_length=10)] | None = None


class XRayLibraries(Endpoint):
    """One answer, as the question asks for it."""

    class Input(wire.Body):
        prompt_components: Annotated[list[Component], Field(min_length=1, max_length=1)]

    def post(self, request: Request) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        data = wire.read(request._request, self.Input)
        code.require_scope(request, PROMPT, "Unauthorized to access X-Ray")
        payload = data.prompt_components[0].payload
        question = payload if isinstance(payload, str) else payload.prompt
        call = code.make_call(
            request, PROMPT, inputs={"prompt": question}, named_model=None, is_streamed=False
        )
        return json_response({"response": pipeline.answer(call).text})
