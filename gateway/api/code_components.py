"""What /v3/code/completions and /v4/code/suggestions have in common: all but the stream's format.

A body is a list of components; the first one says whether code is completed or generated.
Source: gateway-api.md 3.5, 3.6, 5; gitlab-client.md 1.4, 1.6.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from django.conf import settings
from pydantic import Field, StringConstraints
from rest_framework.request import Request

from features import languages
from features.catalog import PromptEntry
from features.languages import Language
from gateway import pipeline
from gateway.api import code, wire
from gateway.api.endpoint import get_caller
from gateway.api.errors import Forbidden
from gateway.api.model_fields import ModelMetadata
from gateway.audit.models import CallerKind
from gateway.calls import Answer, Call, Stream

# Older language servers send context that nobody asked for.
CONTEXT_SINCE = (7, 17, 1)
REFUSAL = "Unauthorized to access code suggestions"

_VERSION = re.compile(
    r"\s*v?(\d{1,9}(?:\.\d{1,9}){0,5})(?!\d)([-_.]?(?:a|b|c|rc|dev|alpha|beta|pre))?"
)


class Source(wire.Body):
    """Who wrote a component; nobody reads it."""

    source: code.Text255
    version: code.Text255


class CompletionPayload(code.FileAtCursor):
    """What a completion needs."""

    model_provider: Literal["vertex-ai", "anthropic", "amazon_q"] | None = None
    model_name: str | None = None
    stream: bool = False


class GenerationPayload(CompletionPayload):
    """What a generation needs."""

    prompt: Annotated[str, StringConstraints(max_length=400_000)] | None = None
    prompt_id: str | None = None
    prompt_version: str | None = None
    prompt_enhancer: dict[str, Any] | None = None


class ContextPayload(code.Context):
    """A file or a snippet of the repository."""

    content: code.Code


class CompletionComponent(wire.Body):
    """The code at the cursor, to be completed."""

    type: Literal["code_editor_completion"]
    payload: CompletionPayload
    metadata: Source | None = None


class GenerationComponent(wire.Body):
    """The code at the cursor, and what is to be written there."""

    type: Literal["code_editor_generation"]
    payload: GenerationPayload
    metadata: Source | None = None


class ContextComponent(wire.Body):
    """Something that goes with a completion."""

    type: Literal["code_context"]
    payload: ContextPayload
    metadata: Source | None = None


Component = Annotated[
    CompletionComponent | GenerationComponent | ContextComponent, Field(discriminator="type")
]


class Components(wire.Body):
    """The body of both routes."""

    prompt_components: Annotated[list[Component], Field(min_length=1, max_length=100)]
    model_metadata: ModelMetadata | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Suggestion:
    """A call to be answered, and what its answer says of it.

    `model` is what GitLab names, if it names one.
    """

    request: Request
    prompt: PromptEntry
    call: Call
    language: Language
    model: ModelMetadata | None


def read(request: Request) -> Suggestion:
    """Return what is asked.

    Raises:
        InvalidBody: the body does not fit, or begins with context.
        Forbidden: the token does not allow it; an editor's own token never does.
        PromptNotFound: it asks for a prompt that does not write code.
    """
    data = wire.read(request._request, Components)
    first = data.prompt_components[0]
    if isinstance(first, ContextComponent):
        detail = "The first component must be code_editor_completion or code_editor_generation"
        where = ("body", "prompt_components", 0)
        raise wire.InvalidBody([{"type": "value_error", "loc": where, "msg": detail}], detail)
    if get_caller(request).kind == CallerKind.USER:
        raise Forbidden(REFUSAL)
    if isinstance(first, GenerationComponent):
        return _generation(request, first.payload, data.model_metadata)
    return _completion(request, first.payload, data)


def _completion(request: Request, file: CompletionPayload, data: Components) -> Suggestion:
    code.require_scope(request, code.COMPLETION, REFUSAL)
    language = languages.detect(file.file_name, file.language_identifier)
    model = data.model_metadata
    call = code.make_call(
        request,
        code.COMPLETION,
        inputs=code.file_inputs(file, language),
        context=_context(request, data),
        named_model=model.as_named() if model else None,
        is_streamed=file.stream and language.is_known,
    )
    return Suggestion(
        request=request, prompt=code.COMPLETION, call=call, language=language, model=model
    )


def _context(request: Request, data: Components) -> tuple[str, ...]:
    version = _VERSION.match(request.META.get("HTTP_X_GITLAB_LANGUAGE_SERVER_VERSION", ""))
    if version is None:
        return ()
    release = tuple(map(int, version[1].split(".")))
    # What comes before a release is older than it.
    is_new = release > CONTEXT_SINCE if version[2] else release >= CONTEXT_SINCE
    if not is_new:
        return ()
    return tuple(
        component.payload.content
        for component in data.prompt_components
        if isinstance(component, ContextComponent)
    )


def _generation(
    request: Request, file: GenerationPayload, model: ModelMetadata | None
) -> Suggestion:
    code.require_scope(request, code.GENERATION, REFUSAL)
    code.require_prompt(file.prompt_id)
    language = languages.detect(file.file_name, file.language_identifier)
    call = code.make_call(
        request,
        code.GENERATION,
        inputs={
            **code.file_inputs(file, language),
            **code.wishes({"user_instruction": file.prompt, **(file.prompt_enhancer or {})}),
            # With a prompt's id, GitLab takes the answer as the model gave it.
            "repairs": "" if file.prompt_id else "yes",
        },
        named_model=model.as_named() if model else None,
        is_streamed=file.stream,
    )
    return Suggestion(
        request=request, prompt=code.GENERATION, call=call, language=language, model=model
    )


def answer(suggestion: Suggestion) -> dict[str, Any]:
    """Return the JSON of a whole answer.

    Raises: as `pipeline.answer`.
    """
    if suggestion.prompt is code.COMPLETION:
        return _body(suggestion, code.complete(suggestion.call, suggestion.language))
    return _body(suggestion, pipeline.answer(suggestion.call))


def stream_metadata(suggestion: Suggestion, stream: Stream) -> dict[str, Any]:
    """Return what a stream with a format says of itself; whole answers say it differently."""
    return {
        "model": {"engine": "agent", "name": code.label(suggestion.prompt, stream.family)},
        "timestamp": int(time.time()),
        "enabled_feature_flags": code.enabled_flags(suggestion.request),
        "region": settings.GATEWAY_REGION,
    }


def _body(suggestion: Suggestion, given: Answer | None) -> dict[str, Any]:
    family = given.family if given else ""
    if suggestion.prompt is code.COMPLETION:
        named = suggestion.model
        engine = named.provider if named else "litellm"
        name = (named.name if named else "") or family
    else:
        engine, name = "agent", code.label(code.GENERATION, family)
    model = {"engine": engine, "name": name, "lang": suggestion.language.id}
    return {
        "choices": code.choices(given),
        "metadata": {
            "model": model,
            "timestamp": int(time.time()),
            "enabled_feature_flags": code.enabled_flags(suggestion.request),
            "region": None,
        },
        "model": model,
    }
