"""The vendor route on the wire: what is passed on of a request, and of its answer.

Lists of what may pass, not of what may not: no cookie, no address of the caller, nothing about a
connection ever does. Source: gateway-api.md 9.1; gitlab-client.md 1.2.
"""

from __future__ import annotations

import re
import string
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from gateway import vendor
from gateway.api import wire
from gateway.vendor import Diverted, Message

# Names as WSGI writes them.
PASSED_ON = ("CONTENT_TYPE", "HTTP_AUTHORIZATION", "HTTP_ACCEPT", "HTTP_USER_AGENT")
PASSED_ON_BEGINNINGS = ("HTTP_X_GITLAB_", "HTTP_ANTHROPIC_")
PASSED_BACK = ("Content-Type", "Retry-After", "X-Streaming-Format", "Cache-Control")
# What may stand before a route of ours (gateway/urls.py).
PREFIX = re.compile(r"/+(?:ai/+)?")


def answer(diverted: Diverted, request: HttpRequest) -> HttpResponseBase:
    """Return the vendor's answer to a request that was read already.

    Raises:
        ModelError, GatewayError: there is none; see `vendor.forward`.
    """
    headers = {**_passed_on(request), "X-Request-ID": diverted.call.correlation_id}
    message = Message(path=_path(request), headers=_sendable(headers), body=wire.body_of(request))
    found = vendor.forward(diverted, message)
    response: HttpResponseBase
    if found.is_streamed:
        response = StreamingHttpResponse(found.pieces, status=found.status)
        response.headers["X-Accel-Buffering"] = "no"
    else:
        body = b"".join(found.pieces)
        response = HttpResponse(body, status=found.status)
        response.headers["Content-Length"] = str(len(body))
    del response.headers["Content-Type"]
    back = {name: found.headers.get(name, "") for name in PASSED_BACK}
    for name, value in _sendable(back).items():
        response.headers[name] = value
    return response


def _path(request: HttpRequest) -> str:
    """Return the path and the query as they were written, without what stands before the route."""
    raw: str = request.META.get("RAW_URI", "")
    written = raw if raw.startswith("/") else request.get_full_path()
    return "/" + PREFIX.sub("", quote(written, safe=string.punctuation.replace("#", "")), count=1)


def _passed_on(request: HttpRequest) -> dict[str, str]:
    return {
        name.removeprefix("HTTP_").replace("_", "-").title(): value
        for name, value in request.META.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_BEGINNINGS)
    }


def _sendable(headers: dict[str, str]) -> dict[str, str]:
    """Return the headers that say something and can stand on a line."""
    return {
        name: value
        for name, value in headers.items()
        if value and value.isascii() and value.isprintable()
    }
