"""Reading and writing vendors' shapes without a route: bodies in, answers and events out."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import orjson

from gateway.api.vendors.formats import events
from gateway.calls import Answer, Ending, Stream
from gateway.errors import InferenceFailed, StreamBroken
from models_registry.providers.types import ToolCall

RECORD = UUID("01890000-0000-7000-8000-000000000001")
CALL = ToolCall(id="call_1", name="lookup", arguments='{"query": "tiny"}')
OTHER = ToolCall(id="call_2", name="add", arguments="{}")
SCHEMA = {"type": "object", "properties": {"query": {"type": "string"}}}
PNG = "data:image/png;base64,AAAA"


def read(form, value):
    """Return what a body asks."""
    return form.conversation(body_of(form, value))


def body_of(form, value):
    return form.shape.model_validate_json(json.dumps(value))


def answered(form, value, *, text="Hello.", finish_reason="stop", tool_calls=()):
    """Return the JSON of an answer, as a client parses it."""
    answer = Answer(
        record_id=RECORD,
        model="General 7B",
        family="general",
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=3,
        completion_tokens=2,
        context_tokens=0,
        tool_calls=tool_calls,
    )
    return orjson.loads(orjson.dumps(form.answer(body_of(form, value), answer)))


def stream_of(*pieces, finish_reason="stop", tool_calls=(), breaks_off=False):
    """Return a stream of these pieces."""

    def run():
        yield from pieces
        if breaks_off:
            failure = InferenceFailed("The model server failed.", code="backend_failed")
            raise StreamBroken(str(failure)) from failure
        return Ending(
            prompt_tokens=3,
            completion_tokens=2,
            finish_reason=finish_reason,
            tool_calls=tool_calls,
        )

    return Stream(
        record_id=RECORD,
        model="General 7B",
        family="general",
        served_name="house",
        pieces=run(),
    )


def written(form, value, *pieces, **facts) -> list[str]:
    """Return the events of a stream as text, as far as they come."""
    stream = stream_of(*pieces, **facts)
    writer = form.writer(body_of(form, value), stream, prompt_tokens=7)
    got: list[str] = []
    try:
        for text in events(stream, writer):
            got += [text]
    except StreamBroken:
        got += ["(cut)"]
    return "".join(got).split("\n\n")[: None if got[-1] == "(cut)" else -1]


def parsed(stream: bytes) -> list[dict[str, Any]]:
    """Return the events of a whole stream as a client parses them; comments and marks are none."""
    lines = [line for line in stream.decode().split("\n") if line.startswith("data: {")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def streamed(form, value, *pieces, **facts) -> list[dict[str, Any]]:
    """Return the events of a stream as a client parses them; names and types must agree."""
    events = written(form, value, *pieces, **facts)
    for event in events:
        name, _, rest = event.partition("\n")
        if name.startswith("event: "):
            assert json.loads(rest.removeprefix("data: "))["type"] == name.removeprefix("event: ")
    return parsed("\n".join(events).encode())
