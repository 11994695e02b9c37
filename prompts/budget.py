"""How much fits into a model's context window, and which part of it is kept.

There is no tokenizer here: every model has its own, they are large, and some call out. Tokens are
estimated from the UTF-8 length at three bytes each. Code takes 3 to 4 characters a token with the
tokenizers of today (GitLab's own counted 13 tokens in the 34 characters of a small context, and
3.2 characters a token in a long file), other scripts 1 to 3 bytes; so the estimate is on the safe
side for code, and a backend does not refuse what we call fitting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

import orjson

from models_registry.providers.embedding import Texts
from models_registry.providers.types import Prompt, ToolCall
from prompts.renderer import MAX_PROMPT_BYTES

BYTES_PER_TOKEN = 3
# What a chat format puts around messages: all of a prompt's own, and each turn of a conversation.
MARKER_TOKENS = 64
TURN_TOKENS = 8
# How much of a window an answer may claim from the inputs.
ANSWER_SHARE = 0.25
# What a model is given of one image: vendors cut larger ones down to about this.
IMAGE_TOKENS = 1_600
# How long an answer may become where nobody says it.
USUAL_ANSWER_TOKENS = 4096
# Room in the window for the answer (128 tokens at most), the system message and the markers.
RESERVED_TOKENS = 512
PREFIX_SHARE = 0.93
# What the largest windows would hold is more than a prompt may be; 64 KiB stay for the template.
MAX_INPUT_TOKENS = (MAX_PROMPT_BYTES - 64 * 1024) // BYTES_PER_TOKEN

End = Literal["start", "end"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """How many characters of a text were kept, of how many."""

    kept: int
    of: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """The inputs that were cut, as they are now, and by how much. Shape of both: by name."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    cut: Mapping[str, Cut] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedCode:
    """The code around the cursor, cut to fit; the repository context is part of `prefix`."""

    prefix: str
    suffix: str
    context_tokens: int
    cut: Mapping[str, Cut] = field(default_factory=dict)


def fit(
    inputs: Mapping[str, str],
    *,
    cut: Mapping[str, End],
    fixed_tokens: int,
    answer_tokens: int | None,
    window_tokens: int,
) -> Fitted:
    """Return what must be cut of the inputs so that they fit beside the template and the answer.

    `cut` says which inputs may lose text, at their start or at their end; the first gives way
    first, all of it if need be. The others stay whole: if they alone are too long, the model says
    so. The answer may claim up to a quarter of the window.
    """
    room = _room(fixed_tokens, answer_tokens, window_tokens)
    limit = max(room, 0) * BYTES_PER_TOKEN
    # No character takes more than four bytes: what is surely short enough is not measured.
    if 4 * sum(map(len, inputs.values())) <= limit:
        return Fitted()
    excess = sum(map(_size, inputs.values())) - limit
    kept: dict[str, str] = {}
    for name, end in cut.items():
        if excess <= 0:
            break
        text = inputs[name]
        size = _size(text)
        keep = _keep_end if end == "start" else _keep_start
        kept[name] = keep(text, limit=max(size - excess, 0))
        excess -= size - _size(kept[name])
    return Fitted(
        inputs=kept,
        cut=_cuts(kept, inputs),
    )


def fit_past(
    exchanges: Sequence[Sequence[str]],
    *,
    needed_tokens: int,
    answer_tokens: int | None,
    window_tokens: int,
) -> int:
    """Return how many exchanges of a conversation fit, counted from the latest.

    `needed_tokens` is what else the prompt holds; the answer may claim what `fit` gives it.
    """
    room = _room(needed_tokens, answer_tokens, window_tokens)
    for count, exchange in enumerate(reversed(exchanges)):
        room -= turn_tokens(exchange)
        if room < 0:
            return count
    return len(exchanges)


def turn_tokens(texts: Iterable[str]) -> int:
    """Return about how many tokens the turns of a conversation have."""
    return sum(estimate_tokens(text) + TURN_TOKENS for text in texts)


def _room(needed_tokens: int, answer_tokens: int | None, window_tokens: int) -> int:
    """Return how many tokens are left beside what is needed and the answer; may be negative."""
    answer = min(answer_tokens or USUAL_ANSWER_TOKENS, int(ANSWER_SHARE * window_tokens))
    return min(window_tokens - answer - MARKER_TOKENS, MAX_INPUT_TOKENS) - needed_tokens


