"""OpenAI's wire format, as vLLM, llama.cpp, TGI, Ollama and LM Studio serve it.

Source: gateway-api.md 4.3 and 4.5 (what the reference sends); OpenAI API reference.
"""

from __future__ import annotations

from typing import Any

from models_registry.providers import names, sse
from models_registry.providers.base import (
    DUMMY_KEY,
    Provider,
    Request,
    as_arguments,
    as_finish_reason,
    as_id,
    as_text,
    as_tokens,
    endpoint_of,
    failure,
    load_json,
    tool_calls,
)
from models_registry.providers.embedding import Embedding, Texts, as_vector
from models_registry.providers.names import served_name
from models_registry.providers.types import (
    Completion,
    Delta,
    ModelConfig,
    Prompt,
    ToolPart,
)

STOP_MAX = 4

# What models that take no `temperature` do not take either.
_SAMPLING = ("top_p", "presence_penalty", "frequency_penalty")


class OpenAICompatible(Provider):
    """Chat by /chat/completions, a prompt's text by /completions, vectors by /embeddings."""

    label = "OpenAI-compatible (vLLM, llama.cpp, TGI, Ollama, LM Studio)"

    def request(self, path: str, model: ModelConfig, body: dict[str, Any] | None) -> Request:
        """Return a request to one of the endpoint's paths.

        Raises:
            ModelMisconfigured: there is no endpoint.
        """
        return Request(
            url=f"{endpoint_of(model)}/{path}",
            headers={"Authorization": f"Bearer {model.api_key or DUMMY_KEY}"},
            body=body,
        )

    def build(self, prompt: Prompt, model: ModelConfig, *, is_streamed: bool) -> Request:
        body: dict[str, Any] = {"model": served_name(model)}
        if prompt.text is not None:
            path, body["prompt"] = "completions", prompt.text
        else:
            path = "chat/completions"
            body["messages"] = [message.as_dict() for message in prompt.messages]
            body |= _continuation(prompt, model)
        is_reasoning = names.is_reasoning(model)
        if prompt.max_tokens is not None:
            body["max_completion_tokens" if is_reasoning else "max_tokens"] = prompt.max_tokens
        takes_temperature = names.takes_temperature(model)
        if prompt.temperature is not None and takes_temperature:
            body["temperature"] = prompt.temperature
        if prompt.stop and not is_reasoning:
            body["stop"] = list(prompt.stop[:STOP_MAX])
        if options := prompt.options():
            kept = options if takes_temperature else options.keys() - _SAMPLING
            body |= {name: options[name] for name in kept}
        if is_streamed:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return self.request(path, model, body)

    def build_list(self, model: ModelConfig) -> Request | None:
        return self.request("models", model, None)

    def parse_list(self, reply: Any) -> list[Any]:
        return [entry["id"] for entry in reply["data"]]

    def parse_reply(self, reply: Any) -> Completion:
        if reply.get("error"):
            raise failure(reply["error"])
        choice = reply["choices"][0]
        if "message" in choice:
            message = choice["message"]
            calls = tool_calls(
                [
                    (call.get("id"), call["function"]["name"], call["function"].get("arguments"))
                    for call in message.get("tool_calls") or ()
                ]
            )
            # Beside a call, some servers leave the content out.
            text = message.get("content") if calls else message["content"]
        else:
            text, calls = choice["text"], ()
        return Completion(
            text=as_text(text),
            finish_reason=as_finish_reason(choice.get("finish_reason")),
            tool_calls=calls,
            **_usage(reply),
        )

    def build_embedding(self, texts: Texts, model: ModelConfig) -> Request:
        body: dict[str, Any] = {
            "model": served_name(model),
            "input": list(texts.texts),
            "encoding_format": "float",
        }
        if texts.dimensions is not None:
            body["dimensions"] = texts.dimensions
        return self.request("embeddings", model, body)

    def parse_embedding(self, reply: Any) -> Embedding:
        if reply.get("error"):
            raise failure(reply["error"])
        items = sorted(reply["data"], key=lambda item: item["index"])
        if [item["index"] for item in items] != list(range(len(items))):
            raise ValueError("vectors that belong to no text, or to one of another")
        return Embedding(
            vectors=tuple(as_vector(item["embedding"]) for item in items),
            prompt_tokens=_usage(reply)["prompt_tokens"],
        )

    def parse_event(self, event: sse.Event) -> Delta | None:
        chunk = load_json(event.data)
        if chunk.get("error") or event.name == "error":
            raise failure(chunk)
        choices = chunk["choices"]
        usage = _usage(chunk)
        if not choices:
            return Delta(**usage)
        choice = choices[0]
        delta = choice.get("delta")
        text = delta.get("content") if delta is not None else choice.get("text")
        parts = delta.get("tool_calls") if delta else None
        return Delta(
            text=as_text(text),
            finish_reason=as_finish_reason(choice.get("finish_reason")),
            tool_parts=_tool_parts(parts) if parts else (),
            **usage,
        )


def _continuation(prompt: Prompt, model: ModelConfig) -> dict[str, Any]:
    """Return what makes a server go on with a last assistant message instead of answering it."""
    is_prefilled = bool(prompt.messages) and prompt.messages[-1].role == "assistant"
    if is_prefilled and (model.takes_prefill or "mistral" in model.family):
        return {"continue_final_message": True, "add_generation_prompt": False}
    return {}


def _tool_parts(parts: Any) -> tuple[ToolPart, ...]:
    """Return what an event holds of tool calls.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: it is none.
    """
    return tuple(_tool_part(position, part) for position, part in enumerate(parts))


def _tool_part(position: int, part: Any) -> ToolPart:
    """Return a part of a call; a server that sends whole calls may leave out which one it is."""
    index, function = part.get("index"), part.get("function") or {}
    if not isinstance(index, int | None):
        raise TypeError("not a position")
    return ToolPart(
        index=position if index is None else index,
        id=as_id(part.get("id")),
        name=as_text(function.get("name")),
        arguments=as_arguments(function.get("arguments")),
    )


def _usage(reply: Any) -> dict[str, Any]:
    """Return the reported tokens; None for what is not reported."""
    usage = reply.get("usage") or {}
    return {name: as_tokens(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")}
