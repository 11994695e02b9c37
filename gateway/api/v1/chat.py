"""POST /v1/chat/<unit>: a conversation that GitLab wrote, answered as it is.

GitLab 17 asks so for its chat and its slash commands. The reference's route has been failing since
2026; this is what it was meant to do.
Source: gateway-api.md 3.9; gitlab-client.md 1.4, 1.8.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Literal

from django.conf import settings
from django.http.response import HttpResponseBase
from pydantic import Field, StringConstraints, model_validator
from rest_framework.request import Request

from features.catalog import PROMPTS
from gateway import pipeline
from gateway.api import wire
from gateway.api.code import Text255, Turn
from gateway.api.endpoint import Endpoint, call_facts, get_caller
from gateway.api.errors import Forbidden, NotFound
from gateway.api.model_fields import FlatModel, known_family
from gateway.api.responses import json_response, text_stream
from gateway.calls import Call, NamedModel
from models_registry.providers.types import Message
from prompts.library import Parameters, Turns

PROMPT = PROMPTS["v1/chat"]
SELF_HOSTED = "litellm"


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """What is asked for: the feature whose rules hold, and the scope that a token needs."""

    feature: str
    scope: str


UNITS = {
    "agent": Unit(feature="duo_chat", scope="duo_chat"),
    "explain_code": Unit(feature="duo_chat_explain_code", scope="duo_chat"),
    "write_tests": Unit(feature="duo_chat_write_tests", scope="duo_chat"),
    "refactor_code": Unit(feature="duo_chat_refactor_code", scope="duo_chat"),
    "explain_vulnerability": Unit(
        feature="duo_chat_explain_vulnerability", scope="explain_vulnerability"
    ),
    "summarize_comments": Unit(feature="duo_chat_summarize_comments", scope="summarize_comments"),
    "troubleshoot_job": Unit(feature="duo_chat_troubleshoot_job", scope="troubleshoot_job"),
}


class Params(wire.Body):
    """How GitLab wants the model to answer."""

    stop_sequences: (
        Annotated[
            list[Annotated[str, StringConstraints(min_length=1, max_length=225)]],
            Field(min_length=1, max_length=10),
        ]
        | None
    ) = None
    temperature: Annotated[float, Field(ge=0, le=1)] = 0.2
    max_tokens_to_sample: Annotated[int, Field(ge=1, le=8192)] = 8192

    def as_parameters(self) -> Parameters:
        """Return them in the library's words."""
        return Parameters(
            max_tokens=self.max_tokens_to_sample,
            temperature=self.temperature,
            stop=tuple(self.stop_sequences or ()),
        )


class Payload(FlatModel):
    """The conversation, or one question, and the model that is meant."""

    content: (
        Annotated[str, StringConstraints(max_length=400_000)]
        | Annotated[list[Turn], Field(min_length=1, max_length=100)]
    )
    provider: Literal["anthropic", "litellm"] | None = None
    model: Text255 | None = None
    params: Params | None = None

    @model_validator(mode="after")
    def _family_is_known(self) -> Payload:
        if self.provider == SELF_HOSTED and self.model is not None:
            known_family(self.model)
        return self

    def messages(self) -> tuple[Message, ...]:
        """Return the conversation."""
        if isinstance(self.content, str):
            return (Message(role="user", content=self.content),)
        return tuple(Message(role=turn.role, content=turn.content) for turn in self.content)

    def as_named(self) -> NamedModel | None:
        """Return the model of the instance's own that is named, if one is."""
        return self.as_named_model(self.model) if self.provider == SELF_HOSTED else None


class Component(wire.Body):
    """The one part of a body."""

    type: Annotated[str, StringConstraints(max_length=100)]
    payload: Payload


class Input(wire.Body):
    """The body of a call."""

    prompt_components: Annotated[list[Component], Field(min_length=1, max_length=1)]
    stream: bool = False


class Chat(Endpoint):
    """The answer is an object, or raw text where it is streamed."""

    def post(self, request: Request, unit: str) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        if unit not in UNITS:
            raise NotFound
        data = wire.read(request._request, Input)
        payload = data.prompt_components[0].payload
        call = _call(request, UNITS[unit], payload, is_streamed=data.stream)
        if call.is_streamed:
            return text_stream(pipeline.stream(call).pieces)
        answer = pipeline.answer(call)
        metadata = {
            "provider": payload.provider or SELF_HOSTED,
            "model": payload.model or answer.family,
            "timestamp": int(time.time()),
        }
        return json_response({"response": answer.text, "metadata": metadata})


def _call(request: Request, unit: Unit, payload: Payload, *, is_streamed: bool) -> Call:
    """Return the call.

    Raises:
        Forbidden: the token does not allow it.
    """
    if not get_caller(request).can((unit.scope,)):
        raise Forbidden(f"Unauthorized to access {unit.scope}")
    return Call(
        feature=unit.feature,
        prompt=PROMPT.slug,
        inputs={},
        turns=Turns(current=payload.messages()),
        parameters=payload.params.as_parameters() if payload.params else None,
        named_model=payload.as_named(),
        is_streamed=is_streamed,
        deadline_s=settings.GATEWAY_PROMPT_DEADLINE_S,
        **call_facts(request),
    )
