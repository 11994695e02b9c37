"""What the two routes for prompts read: a prompt's id, its inputs as text, and the model meant.

Checks come in the reference's order: body (422), prompt and version (400), scope (403); policy and
missing inputs follow in the pipeline.
Source: gateway-api.md 3.1, 3.2, 7.2, 7.3; gitlab-client.md 1.7, 1.8.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from django.conf import settings
from django.utils import timezone
from pydantic import StringConstraints
from rest_framework.request import Request

from features.catalog import PROMPTS
from gateway.api import wire
from gateway.api.endpoint import call_facts, get_caller
from gateway.api.errors import Forbidden
from gateway.api.model_fields import ModelMetadata
from gateway.calls import Call
from prompts import library, versions
from prompts.errors import PromptNotFound

CONNECTION_TEST = "model_configuration/check"


class Input(wire.Body):
    """The body of a call; an input may be anything that JSON can say."""

    inputs: dict[str, Any]
    prompt_version: Annotated[str, StringConstraints(max_length=255)] | None = None
    stream: bool | None = None
    model_metadata: ModelMetadata | None = None


def read_call(request: Request, prompt_id: str) -> Call:
    """Return the call of a prompt.

    Raises:
        UnreadableBody, InvalidBody: see `wire.read`.
        PromptNotFound, NoSuchVersion: there is no such prompt, or not in this version.
        Forbidden: the token does not allow this prompt.
    """
    data = wire.read(request._request, Input)
    prompt = PROMPTS.get(prompt_id)
    if prompt is None or prompt.has_own_route:
        raise PromptNotFound(f"There is no prompt '{prompt_id}'.")
    versions.resolve(data.prompt_version, available=library.answers_to(prompt.slug))
    if not get_caller(request).can(prompt.unit_primitives):
        raise Forbidden(f"Unauthorized to access '{prompt_id}'")
    is_test = prompt_id == CONNECTION_TEST
    inputs = {"current_date": f"{timezone.localdate():%B %d, %Y}", **data.inputs}
    return Call(
        feature=prompt.feature,
        prompt=prompt.slug,
        inputs={name: as_text(value) for name, value in inputs.items()},
        named_model=data.model_metadata.as_named() if data.model_metadata else None,
        is_connection_test=is_test,
        is_streamed=bool(data.stream),
        deadline_s=(
            settings.GATEWAY_CHECK_DEADLINE_S if is_test else settings.GATEWAY_PROMPT_DEADLINE_S
        ),
        **call_facts(request),
    )


def as_text(value: Any) -> str:
    """Return an input as a model can read it.

    Shape: nothing for null and what is empty; short texts in one line, long ones in lines;
    documents as blocks with the id by which an answer cites them; everything else as JSON.
    """
    match value:
        case str():
            return value
        case None:
            return ""
        case dict() | list() if not value:
            return ""
        case [*items] if all(isinstance(item, str) for item in items):
            return ("\n" if any("\n" in item for item in items) else ", ").join(items)
        case [*items] if all(_is_document(item) for item in items):
            return "\n".join(_document(item) for item in items)
    return json.dumps(value, ensure_ascii=False, indent=2)


def _is_document(value: Any) -> bool:
    return isinstance(value, dict) and "id" in value and isinstance(value.get("content"), str)


def _document(value: dict[str, Any]) -> str:
    return f'<document id="CNT-IDX-{value["id"]}">\n{value["content"]}\n</document>'
