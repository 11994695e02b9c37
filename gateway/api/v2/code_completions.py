"""POST /v2/code/completions and /v2/completions: the code at the cursor, completed.

Source: gateway-api.md 3.3 and 5; gitlab-client.md 1.4, 1.5, 4.4.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from django.conf import settings
from django.http.response import HttpResponseBase
from pydantic import Field, StringConstraints, field_validator, model_validator
from rest_framework.request import Request

from features import languages
from features.catalog import PROMPTS
from gateway import pipeline
from gateway.api import departure, wire
from gateway.api.endpoint import Endpoint, correlation_id, get_caller
from gateway.api.errors import Forbidden
from gateway.api.model_fields import ENDPOINT_MAX, check_url, known_family
from gateway.api.responses import json_response, text_stream
from gateway.audit import records
from gateway.calls import Answer, Call, NamedModel

PROMPT = PROMPTS["code_suggestions/completions"]

# Providers through which GitLab names a self-hosted model; the others are the vendor's own models,
# and what serves those is for policy to say.
SELF_HOSTED = ("litellm", "codestral")

Text255 = Annotated[str, StringConstraints(max_length=255, strip_whitespace=True)]
Code = Annotated[str, StringConstraints(max_length=100_000)]


class CodeCompletions(Endpoint):
    """One completion, whole or streamed."""

    class CurrentFile(wire.Body):
        file_name: Text255
        language_identifier: Annotated[str, StringConstraints(max_length=255)] | None = None
        content_above_cursor: Code
        content_below_cursor: Code

    class Telemetry(wire.Body):
        model_engine: Annotated[str, StringConstraints(max_length=50)] | None = None
        model_name: Annotated[str, StringConstraints(max_length=50)] | None = None
        lang: Annotated[str, StringConstraints(max_length=50)] | None = None
        requests: int = 0
        accepts: int = 0
        errors: int = 0

    class Context(wire.Body):
        type: Annotated[str, StringConstraints(max_length=1024)]
        name: Annotated[str, StringConstraints(max_length=1024)]
        content: Annotated[str, StringConstraints(max_length=500_000)]

    class Input(wire.Body):
        prompt_version: Literal[1, 2, 3] = 1
        project_path: Text255 | None = None
        project_id: int | None = None
        current_file: CodeCompletions.CurrentFile
        model_provider: (
            Literal[
                "anthropic",
                "vertex-ai",
                "litellm",
                "codestral",
                "fireworks_ai",
                "amazon_q",
                "gitlab",
            ]
            | None
        ) = None
        model_name: (
            Annotated[str, StringConstraints(max_length=50, strip_whitespace=True)] | None
        ) = None
        model_endpoint: Annotated[str, StringConstraints(max_length=ENDPOINT_MAX)] | None = None
        model_api_key: Annotated[str, StringConstraints(max_length=2000)] | None = None
        model_identifier: Annotated[str, StringConstraints(max_length=1000)] | None = None
        telemetry: Annotated[list[CodeCompletions.Telemetry], Field(max_length=10)] = []
        stream: bool = False
        context: Annotated[list[CodeCompletions.Context], Field(max_length=100)] = []

        @field_validator("model_endpoint")
        @classmethod
        def _endpoint_is_url(cls, value: str | None) -> str | None:
            return check_url(value)

        @model_validator(mode="after")
        def _family_is_known(self) -> CodeCompletions.Input:
            if self.model_provider in SELF_HOSTED and self.model_name is not None:
                known_family(self.model_name)
            return self

    def post(self, request: Request) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        data = wire.read(request._request, self.Input)
        caller = get_caller(request)
        if not caller.can(PROMPT.unit_primitives):
            raise Forbidden("Unauthorized to access code completions")
        file = data.current_file
        language = languages.detect(file.file_name, file.language_identifier)
        call = Call(
            feature=PROMPT.feature,
            prompt=PROMPT.slug,
            endpoint=request.path,
            caller=caller,
            inputs={
                "prefix": file.content_above_cursor,
                "suffix": file.content_below_cursor,
                "file_name": file.file_name,
                "language": language.prompt_name,
            },
            context=tuple(item.content for item in data.context),
            named_model=_named_model(data),
            is_streamed=data.stream and language.is_known,
            deadline_s=settings.GATEWAY_CODE_DEADLINE_S,
            correlation_id=correlation_id(request._request),
            has_left=departure.watch(request._request),
        )
        if not language.is_known:
            records.skip(call, "The file's language is unknown, so no model was asked.")
            return json_response(_body(request, data, language.id, answer=None))
        if data.stream:
            return text_stream(pipeline.stream(call).pieces)
        return json_response(_body(request, data, language.id, answer=pipeline.answer(call)))


def _named_model(data: CodeCompletions.Input) -> NamedModel | None:
    if data.model_provider not in SELF_HOSTED or not data.model_endpoint:
        return None
    return NamedModel(
        family=known_family(data.model_name or "general"),
        endpoint=data.model_endpoint,
        identifier=data.model_identifier or "",
        api_key=data.model_api_key or "",
    )


def _body(
    request: Request, data: CodeCompletions.Input, lang: str, *, answer: Answer | None
) -> dict[str, Any]:
    """Return the answer's JSON; an empty text is no choice at all (gateway-api.md 3.3.2)."""
    has_text = answer is not None and bool(answer.text)
    return {
        "id": "id",
        "model": {
            "engine": data.model_provider or "litellm",
            "name": data.model_name or (answer.family if answer else ""),
            "lang": lang,
            "tokens_consumption_metadata": _tokens(answer) if answer and has_text else None,
            "region": settings.GATEWAY_REGION,
        },
        "experiments": [],
        "object": "text_completion",
        "created": int(time.time()),
        "choices": (
            [{"text": answer.text, "index": 0, "finish_reason": "length"}]
            if answer and has_text
            else []
        ),
        "metadata": {"enabled_feature_flags": _flags(request)},
    }


def _tokens(answer: Answer) -> dict[str, Any]:
    return {
        "input_tokens": answer.prompt_tokens or 0,
        "output_tokens": answer.completion_tokens or 0,
        "max_output_tokens_used": False,
        "context_tokens_sent": answer.context_tokens,
        "context_tokens_used": answer.context_tokens,
    }


def _flags(request: Request) -> list[str]:
    header: str = request.META.get("HTTP_X_GITLAB_ENABLED_FEATURE_FLAGS", "")
    return [flag for flag in header.split(",") if flag]
