"""POST /v2/code/generations: code written from an instruction, as GitLab 16 and 17 ask for it.

Source: gateway-api.md 3.4, 5.2, 5.6; gitlab-client.md 1.6.
"""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from pydantic import TypeAdapter, ValidationError, model_validator
from rest_framework.request import Request

from features import languages
from features.languages import Language
from gateway import pipeline
from gateway.api import code, wire
from gateway.api.endpoint import Endpoint
from gateway.api.model_fields import ModelMetadata
from gateway.api.responses import json_response, text_stream
from gateway.calls import Answer

TURNS = TypeAdapter(list[code.Turn])


class CodeGenerations(Endpoint):
    """One generation, whole or streamed."""

    class Input(code.FlatBody):
        prompt: Any = None
        prompt_id: str | None = None
        model_metadata: ModelMetadata | None = None

        @model_validator(mode="after")
        def _prompt_fits_version(self) -> CodeGenerations.Input:
            if self.prompt_version == 2 and not isinstance(self.prompt, str):
                raise ValueError("version 2 needs a prompt that is a text")
            if self.prompt_version == 3:
                try:
                    self.prompt = TURNS.validate_python(self.prompt)
                except ValidationError:
                    raise ValueError("version 3 needs a prompt that is a list of turns") from None
            return self

        def instruction(self) -> str:
            """Return what GitLab asks for in its own words.

            A text counts only without a prompt's id: with one, GitLab 17 leaves the words to us.
            """
            if self.prompt_version == 3:
                return "\n\n".join(turn.content for turn in self.prompt)
            return self.prompt if self.prompt_version == 2 and not self.prompt_id else ""

    def post(self, request: Request) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        data = wire.read(request._request, self.Input)
        code.require_scope(request, code.GENERATION, "Unauthorized to access code generations")
        code.require_prompt(data.prompt_id)
        file = data.current_file
        language = languages.detect(file.file_name, file.language_identifier)
        metadata = data.model_metadata
        call = code.make_call(
            request,
            code.GENERATION,
            inputs={
                **code.file_inputs(file, language),
                **code.wishes({"user_instruction": data.instruction()}),
                "repairs": "yes",
            },
            named_model=data.as_named() or (metadata.as_named() if metadata else None),
            is_streamed=data.stream,
        )
        if data.stream:
            return text_stream(pipeline.stream(call).pieces)
        return json_response(_body(request, data, language, pipeline.answer(call)))


def _body(
    request: Request, data: CodeGenerations.Input, language: Language, answer: Answer
) -> dict[str, Any]:
    """Return the answer's JSON: it names the prompt, or the model where no prompt was named."""
    if data.prompt_id or not data.names_self_hosted_model:
        engine, name = "agent", code.label(code.GENERATION, answer.family)
    else:
        engine, name = "litellm", f"custom_openai/{data.model_name or answer.family}"
    return code.flat_answer(
        request, engine=engine, name=name, language=language, answer=answer, tokens=None
    )
