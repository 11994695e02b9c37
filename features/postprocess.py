"""What is taken out of a model's answer before it is shown as code.

Everything else stays: the answers of self-hosted models are returned verbatim.
Source: gateway-api.md 4.4 (mixtral), 5.5 (verbatim), 6.3 (reasoning).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

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


# What is done to a plain answer, by (feature, family); streams are passed on as they come.
STEPS: dict[tuple[str, str], tuple[Callable[[str], str], ...]] = {
    ("code_completions", "mixtral"): (unescape_underscores,),
    ("code_completions", "qwen"): (strip_think_block,),
}


def clean(text: str, *, feature: str, family: str) -> str:
    """Return a plain answer after the steps that its feature and family ask for."""
    for step in STEPS.get((feature, family), ()):
        text = step(text)
    return text
