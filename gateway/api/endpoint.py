"""Endpoint: the frame of every route of the API.

An endpoint reads the wire format, calls one function, writes the wire format; the frame
authenticates, turns errors into answers and adds the headers that every answer carries. It is DRF's
view without content negotiation: GitLab is answered in one format whatever it asks for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar, TypedDict
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from gateway.api import departure, errors, vendor_route
from gateway.api.authentication import authenticate
from gateway.api.responses import json_response
from gateway.calls import Caller
from gateway.vendor import Diverted

CORRELATION_ID_MAX = 255


class Endpoint(APIView):
    """One route. `is_public` skips authentication, `is_prompt` answers model failures with 421."""

    is_public: ClassVar[bool] = False
    is_prompt: ClassVar[bool] = False

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer one request; never raises."""
        started_at = time.monotonic()
        response = self._preflight(request) or super().dispatch(request, *args, **kwargs)
        response.headers["X-Request-ID"] = correlation_id(request)
        response.headers["X-Process-Time"] = f"{time.monotonic() - started_at:.6f}"
        _allow_origin(request, response)
        if request.method == "HEAD" and isinstance(response, HttpResponse):
            response.content = b""  # its length stays in the header
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate before anything else: without credentials every route is a 401."""
        if not self.is_public:
            request.caller = authenticate(request.META)  # type: ignore[attr-defined]  # read by get_caller

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Return the one format there is."""
        return JSONRenderer(), "application/json"

    def handle_exception(self, exc: Exception) -> Any:
        """Turn an error into the answer that the table gives it, a diversion into the vendor's."""
        request = self.request._request
        if isinstance(exc, Diverted):
            try:
                return vendor_route.answer(exc, request)
            except Exception as failure:
                return self.handle_exception(failure)
        if isinstance(exc, MethodNotAllowed):
            response = json_response({"detail": "Method Not Allowed"}, status=405)
            response.headers["Allow"] = ", ".join(self._methods())
            return response
        return errors.respond(exc, request, is_prompt=self.is_prompt)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the response as it is; DRF would add Vary and Allow."""
        return response

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Refuse: a CORS preflight was answered before."""
        return self.http_method_not_allowed(request, *args, **kwargs)

    def _methods(self) -> list[str]:
        return [name.upper() for name in ("get", "post") if hasattr(self, name)]

    def _preflight(self, request: HttpRequest) -> HttpResponse | None:
        """Answer a browser's preflight, which carries no credentials (the Web IDE)."""
        meta = request.META
        is_preflight = "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in meta and "HTTP_ORIGIN" in meta
        if request.method != "OPTIONS" or not is_preflight:
            return None
        response = HttpResponse("OK", content_type="text/plain; charset=utf-8")
        response.headers["Access-Control-Allow-Methods"] = "POST"
        response.headers["Access-Control-Max-Age"] = "600"
        asked = meta.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")
        if asked:
            response.headers["Access-Control-Allow-Headers"] = asked
        return response


def get_caller(request: Request) -> Caller:
    """Return who calls, as `initial` found out."""
    return request.caller  # type: ignore[attr-defined, no-any-return]  # set by initial


def correlation_id(request: HttpRequest) -> str:
    """Return the caller's id for this request, or a new one; the same for the whole request."""
    known: str | None = request.META.get("enclave.correlation_id")
    if known is None:
        given = request.META.get("HTTP_X_REQUEST_ID", "")[:CORRELATION_ID_MAX]
        known = given if given.isprintable() and given else uuid4().hex
        request.META["enclave.correlation_id"] = known
    return known


class CallFacts(TypedDict):
    """The facts of a `Call` that every request has."""

    endpoint: str
    caller: Caller
    correlation_id: str
    has_left: Callable[[], bool]


def call_facts(request: Request) -> CallFacts:
    """Return where a call comes from."""
    return {
        "endpoint": request.path,
        "caller": get_caller(request),
        "correlation_id": correlation_id(request._request),
        "has_left": departure.watch(request._request),
    }


def _allow_origin(request: HttpRequest, response: HttpResponseBase) -> None:
    """Tell a browser that the page it shows may read this answer, if it may."""
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None:
        return
    allowed = settings.GATEWAY_CORS_ORIGINS
    if "*" in allowed:
        response.headers["Access-Control-Allow-Origin"] = "*"
        return
    response.headers["Vary"] = "Origin"
    # Never "null": that is what a sandboxed page of anybody calls itself.
    if origin in allowed:
        response.headers["Access-Control-Allow-Origin"] = origin


class Unknown(Endpoint):
    """Every path that no route knows: 401 without credentials, 404 with them."""

    http_method_names = ("get", "head", "post", "put", "patch", "delete", "options")

    def http_method_not_allowed(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Say that there is nothing here, whatever the method."""
        raise errors.NotFound
