"""VendorEndpoint: a route for conversations in a vendor's API; VendorShape: its errors alone.

What a body and an answer look like is the format's to know (`gateway/api/vendors/`); who may call,
and for which feature, is the subclass's.
"""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
from django.conf import settings
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from gateway import pipeline
from gateway.api import errors, wire
from gateway.api.endpoint import Endpoint, call_facts
from gateway.api.responses import event_stream, json_response
from gateway.api.vendors.formats import BadRequest, Body, Format, events
from gateway.calls import Call
from gateway.vendor import Diverted
from models_registry.providers.types import Prompt
from prompts.budget import estimate_prompt

HEARTBEAT_S = 15.0
WORDS_MAX = 300
# Vendors know no 422; and what a model server refuses of a conversation, its caller wrote.
BAD_REQUEST_STATUS = 422
BAD_REQUEST_CODES = ("backend_rejected",)
KEPT_HEADERS = ("Retry-After", "Allow")


class VendorShape(Endpoint):
    """A route that fails in the shape of `format`. `plain` is what keeps the shape that it has."""

    format: ClassVar[Format[Any]]
    plain: ClassVar[tuple[type[Exception], ...]] = (errors.Unauthenticated, Diverted)

    def handle_exception(self, exc: Exception) -> Any:
        """Turn an error into the vendor's shape; status and words come from the one table."""
        if isinstance(exc, BadRequest):
            return self._refusal(str(exc), exc.param)
        if isinstance(exc, wire.InvalidBody):
            return self._refusal(*_place(exc))
        response = super().handle_exception(exc)
        return response if isinstance(exc, self.plain) else self._translated(response)

    def _refusal(self, words: str, param: str | None) -> HttpResponse:
        return json_response(self.format.error(400, words[:WORDS_MAX], param=param), status=400)

    def _translated(self, response: HttpResponse) -> HttpResponse:
        told = orjson.loads(response.content)
        code = told.get("code", "")
        status = response.status_code
        if status == BAD_REQUEST_STATUS or code in BAD_REQUEST_CODES:
            status = 400
        words = told["detail"] if "detail" in told else told["error"]
        translated = json_response(self.format.error(status, words, code=code), status=status)
        for name in KEPT_HEADERS:
            if name in response.headers and status != 400:
                translated.headers[name] = response.headers[name]
        return translated


class VendorEndpoint(VendorShape):
    """One route for conversations."""

    def feature(self, request: Request) -> str:
        """Return the feature that a request is for.

        Raises:
            BadRequest, Forbidden: it is for none, or for one that the token does not allow.
        """
        raise NotImplementedError

    def post(self, request: Request) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        body, conversation = self.read(request)
        call = self.make_call(request, body, conversation)
        if not call.is_streamed:
            answer = pipeline.answer(call)
            return json_response(self.format.answer(self.naming(body, answer.model), answer))
        prompt_tokens = estimate_prompt(conversation)
        stream = pipeline.stream(call)
        named = self.naming(body, stream.model)
        writer = self.format.writer(named, stream, prompt_tokens=prompt_tokens)
        return event_stream(events(stream, writer))

    def read(self, request: Request) -> tuple[Body, Prompt]:
        """Return the body, and what it asks.

        Raises:
            UnreadableBody, InvalidBody, BadRequest: it is none, or asks for what cannot be served.
        """
        body: Body = wire.read(request._request, self.format.shape)
        return body, self.format.conversation(body)

    def naming(self, body: Body, model: str) -> Body:
        """Return the body with what the answer is to call its model: as it was called."""
        return body

    def make_call(self, request: Request, body: Body, conversation: Prompt) -> Call:
        """Return the call that a request makes."""
        return Call(
            feature=self.feature(request),
            conversation=conversation,
            is_streamed=bool(body.stream),
            deadline_s=settings.GATEWAY_CONVERSATION_DEADLINE_S,
            heartbeat_s=HEARTBEAT_S,
            **call_facts(request),
        )


def _place(error: wire.InvalidBody) -> tuple[str, str | None]:
    """Return what is wrong and where: of several places the deepest, which says most."""
    worst = max(error.errors, key=lambda found: len(found["loc"]))
    place = ".".join(map(str, worst["loc"][1:]))
    return (f"{place}: {worst['msg']}", place) if place else (worst["msg"], None)
