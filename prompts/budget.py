"""How much code fits into a model's context window, and which part of it is kept.

There is no tokenizer here: every model has its own, they are large, and some call out. Tokens are
estimated from the UTF-8 length at three bytes each. Code takes 3 to 4 characters a token with the
tokenizers of today (GitLab's own counted 13 tokens in the 34 characters of a small context, and
3.2 characters a token in a long file), other scripts 1 to 3 bytes; so the estimate is on the safe
side for code, and a backend does not refuse what we call fitting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from prompts.renderer import MAX_PROMPT_BYTES

BYTES_PER_TOKEN = 3
# Room in the window for the answer (128 tokens at most), the system message and the markers.
RESERVED_TOKENS = 512
PREFIX_SHARE = 0.93
# What the largest windows would hold is more than a prompt may be; 64 KiB stay for the template.
MAX_CODE_TOKENS = (MAX_PROMPT_BYTES - 64 * 1024) // BYTES_PER_TOKEN


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedCode:
    """The code around the cursor, cut to fit; the repository context is part of `prefix`."""

    prefix: str
    suffix: str
    context_tokens: int
    was_cut: bool


def fit_code(*, prefix: str, suffix: str, context: Sequence[str], window_tokens: int) -> FittedCode:
    """Return the code that a context window of this many tokens can hold.

    The prefix gets 93 % of the room and keeps its end, the suffix gets 7 % and keeps its start.
    What both leave over goes to the repository context, which keeps its start and stands before
    the prefix. A window so small that the reserve would eat it gives half of itself to the code.

    Source: gateway-api.md 5.1, points 2 to 4.
    """
    room = max(window_tokens - RESERVED_TOKENS, window_tokens // 2)
    room = min(room, MAX_CODE_TOKENS)
    prefix_room = ceil(PREFIX_SHARE * room)
    kept_prefix = _keep_end(prefix, tokens=prefix_room)
    kept_suffix = _keep_start(suffix, tokens=room - prefix_room)
    was_cut = len(kept_prefix) < len(prefix) or len(kept_suffix) < len(suffix)
    if not any(context):
        return FittedCode(prefix=kept_prefix, suffix=kept_suffix, context_tokens=0, was_cut=was_cut)

    joined = "\n".join(context)
    left = room - estimate_tokens(kept_prefix) - estimate_tokens(kept_suffix)
    kept_context = _keep_start(joined, tokens=max(left, 0))
    return FittedCode(
        prefix=f"{kept_context}\n{kept_prefix}" if kept_context else kept_prefix,
        suffix=kept_suffix,
        context_tokens=estimate_tokens(kept_context),
        was_cut=was_cut or len(kept_context) < len(joined),
    )


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has; 0 only for an empty one."""
    size = len(text) if text.isascii() else len(text.encode(errors="replace"))
    return ceil(size / BYTES_PER_TOKEN)


def _keep_start(text: str, *, tokens: int) -> str:
    limit = tokens * BYTES_PER_TOKEN
    # No character takes more than four bytes: what is surely short enough is not encoded.
    if 4 * len(text) <= limit:
        return text
    if text.isascii():
        return text[:limit]
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return text
    return encoded[:limit].decode(errors="ignore")


def _keep_end(text: str, *, tokens: int) -> str:
    limit = tokens * BYTES_PER_TOKEN
    if 4 * len(text) <= limit:
        return text
    # Counted from the front: a slice from -0 would keep everything.
    if text.isascii():
        return text[max(len(text) - limit, 0) :]
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return text
    return encoded[len(encoded) - limit :].decode(errors="ignore")
