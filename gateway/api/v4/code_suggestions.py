"""POST /v4/code/suggestions: as /v3/code/completions, but streams are server-sent events.

Clients rely on `event:` before `data:`, and tell these streams from raw text by a header.
Source: gateway-api.md 3.6; gitlab-client.md 1.6.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.request import Request

from gateway import pipeline
from gateway.api import code_components
from gateway.api.code_components import Suggestion
from gateway.api.endpoint import Endpoint
from gateway.api.responses import event_stream, json_response
from gateway.calls import Stream

HEARTBEAT_S = 15.0


class CodeSuggestions(Endpoint):
    """One suggestion."""

    def post(self, request: Request) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        suggestion = code_components.read(request)
        if suggestion.call.is_streamed:
            call = replace(suggestion.call, heartbeat_s=HEARTBEAT_S)
            return event_stream(_events(suggestion, pipeline.stream(call)))
        return json_response(code_components.answer(suggestion))


def _events(suggestion: Suggestion, stream: Stream) -> Iterator[str]:
    """Yield the events; an answer that breaks off has no `stream_end`."""
    metadata = code_components.stream_metadata(suggestion, stream)
    with closing(stream.pieces) as pieces:
        yield _event("stream_start", {"metadata": metadata})
        for piece in pieces:
            if piece:
                choice = {"delta": {"content": piece}, "index": 0}
                yield _event("content_chunk", {"choices": [choice]})
            else:
                yield f": ping - {timezone.now()}\r\n\r\n"
        yield _event("stream_end", None)


def _event(name: str, value: Any) -> str:
    # The standard library's blanks and escapes are the reference's.
    return f"event: {name}\r\ndata: {json.dumps(value)}\r\n\r\n"