def answer_room(*, answer_tokens: int, prompt: Sequence[str], window_tokens: int) -> int:
    """Return how long the answer may be: servers refuse what could overflow the window.

    Never less than the share of the window that `fit` keeps free.
    """
    characters = sum(map(len, prompt))
    if 4 * characters <= (window_tokens - answer_tokens - MARKER_TOKENS) * BYTES_PER_TOKEN:
        return answer_tokens
    return limit_answer(
        answer_tokens=answer_tokens,
        prompt_tokens=sum(map(estimate_tokens, prompt)),
        window_tokens=window_tokens,
    )


def limit_answer(*, answer_tokens: int, prompt_tokens: int, window_tokens: int) -> int:
    """Return `answer_room` for a prompt of about this many tokens."""
    left = window_tokens - MARKER_TOKENS - prompt_tokens
    return min(answer_tokens, max(left, int(ANSWER_SHARE * window_tokens), 1))


def fit_code(*, prefix: str, suffix: str, context: Sequence[str], window_tokens: int) -> FittedCode:
    """Return the code that a context window of this many tokens can hold.

    The prefix gets 93 % of the room and keeps its end, the suffix gets 7 % and keeps its start.
    What both leave over goes to the repository context, which keeps its start and stands before
    the prefix. A window so small that the reserve would eat it gives half of itself to the code.

    Source: gateway-api.md 5.1, points 2 to 4.
    """
    room = max(window_tokens - RESERVED_TOKENS, window_tokens // 2)
    room = min(room, MAX_INPUT_TOKENS)
    prefix_room = ceil(PREFIX_SHARE * room)
    kept_prefix = _keep_end(prefix, limit=prefix_room * BYTES_PER_TOKEN)
    kept_suffix = _keep_start(suffix, limit=(room - prefix_room) * BYTES_PER_TOKEN)
    kept_context, joined = "", ""
    if any(context):
        joined = "\n".join(context)
        left = room - estimate_tokens(kept_prefix) - estimate_tokens(kept_suffix)
        kept_context = _keep_start(joined, limit=max(left, 0) * BYTES_PER_TOKEN)
    kept = {"prefix": kept_prefix, "suffix": kept_suffix, "context": kept_context}
    return FittedCode(
        prefix=f"{kept_context}\n{kept_prefix}" if kept_context else kept_prefix,
        suffix=kept_suffix,
        context_tokens=estimate_tokens(kept_context),
        cut=_cuts(kept, {"prefix": prefix, "suffix": suffix, "context": joined}),
    )


def _cuts(kept: Mapping[str, str], before: Mapping[str, str]) -> dict[str, Cut]:
    return {
        name: Cut(kept=len(text), of=len(before[name]))
        for name, text in kept.items()
        if len(text) < len(before[name])
    }


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has; 0 only for an empty one."""
    return ceil(_size(text) / BYTES_PER_TOKEN)


def estimate_prompt(question: Prompt | Texts) -> int:
    """Return about how many tokens a question has, its tools and images included."""
    if isinstance(question, Texts):
        return sum(map(estimate_tokens, question.texts))
    return sum(map(estimate_tokens, texts_of(question))) + IMAGE_TOKENS * count_images(question)


def estimate_answer(text: str, tool_calls: Sequence[ToolCall]) -> int:
    """Return about how many tokens an answer took."""
    return estimate_tokens(text) + sum(estimate_tokens(c.name + c.arguments) for c in tool_calls)


def texts_of(prompt: Prompt) -> list[str]:
    """Return everything that a model reads of a prompt, except for images."""
    texts = [prompt.text or "", *(message.content for message in prompt.messages)]
    texts += [c.name + c.arguments for message in prompt.messages for c in message.tool_calls]
    return texts + [orjson.dumps(tool).decode() for tool in prompt.tools]


def count_images(prompt: Prompt) -> int:
    """Return how many images a prompt holds."""
    return sum(part["type"] != "text" for m in prompt.messages for part in m.parts)


def _size(text: str) -> int:
    """Return how many bytes a text takes."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _keep_start(text: str, *, limit: int) -> str:
    """Return as much of the start as takes at most this many bytes."""
    # No character takes more than four bytes: what is surely short enough is not encoded.
    if 4 * len(text) <= limit:
        return text
    if text.isascii():
        return text[:limit]
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return text
    return encoded[:limit].decode(errors="ignore")


def _keep_end(text: str, *, limit: int) -> str:
    """Return as much of the end as takes at most this many bytes."""
    if 4 * len(text) <= limit:
        return text
    # Counted from the front: a slice from -0 would keep everything.
    if text.isascii():
        return text[max(len(text) - limit, 0) :]
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return text
    return encoded[len(encoded) - limit :].decode(errors="ignore")
