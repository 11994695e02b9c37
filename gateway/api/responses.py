"""Writing answers: compact JSON, and text streams that end only when they are complete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from django.http import HttpResponse, StreamingHttpResponse


def json_response(value: Any, *, status: int = 200) -> HttpResponse:
    """Return the value as JSON, byte for byte as the reference writes it."""
    body = orjson.dumps(value)
    return HttpResponse(
        body,
        status=status,
        content_type="application/json",
        headers={"Content-Length": str(len(body))},
    )


def text_stream(pieces: Iterable[str]) -> StreamingHttpResponse:
    """Return a stream of raw text: no framing, no terminator (gateway-api.md 3.3.3)."""
    response = StreamingHttpResponse(pieces, content_type="text/event-stream; charset=utf-8")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def ndjson_stream(lines: Iterable[str]) -> StreamingHttpResponse:
    """Return a stream of JSON values, one a line."""
    response = text_stream(lines)
    response.headers["Content-Type"] = "application/x-ndjson; charset=utf-8"
    return response


def event_stream(events: Iterator[str]) -> StreamingHttpResponse:
    """Return a stream of server-sent events, which clients tell from raw text by a header."""
    response = StreamingHttpResponse(events, content_type="text/event-stream; charset=utf-8")
    response.headers["X-Streaming-Format"] = "sse"
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response
