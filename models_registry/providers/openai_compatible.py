"""OpenAI's wire format, as vLLM, llama.cpp, TGI, Ollama and LM Studio serve it.

Source: gateway-api.md 4.3 and 4.5 (what the reference sends); OpenAI API reference.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from models_registry.errors import ModelMisconfigured
from models_registry.providers import sse
from models_registry.providers.base import (
    Provider,
    Request,
    as_finish_reason,
    as_text,
    as_tokens,
    failure,
    load_json,
)
from models_registry.providers.types import Completion, Delta, ModelConfig, Prompt

STOP_MAX = 4
# What GitLab stores as the endpoint of its Bedrock models; nobody is there (gitlab-client.md 1.4).
BEDROCK_PLACEHOLDER = "bedrockselfhostedmodel.com"

# Routes of the reference's client library that all mean this wire format; the rest is the model.
# The reference takes the text before any first slash for a route and fails on one it does not
# know. Here such an identifier is sent whole: servers call their models Qwen/Qwen2.5-Coder-7B.
ROUTES = frozenset(
    (
        "custom_openai",
        "openai",
        "hosted_vllm",
        "litellm_proxy",
        "lm_studio",
        "together_ai",
        "text-completion-openai",
        "codestral",
        "mistral",
        "deepseek",
        "xai",
        "groq",
        "ollama",
        "ollama_chat",
        "llamafile",
        "azure_ai",
        "huggingface",
        "bedrock_mantle",
        "provider",  # GitLab's own examples: provider/some-model
    )
)
# Without a key the reference sends this one for custom_openai; some servers insist on any.
DUMMY_KEY = "dummy_key"

# Models that refuse `max_tokens` and `temperature`.
_REASONING = re.compile(r"(^|[/\-_.:])(gpt-5|o[134])([\-_.:]|$)", re.IGNORECASE)
# Models that refuse `temperature` only.
_FIXED_TEMPERATURE = re.compile(r"opus[-_.]4[-_.][78]|(sonnet|fable|mythos)[-_.]5", re.IGNORECASE)


class OpenAICompatible(Provider):
    """Chat by /chat/completions, a prompt's text by /completions."""

    label = "OpenAI-compatible (vLLM, llama.cpp, TGI, Ollama, LM Studio)"

    def build(self, prompt: Prompt, model: ModelConfig, *, is_streamed: bool) -> Request:
        _check_endpoint(model)
        identifier = served_name(model.identifier) or model.family
        body: dict[str, Any] = {"model": identifier}
        if prompt.text is not None:
            path, body["prompt"] = "completions", prompt.text
        else:
            path = "chat/completions"
            body["messages"] = [{"role": m.role, "content": m.content} for m in prompt.messages]
            body |= _continuation(prompt, model)
        is_reasoning = model.is_reasoning or _REASONING.search(identifier) is not None
        if prompt.max_tokens is not None:
            body["max_completion_tokens" if is_reasoning else "max_tokens"] = prompt.max_tokens
        takes_temperature = not is_reasoning and not _FIXED_TEMPERATURE.search(identifier)
        if prompt.temperature is not None and takes_temperature:
            body["temperature"] = prompt.temperature
        if prompt.stop:
            body["stop"] = list(prompt.stop[:STOP_MAX])
        if is_streamed:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return Request(
            url=f"{model.endpoint}/{path}",
            headers=_authorization(model),
            body=body,
        )

    def build_list(self, model: ModelConfig) -> Request:
        _check_endpoint(model)
        return Request(url=f"{model.endpoint}/models", headers=_authorization(model), body=None)

    def parse_list(self, reply: Any) -> list[Any]:
        return [entry["id"] for entry in reply["data"]]

    def parse_reply(self, reply: Any) -> Completion:
        if reply.get("error"):
            raise failure(reply["error"])
        choice = reply["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
        return Completion(
            text=as_text(text),
            finish_reason=as_finish_reason(choice.get("finish_reason")),
            **_usage(reply),
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
        return Delta(
            text=as_text(text),
            finish_reason=as_finish_reason(choice.get("finish_reason")),
            **usage,
        )


def _check_endpoint(model: ModelConfig) -> None:
    if not model.endpoint:
        raise ModelMisconfigured("The model has no endpoint.")
    if urlsplit(model.endpoint).hostname == BEDROCK_PLACEHOLDER:
        raise ModelMisconfigured(
            "GitLab names a model of AWS Bedrock, which Enclave does not speak yet. Put a "
            "server with OpenAI's API in front of it, and enter that as the endpoint."
        )


def _authorization(model: ModelConfig) -> dict[str, str]:
    return {"Authorization": f"Bearer {model.api_key or DUMMY_KEY}"}


def served_name(identifier: str) -> str:
    """Return the name the backend knows the model by: the identifier without its route."""
    route, slash, name = identifier.partition("/")
    return name if slash and route in ROUTES else identifier


def _continuation(prompt: Prompt, model: ModelConfig) -> dict[str, Any]:
    """Return what makes a server go on with a last assistant message instead of answering it."""
    is_prefilled = bool(prompt.messages) and prompt.messages[-1].role == "assistant"
    if is_prefilled and (model.takes_prefill or "mistral" in model.family):
        return {"continue_final_message": True, "add_generation_prompt": False}
    return {}


def _usage(reply: Any) -> dict[str, Any]:
    """Return the reported tokens; None for what is not reported."""
    usage = reply.get("usage") or {}
    return {name: as_tokens(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")}
