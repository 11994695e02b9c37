"""POST /v2/code/completions and /v2/completions: the code at the cursor, completed.

Source: gateway-api.md 3.3 and 5; gitlab-client.md 1.4, 1.5, 4.4.
"""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from features import languages
from features.languages import Language
from gateway import pipeline
from gateway.api import code, wire
from gateway.api.endpoint import Endpoint
from gateway.api.responses import json_response, text_stream
from gateway.calls import Answer


class CodeCompletions(Endpoint):
    """One completion, whole or streamed."""

    def post(self, request: Request) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        data = wire.read(request._request, code.FlatBody)
        code.require_scope(request, code.COMPLETION, "Unauthorized to access code completions")
        file = data.current_file
        language = languages.detect(file.file_name, file.language_identifier)
        call = code.make_call(
            request,
            code.COMPLETION,
            inputs=code.file_inputs(file, language),
            context=tuple(item.content for item in data.context),
            named_model=data.as_named(),
            is_streamed=data.stream and language.is_known,
        )
        if call.is_streamed:
            return text_stream(pipeline.stream(call).pieces)
        return json_response(_body(request, data, language, answer=code.complete(call, language)))


def _body(
    request: Request, data: code.FlatBody, language: Language, *, answer: Answer | None
) -> dict[str, Any]:
    return code.flat_answer(
        request,
        engine=data.model_provider or "litellm",
        name=data.model_name or (answer.family if answer else ""),
        language=language,
        answer=answer,
        tokens=_tokens(answer) if answer and answer.text else None,
    )


def _tokens(answer: Answer) -> dict[str, Any]:
    return {
        "input_tokens": answer.prompt_tokens or 0,
        "output_tokens": answer.completion_tokens or 0,
        "max_output_tokens_used": False,
        "context_tokens_sent": answer.context_tokens,
        "context_tokens_used": answer.context_tokens,
    }
