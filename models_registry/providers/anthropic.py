"""Anthropic's Messages API, as Anthropic, proxies to it and some model servers serve it.

Source: Anthropic API reference (version 2023-06-01), Messages and Streaming Messages;
gateway-api.md 4.3.
"""

from __future__ import annotations

from typing import Any

from models_registry.errors import BackendRateLimited, ModelError
from models_registry.providers import sse, turns
from models_registry.providers.base import (
    DUMMY_KEY,
    Provider,
    Request,
    as_text,
    endpoint_of,
    failure,
    load_json,
    tool_calls,
)
from models_registry.providers.names import served_name
from models_registry.providers.types import Completion, Delta, Json, ModelConfig, Prompt, ToolPart

VERSION = "2023-06-01"
# The format insists on a limit; it is sent where a prompt has none.
MAX_TOKENS = 4096
LIST_MAX = 1000
PROMPT_TOKENS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class _Blocks:
    """Writes Anthropic's content blocks."""

    def text(self, text: str) -> Json:
        return {"type": "text", "text": text}

    def image(self, media_type: str, data: str) -> Json:
        source = {"type": "base64", "media_type": media_type, "data": data}
        return {"type": "image", "source": source}

    def call(self, call_id: str, name: str, arguments: Json) -> Json:
        return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}

    def result(self, call_id: str, text: str) -> Json:
        return {"type": "tool_result", "tool_use_id": call_id, "content": text}


class Anthropic(Provider):
    """Chat by /v1/messages. Thoughts of a model are no part of its answer."""

    label = "Anthropic-compatible (Messages API)"

    def build(self, prompt: Prompt, model: ModelConfig, *, is_streamed: bool) -> Request:
        messages = turns.chat(prompt)
        temperature, top_p = turns.sampling(prompt, model)
        schema = turns.schema_of(prompt)
        wanted: dict[str, Any] = {
            "system": turns.system_of(messages) or None,
            "temperature": temperature,
            "top_p": top_p,
            "stop_sequences": turns.stops(prompt) or None,
            "tools": [_tool(tool["function"]) for tool in prompt.tools] or None,
            "tool_choice": _tool_choice(prompt) if prompt.tools else None,
            "output_config": schema and {"format": {"type": "json_schema", "schema": schema}},
            "stream": True if is_streamed else None,
        }
        body = {
            "model": served_name(model),
            "max_tokens": prompt.max_tokens or MAX_TOKENS,
            "messages": turns.turns(messages, _Blocks()),
            **{name: value for name, value in wanted.items() if value is not None},
        }
        return _request("messages", model, body)

    def build_list(self, model: ModelConfig) -> Request:
        return _request(f"models?limit={LIST_MAX}", model, None)

    def parse_list(self, reply: Any) -> list[Any]:
        return [entry["id"] for entry in reply["data"]]

    def parse_reply(self, reply: Any) -> Completion:
        if reply.get("type") == "error":
            raise _failure(reply["error"])
        content = reply["content"]
        return Completion(
            text="".join(as_text(block["text"]) for block in content if block["type"] == "text"),
            finish_reason=turns.finish_reason(reply.get("stop_reason")),
            tool_calls=tool_calls(
                [
                    (block.get("id"), block["name"], block.get("input"))
                    for block in content
                    if block["type"] == "tool_use"
                ]
            ),
            **_usage(reply),
        )

    def is_end(self, event: sse.Event) -> bool:
        return event.name == "message_stop"

    def parse_event(self, event: sse.Event) -> Delta | None:
        data = load_json(event.data)
        match data["type"]:
            case "error":
                raise _failure(data["error"])
            case "message_start":
                return Delta(**_usage(data["message"]))
            case "message_delta":
                reason = turns.finish_reason(data["delta"].get("stop_reason"))
                return Delta(finish_reason=reason, **_usage(data))
            case "content_block_start":
                return _begun(data["index"], data["content_block"])
            case "content_block_delta":
                return _piece(data["index"], data["delta"])
            case _:
                return None


def _request(path: str, model: ModelConfig, body: dict[str, Any] | None) -> Request:
    """Return a request to a path below /v1, which the endpoint may hold or not."""
    return Request(
        url=f"{endpoint_of(model).removesuffix('/v1')}/v1/{path}",
        headers={"anthropic-version": VERSION, "x-api-key": model.api_key or DUMMY_KEY},
        body=body,
    )


def _tool(function: Json) -> dict[str, Any]:
    tool = {"name": function["name"], "input_schema": function.get("parameters")}
    tool["input_schema"] = tool["input_schema"] or {"type": "object"}
    if function.get("description"):
        tool["description"] = function["description"]
    return tool


def _tool_choice(prompt: Prompt) -> dict[str, Any] | None:
    choice: dict[str, Any] = {"type": "auto"}
    if name := turns.chosen(prompt):
        choice = {"type": "tool", "name": name}
    elif prompt.tool_choice in ("none", "required"):
        choice = {"type": "none" if prompt.tool_choice == "none" else "any"}
    if prompt.parallel_tool_calls is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return None if choice == {"type": "auto"} else choice


def _begun(index: int, block: Any) -> Delta | None:
    if block["type"] == "text":
        return Delta(text=as_text(block.get("text")))
    if block["type"] == "tool_use":
        return Delta(tool_parts=(ToolPart(index=index, id=block["id"], name=block["name"]),))
    return None


def _piece(index: int, delta: Any) -> Delta | None:
    if delta["type"] == "text_delta":
        return Delta(text=as_text(delta["text"]))
    if delta["type"] == "input_json_delta":
        return Delta(tool_parts=(ToolPart(index=index, arguments=as_text(delta["partial_json"])),))
    return None


def _usage(reply: Any) -> dict[str, Any]:
    return turns.usage(reply, prompt=PROMPT_TOKENS, completion="output_tokens")


def _failure(error: Any) -> ModelError:
    if error.get("type") == "rate_limit_error":
        return BackendRateLimited("The model server is over its rate limit.")
    return failure(error)
