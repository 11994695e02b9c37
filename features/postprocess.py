"""What is taken out of a model's answer before it is shown as code.

Everything else stays: the answers of self-hosted models are returned verbatim. `clean` is for whole
answers, `cleaner` for streams; a feature that neither knows loses only the model's reasoning.
Source: gateway-api.md 4.4 (mixtral), 5.5 (verbatim), 5.6 (generations), 6.3 (reasoning).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from itertools import groupby
from typing import Protocol

OPEN = "<think>"
CLOSE = "</think>"


def unescape_underscores(text: str) -> str:
    r"""Return the text with `\_` as `_`: Mixtral writes code as if it were Markdown."""
    return text.replace("\\_", "_")


def strip_think_block(text: str) -> str:
    """Return the text without the reasoning at its start and the line ends after it.

    A reasoning that is not closed is all there is: nothing is left. One that starts later is code.
    """
    if not text.lstrip().startswith(OPEN):
        return text
    _, _, answer = text.partition(CLOSE)
    return answer.lstrip("\r\n")


class _State(Enum):
    START = "may still turn out to be a reasoning"
    THINKING = "in a reasoning that is not closed"
    CLOSED = "between the reasoning and the answer"
    ANSWER = "nothing more to look for"


class ThinkBlockStripper:
    """`strip_think_block` for a stream: the same text, whatever the chunks are.

    Holds back only what may still be the start of a reasoning, so the first chunk of an answer that
    has none is passed on at once.
    """

    def __init__(self) -> None:
        self._state = _State.START
        self._held = ""

    def feed(self, chunk: str) -> str:
        """Return what can be shown now; may be empty."""
        if self._state is _State.ANSWER:
            return chunk
        text, self._held = self._held + chunk, ""
        if self._state is _State.START:
            start = text.lstrip()
            if start.startswith(OPEN):
                self._state = _State.THINKING
            elif OPEN.startswith(start):
                self._held = text
                return ""
            else:
                self._state = _State.ANSWER
                return text
        if self._state is _State.THINKING:
            thought, closed, text = text.partition(CLOSE)
            if not closed:
                # Only what may be the first half of the end.
                self._held = thought[-(len(CLOSE) - 1) :]
                return ""
            self._state = _State.CLOSED
        answer = text.lstrip("\r\n")
        if answer:
            self._state = _State.ANSWER
        return answer

    def flush(self) -> str:
        """Return what was held back, at the end of the stream."""
        held = self._held if self._state is _State.START else ""
        self._held = ""
        return held


class Cleaner(Protocol):
    """Cleans a stream; what it lets through is what is delivered and recorded."""

    def feed(self, chunk: str) -> str:
        """Return what can be shown now; may be empty."""

    def flush(self) -> str:
        """Return what was held back, at the end of the stream."""


FENCE = re.compile(r"`{3}\S*\s*")
FENCE_MIN = 3
NEW_CODE = "<new_code>"
NEW_CODE_END = "</new_code>"


class GenerationCleaner:
    """Takes generated code out of its wrappings, line by line.

    Reasoning, Markdown fences and the tags that GitLab's examples teach models go. The line break
    behind an opening wrapping goes with it, unless the cursor stands behind code or a comment that
    the new code must not run into.
    """

    def __init__(self, *, above: str) -> None:
        """Clean code that is inserted below this text."""
        self._think = ThinkBlockStripper()
        self._line: list[str] = []
        self._is_break_due = above.rpartition("\n")[2].strip() != ""
        self._has_begun = False
        self._is_over = False

    def feed(self, chunk: str) -> str:
        """Return the lines that are whole now."""
        text = self._think.feed(chunk)
        *ends, rest = text.split("\n")
        shown = []
        for end in ends:
            shown.append(self._shown("".join([*self._line, end, "\n"])))
            self._line.clear()
        if rest:
            self._line.append(rest)
        return "".join(shown)

    def flush(self) -> str:
        """Return the last line, which no line break ended."""
        last = "".join([*self._line, self._think.flush()])
        self._line.clear()
        code = last.rstrip("`")
        # One or two may be code's own; three close what the model thinks of as Markdown.
        return self._shown(code if len(last) - len(code) >= FENCE_MIN else last)

    def _shown(self, line: str) -> str:
        if self._is_over:
            return ""
        if not self._has_begun and line.lstrip().startswith(NEW_CODE):
            line = self._without_break(line.partition(NEW_CODE)[2])
        if FENCE.fullmatch(line):
            return "" if self._has_begun else self._without_break("\n")
        line, end, _ = line.partition(NEW_CODE_END)
        self._is_over = bool(end)
        self._has_begun = self._has_begun or line.strip() != ""
        self._is_break_due = self._is_break_due and not line
        return line

    def _without_break(self, rest: str) -> str:
        """Return what follows an opening wrapping; a bare line break only if it is needed."""
        if rest != "\n":
            return rest
        is_due, self._is_break_due = self._is_break_due, False
        return "\n" if is_due else ""


def start_line(text: str, *, above: str) -> str:
    """Return the text so that it does not go on in the line that the cursor stands in."""
    return text if above.endswith("\n") or text.startswith("\n") else f"\n{text}"


def drop_reflections(text: str, *, above: str) -> str:
    """Return the text without the lines that only repeat what stands above the cursor.

    Those are a single comment, or five lines and more of monotonous prose (a license). What else
    is repeated may be code that is meant twice.
    """
    known = {line.strip() for line in above.splitlines()} - {""}
    lines = text.splitlines(keepends=True)
    # The first line goes on in the cursor's line unless that is empty.
    begin = 0 if above.endswith("\n") or not above else 1
    kept = lines[:begin]
    for is_known, group in groupby(lines[begin:], key=lambda line: line.strip() in known):
        repeated = list(group)
        if not (is_known and _is_reflection(repeated)):
            kept += repeated
    return "".join(kept)


COMMENT = re.compile(r"\s*(?:/\*|//|#(?!(?:if|ifdef|ifndef|elif|else|endif|include|define)\b))")
MONOTONOUS_LINES_MIN = 5
SPECIAL = frozenset("()[];.,$%&^*@#!{}/")
SPECIAL_SHARE_MAX = 0.25
UNIQUE_SHARE_MAX = 0.35


def _is_reflection(lines: list[str]) -> bool:
    if len(lines) == 1:
        return COMMENT.match(lines[0]) is not None
    if len(lines) < MONOTONOUS_LINES_MIN:
        return False
    text = "".join(lines)
    special = sum(character in SPECIAL for character in text)
    return special / len(text) < SPECIAL_SHARE_MAX and len(set(text)) / len(text) < UNIQUE_SHARE_MAX


Inputs = Mapping[str, str]
ESCAPING_FAMILIES = frozenset({"mixtral"})


def clean_completion(text: str, family: str, inputs: Inputs) -> str:
    """Return what a completion inserts at the cursor."""
    text = strip_think_block(text)
    return unescape_underscores(text) if family in ESCAPING_FAMILIES else text


def clean_generation(text: str, family: str, inputs: Inputs) -> str:
    """Return what a generation inserts at the cursor; nothing if only blanks are left.

    Where the input `repairs` is set, the code is put on a line of its own and repeats nothing.
    """
    above = inputs.get("prefix", "")
    unwrapper = GenerationCleaner(above=above)
    text = unwrapper.feed(text) + unwrapper.flush()
    if inputs.get("repairs"):
        text = drop_reflections(start_line(text, above=above), above=above)
    return text if text.strip() else ""


def clean_json(text: str, family: str, inputs: Inputs) -> str:
    """Return an answer that is to be JSON and nothing else: without the fence around it."""
    text = strip_think_block(text).strip()
    opening, _, rest = text.partition("\n")
    is_fenced = FENCE.fullmatch(f"{opening}\n") and rest.endswith("```")
    return rest.removesuffix("```").strip() if is_fenced else text


CLEAN: dict[str, Callable[[str, str, Inputs], str]] = {
    "code_completions": clean_completion,
    "code_generations": clean_generation,
    "x_ray_libraries": clean_json,
}
CLEANERS: dict[str, Callable[[Inputs], Cleaner]] = {
    "code_completions": lambda inputs: ThinkBlockStripper(),
    "code_generations": lambda inputs: GenerationCleaner(above=inputs.get("prefix", "")),
}


def clean(text: str, *, feature: str, family: str, inputs: Inputs) -> str:
    """Return a whole answer after the steps that its feature asks for; `inputs` of the record."""
    step = CLEAN.get(feature)
    return step(text, family, inputs) if step else strip_think_block(text)


def cleaner(*, feature: str, inputs: Inputs) -> Cleaner:
    """Return what cleans the stream of a feature."""
    make = CLEANERS.get(feature)
    return make(inputs) if make else ThinkBlockStripper()
