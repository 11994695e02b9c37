"""Anthropic's Messages API for the scripted backend: its questions and answers, translated.

Only what scripts ask for: text, calls of tools, errors, usage.
Source: Anthropic API reference (version 2023-06-01), Messages and Streaming Messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

STOP_REASONS = {"stop": "end_turn", "tool_calls": "tool_use"}


def asked(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body as OpenAI has it, as far as scripts look at it."""
    return {
        "model": body["model"],
        "messages": [_message(turn) for turn in body["messages"]],
        "tools": [{"function": tool} for tool in body.get("tools", ())],
        "stream_options": {"include_usage": True},
    }


def _message(turn: dict[str, Any]) -> dict[str, Any]:
    content = turn["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    is_result = any(block["type"] == "tool_result" for block in blocks)
    return {
        "role": "tool" if is_result else turn["role"],
        "content": "".join(block.get("text", "") for block in blocks),
    }


def whole(answer: dict[str, Any]) -> dict[str, Any]:
    """Return a whole answer of OpenAI's form as a message."""
    (choice,) = answer["choices"]
    said = choice["message"]
    content: list[dict[str, Any]] = []
    if said["content"]:
        content.append({"type": "text", "text": said["content"]})
    for call in said.get("tool_calls", ()):
        function = call["function"]
        content.append(
            {
                "type": "tool_use",
                "id": call["id"],
                "name": function["name"],
                "input": json.loads(function["arguments"]),
            }
        )
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": answer["model"],
        "content": content,
        "stop_reason": STOP_REASONS[choice["finish_reason"]],
        "usage": _usage(answer["usage"]) if "usage" in answer else None,
    }


def events(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the events of a message, as the chunks of OpenAI's form come."""
    index, reason = -1, ""
    for chunk in chunks:
        data = chunk.removeprefix(b"data: ").strip()
        if data == b"[DONE]":
            yield _event({"type": "message_stop"})
        elif data.startswith(b'{"error"'):
            yield _event({"type": "error", **json.loads(data)})
        elif not data.startswith(b'{"id"'):
            yield chunk
        elif not (value := json.loads(data))["choices"]:
            delta = {"stop_reason": reason, "stop_sequence": None}
            usage = _usage(value["usage"])
            yield _event({"type": "message_delta", "delta": delta, "usage": usage})
        else:
            choice = value["choices"][0]
            for event in _said(choice["delta"], is_first=index < 0):
                index += event["type"] == "content_block_start"
                yield _event({**event, "index": index})
            if choice["finish_reason"]:
                reason = STOP_REASONS[choice["finish_reason"]]
                yield _event({"type": "content_block_stop", "index": index})


def _said(delta: dict[str, Any], *, is_first: bool) -> Iterator[dict[str, Any]]:
    if "role" in delta:
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"type": "message", "role": "assistant", "content": [], "usage": usage}
        yield {"type": "message_start", "message": message}
    elif "content" in delta:
        if is_first:
            yield {"type": "content_block_start", "content_block": {"type": "text", "text": ""}}
        piece = {"type": "text_delta", "text": delta["content"]}
        yield {"type": "content_block_delta", "delta": piece}
    for call in delta.get("tool_calls", ()):
        if "id" in call:
            block = {"type": "tool_use", "id": call["id"], "name": call["function"]["name"]}
            yield {"type": "content_block_start", "content_block": {**block, "input": {}}}
        else:
            part = {"type": "input_json_delta", "partial_json": call["function"]["arguments"]}
            yield {"type": "content_block_delta", "delta": part}


def _usage(usage: dict[str, int]) -> dict[str, int]:
    return {
        "input_tokens": usage["prompt_tokens"],
        "cache_read_input_tokens": 0,
        "output_tokens": usage["completion_tokens"],
    }


def _event(value: dict[str, Any]) -> bytes:
    data = json.dumps(value, separators=(",", ":"))
    return f"event: {value['type']}\ndata: {data}\n\n".encode()
