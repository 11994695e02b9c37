"""POST /v2/prompts/<prompt_id>: as version 1, and how many tokens it took.

Source: gateway-api.md 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import orjson
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from gateway import pipeline
from gateway.api.endpoint import Endpoint
from gateway.api.prompt_calls import read_call
from gateway.api.responses import json_response, text_stream
from gateway.calls import Answer, Ending, Stream


class Prompts(Endpoint):
    """The answer is an object, or one object a line where it is streamed."""

    is_prompt = True

    def post(self, request: Request, prompt_id: str) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        call = read_call(request, prompt_id)
        if call.is_streamed:
            return text_stream(_lines(pipeline.stream(call)))
        answer = pipeline.answer(call)
        # The reference names the family here, and the model in a stream.
        return json_response({"content": answer.text, **_usage(answer.family, answer)})


def _lines(stream: Stream) -> Iterator[str]:
    """Yield one object a line, the last one with the usage; a broken answer has no last one."""
    with closing(stream.pieces) as pieces:
        try:
            while True:
                piece = next(pieces)
                if piece:
                    yield _line({"content": piece})
        except StopIteration as end:
            ending: Ending = end.value
        yield _line({"content": "", **_usage(stream.served_name, ending)})


def _usage(model: str, spent: Answer | Ending) -> dict[str, Any]:
    tokens = {"input_tokens": spent.prompt_tokens, "output_tokens": spent.completion_tokens}
    return {"usage": {model: {name: count or 0 for name, count in tokens.items()}}}


def _line(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode() + "\n"
