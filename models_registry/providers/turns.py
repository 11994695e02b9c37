"""Turns of content blocks: what Anthropic's Messages API and Bedrock's Converse have in common.

Both want turns of user and assistant that alternate, results of tools among the user's, and no
block that is empty. They differ in how a block is written.
Source: Anthropic API reference (Messages); Amazon Bedrock API reference (Converse).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from models_registry.errors import ModelMisconfigured
from models_registry.providers.base import as_tokens, load_json
from models_registry.providers.names import takes_temperature
from models_registry.providers.types import Json, Message, ModelConfig, Prompt

# Why an answer ended, in OpenAI's words.
FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}
# Where a model's arguments of a tool are no object, which both insist on.
INVALID_JSON = "INVALID_JSON"


class Blocks(Protocol):
    """Writes content blocks."""

    def text(self, text: str) -> Json:
        """Return a block of text."""

    def image(self, media_type: str, data: str) -> Json:
        """Return an image, whose data is base64."""

    def call(self, call_id: str, name: str, arguments: Json) -> Json:
        """Return a call of a tool."""

    def result(self, call_id: str, text: str) -> Json:
        """Return what a tool returned."""


def chat(prompt: Prompt) -> tuple[Message, ...]:
    """Return the prompt's messages.

    Raises:
        ModelMisconfigured: it is a text to complete, which only OpenAI's format knows.
    """
    if prompt.text is not None:
        raise ModelMisconfigured(
            "This provider only chats. Switch 'native fill-in-the-middle' off for this model."
        )
    return prompt.messages


def system_of(messages: Sequence[Message]) -> str:
    """Return what the system says; it stands beside the turns."""
    return "\n\n".join(m.content for m in messages if m.role == "system" and m.content.strip())


def turns(messages: Sequence[Message], blocks: Blocks) -> list[dict[str, Any]]:
    """Return the conversation without the system's messages."""
    found: list[dict[str, Any]] = []
    for message in _begun(messages):
        role = "assistant" if message.role == "assistant" else "user"
        content = [] if message.role == "system" else list(_content(message, blocks))
        if not content:
            continue
        if found and found[-1]["role"] == role:
            found[-1]["content"] += content
        else:
            found.append({"role": role, "content": content})
    return found


def _begun(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield the messages; a begun answer must not end in white space."""
    for position, message in enumerate(messages, start=1):
        is_begun = message.role == "assistant" and position == len(messages)
        yield replace(message, content=message.content.rstrip()) if is_begun else message


def _content(message: Message, blocks: Blocks) -> Iterator[Json]:
    if message.role == "tool":
        yield blocks.result(message.tool_call_id, message.content)
        return
    parts = message.parts or ({"type": "text", "text": message.content},)
    for part in parts:
        if part["type"] != "text":
            yield blocks.image(*_image(part["image_url"]["url"]))
        elif part["text"].strip():
            yield blocks.text(part["text"])
    for call in message.tool_calls:
        yield blocks.call(call.id, call.name, _object(call.arguments))


def _image(url: str) -> tuple[str, str]:
    """Return the media type and the base64 of a `data:` URL."""
    head, _, data = url.removeprefix("data:").partition(",")
    return head.removesuffix(";base64"), data


def _object(arguments: str) -> Json:
    try:
        value = load_json(arguments)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {INVALID_JSON: arguments}


def sampling(prompt: Prompt, model: ModelConfig) -> tuple[float | None, float | None]:
    """Return `temperature` and `top_p`, of which models take one at most, and some neither.

    OpenAI's temperature goes up to 2, here 1 is the highest.
    """
    if not takes_temperature(model):
        return None, None
    if prompt.temperature is not None:
        return min(prompt.temperature, 1.0), None
    return None, prompt.top_p


def stops(prompt: Prompt) -> list[str]:
    """Return the stop sequences; white space alone is refused as one."""
    return [stop for stop in prompt.stop if stop.strip()]


def schema_of(prompt: Prompt) -> Json | None:
    """Return the schema that the answer is to fit; neither API knows "any JSON"."""
    wanted = prompt.response_format or {}
    return wanted["json_schema"]["schema"] if wanted.get("type") == "json_schema" else None


def chosen(prompt: Prompt) -> str:
    """Return the tool that is to be called, or "" where none is named."""
    choice = prompt.tool_choice
    return "" if choice is None or isinstance(choice, str) else choice["function"]["name"]


def usage(reply: Any, *, prompt: Sequence[str], completion: str) -> dict[str, Any]:
    """Return the reported tokens; a prompt's are counted apart where they come from a cache.

    `prompt` and `completion` are the names of the counts; without the first there is none.
    """
    counts = reply.get("usage") or {}
    first, *cached = (as_tokens(counts.get(name)) for name in prompt)
    return {
        "prompt_tokens": None if first is None else first + sum(count or 0 for count in cached),
        "completion_tokens": as_tokens(counts.get(completion)),
    }


def finish_reason(reason: Any) -> str | None:
    """Return why an answer ended, in OpenAI's words; of a word that nobody knows, "stop"."""
    return FINISH_REASONS.get(reason, "stop") if isinstance(reason, str) else None
