"""A model without a backend: it repeats the last line it was given, for first looks and tests.

Its vectors are hashes: equal texts have equal vectors, and nothing else is meant by them.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator

from models_registry.egress import Cancellation, Limits
from models_registry.errors import BatchTooLarge, InferenceCancelled
from models_registry.providers.embedding import Embedding, Texts
from models_registry.providers.types import Completion, Delta, ModelConfig, Prompt

REPEAT_MAX = 200
# What prompts put around code (<CURSOR>, <|fim_middle|>): a person wants to see the code.
MARKERS = re.compile(r"<[^<>\s]{1,30}>")
PAUSE_S = 0.01
DIMENSIONS = 64
# About what a number of a vector takes in JSON.
BYTES_PER_NUMBER = 10


class Echo:
    """Answers by itself; opens no connection. Tokens are words."""

    label = "Echo (no backend)"

    def complete(
        self,
        prompt: Prompt,
        model: ModelConfig,
        *,
        limits: Limits,
        cancellation: Cancellation | None = None,
        correlation_id: str = "",
    ) -> Completion:
        """Return the whole answer.

        Raises:
            InferenceCancelled: `cancellation` was used.
        """
        if cancellation is not None and cancellation.is_cancelled:
            raise InferenceCancelled
        text = _answer(prompt)
        return Completion(
            text=text,
            finish_reason="stop",
            prompt_tokens=len(_asked(prompt).split()),
            completion_tokens=len(text.split()),
        )

    def embed(
        self,
        texts: Texts,
        model: ModelConfig,
        *,
        limits: Limits,
        cancellation: Cancellation | None = None,
        correlation_id: str = "",
    ) -> Embedding:
        """Return for each text a vector of numbers from -1 to 1 that its hash makes up.

        Raises:
            BatchTooLarge: as JSON the vectors would be over the limit for answers.
            InferenceCancelled: `cancellation` was used.
        """
        dimensions = texts.dimensions or DIMENSIONS
        if len(texts.texts) * dimensions * BYTES_PER_NUMBER > limits.max_bytes:
            raise BatchTooLarge("Ask for fewer or shorter vectors in one call.")
        if cancellation is not None and cancellation.is_cancelled:
            raise InferenceCancelled
        return Embedding(
            vectors=tuple(_hashed(text, dimensions) for text in texts.texts),
            prompt_tokens=sum(len(text.split()) for text in texts.texts),
        )

    def stream(
        self,
        prompt: Prompt,
        model: ModelConfig,
        *,
        limits: Limits,
        cancellation: Cancellation | None = None,
        correlation_id: str = "",
    ) -> Iterator[Delta]:
        """Yield the answer word by word.

        Raises:
            InferenceCancelled: `cancellation` was used.
        """
        completion = self.complete(prompt, model, limits=limits)
        for word in re.findall(r"\s*\S+|\s+$", completion.text):
            if cancellation is not None and cancellation.is_cancelled:
                raise InferenceCancelled
            yield Delta(text=word)
            time.sleep(PAUSE_S)
        yield Delta(
            finish_reason="stop",
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
        )


def _hashed(text: str, dimensions: int) -> tuple[float, ...]:
    data = hashlib.shake_256(text.encode()).digest(dimensions)
    return tuple(byte / 128 - 1 for byte in data)


def _asked(prompt: Prompt) -> str:
    if prompt.text is not None:
        return prompt.text
    return prompt.messages[-1].content if prompt.messages else ""


def _answer(prompt: Prompt) -> str:
    text = MARKERS.sub("", _asked(prompt))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"# echo: {(lines[-1] if lines else 'nothing')[:REPEAT_MAX]}"
