"""OpenAI's Completions API: a text that the model goes on with, whole or as chunks.

The text goes to the model as it is, without a chat format: editors write a model's own markers for
filling in into it, so `suffix` is refused. A call has one text and one answer.
Source: OpenAI API reference, Completions (legacy).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gateway.api.vendors import reading
from gateway.api.vendors.formats import Format, Writer
from gateway.api.vendors.openai_chat import (
    ChatWriter,
    SamplingBody,
    envelope,
    error,
    finish_reason,
    usage,
    wants_usage,
)
from gateway.calls import Answer, Stream
from models_registry.providers.types import Prompt

KIND = "text_completion"


class CompletionBody(SamplingBody):
    """The body of /v1/completions."""

    prompt: Annotated[
        list[str], BeforeValidator(reading.as_list), Field(min_length=1, max_length=1)
    ]
    best_of: Literal[1] | None = None
    echo: Any = None
    suffix: Any = None


class OpenAICompletions(Format[CompletionBody]):
    """The Completions API."""

    shape = CompletionBody

    def conversation(self, body: CompletionBody) -> Prompt:
        reading.refuse(body, "echo", "logit_bias", "logprobs", "suffix")
        return replace(body.as_prompt(), text=body.prompt[0])

    def answer(self, body: CompletionBody, answer: Answer) -> dict[str, Any]:
        choice = {
            "index": 0,
            "text": answer.text,
            "logprobs": None,
            "finish_reason": finish_reason(answer.finish_reason, ()),
        }
        return {
            **envelope(body, KIND, f"cmpl-{answer.record_id.hex}"),
            "choices": [choice],
            "usage": usage(answer.prompt_tokens, answer.completion_tokens),
        }

    def writer(self, body: CompletionBody, stream: Stream, *, prompt_tokens: int) -> Writer:
        identity = f"cmpl-{stream.record_id.hex}"
        return CompletionWriter(envelope(body, KIND, identity), with_usage=wants_usage(body))

    def error(
        self, status: int, message: str, *, code: str = "", param: str | None = None
    ) -> dict[str, Any]:
        return error(status, message, code=code, param=param)


class CompletionWriter(ChatWriter):
    """Writes pieces as chunks whose choice holds a text."""

    def _said(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"text": delta.get("content", "")}
