"""ReAct: how the model of the chat agent says what it wants, and how that is read as it comes.

A turn of the model has one of two forms. GitLab runs the action and asks again, with what came out
of it as an observation:

    Thought: I need the issue.          Thought: I know this.
    Action: issue_reader                Final Answer: Use `git rebase`.
    Action Input: #42

A final answer is shown while it comes. What has neither form is shown as it is.
Source: gateway-api.md 6.2 and 6.3. More than the reference, the reader takes a turn that repeats
the "Thought:" it was begun with, takes out reasoning of any length, and believes no observation
that the model makes up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from features.postprocess import CLOSE, OPEN, unescape_underscores

THOUGHT = "Thought:"
ACTION = "Action:"
ACTION_INPUT = "Action Input:"
OBSERVATION = "Observation:"
FINAL_ANSWER = "Final Answer:"

_OBSERVED = f"\n{OBSERVATION}"
_MARKERS = (CLOSE, ACTION_INPUT, _OBSERVED, FINAL_ANSWER)
_MARKER = re.compile("|".join(_MARKERS))
# The end of a text that may be the start of a marker.
_HELD_MAX = max(map(len, _MARKERS)) - 1
_NEXT_STEP = re.compile(rf"\n(?:{THOUGHT}|{ACTION})")
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """What the model wants to look up, and why."""

    thought: str
    tool: str
    tool_input: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalAnswer:
    """The model answered; `feed` returned the text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unknown:
    """The model did as it liked; empty if it said nothing."""

    text: str


class _State(Enum):
    START = "before the first word of the turn itself"
    HEAD = "before the final answer, if there is one"
    ANSWER = "in the final answer"
    OVER = "in what the model makes up about its own action"


class Parser:
    """Reads one turn, piece by piece; whatever the pieces are, it reads the same.

    `has_shown` tells whether a part of a final answer was returned.
    """

    def __init__(self) -> None:
        """Expect a turn."""
        self._state = _State.START
        self._head: list[str] = []
        self._held = ""
        self._has_action = False
        self.has_shown = False

    def feed(self, text: str) -> str:
        """Return what of the final answer can be shown now; may be empty."""
        while text and self._state is not _State.ANSWER:
            text = self._begin(text) if self._state is _State.START else self._search(text)
        return self._show(text) if text else ""

    def end(self) -> Action | FinalAnswer | Unknown:
        """Return what the turn was, at its end."""
        if self.has_shown:
            return FinalAnswer()
        is_thinking = self._state is _State.START and self._held.startswith(OPEN)
        if self._state is _State.ANSWER or is_thinking:
            return Unknown(text="")
        head = "".join([*self._head, self._held])
        thought, _, action = head.partition(ACTION)
        tool, is_action, tool_input = action.partition(ACTION_INPUT)
        if not is_action:
            return Unknown(text=head.strip())
        return Action(
            thought=unescape_underscores(thought.strip()),
            tool=_tool_name(tool),
            tool_input=_NEXT_STEP.split(tool_input, maxsplit=1)[0].strip(),
        )

    def _begin(self, text: str) -> str:
        """Return the text from its first word on: behind a reasoning, and a repeated "Thought:"."""
        start = (self._held + text).lstrip()
        self._held = ""
        if start.startswith(THOUGHT):
            return start.removeprefix(THOUGHT)
        if start.startswith(OPEN):
            thought, closed, rest = start.removeprefix(OPEN).partition(CLOSE)
            if not closed:
                # Of the reasoning only what may be the first half of its end.
                self._held = OPEN + thought[-(len(CLOSE) - 1) :]
            return rest
        if THOUGHT.startswith(start) or OPEN.startswith(start):
            self._held = start
            return ""
        self._state = _State.HEAD
        return start

    def _search(self, text: str) -> str:
        """Return the text behind the first marker, after taking note of what is before it."""
        if self._state is _State.OVER:
            return ""
        text, self._held = self._held + text, ""
        found = _MARKER.search(text)
        if found is None:
            split = max(len(text) - _HELD_MAX, 0)
            self._head.append(text[:split])
            self._held = text[split:]
            return ""
        self._head.append(text[: found.start()])
        self._note(found[0])
        return text[found.end() :]

    def _note(self, marker: str) -> None:
        if marker == FINAL_ANSWER:
            self._state = _State.ANSWER
        elif marker == CLOSE and not self._has_action:
            # The chat format opened the reasoning: it has an end, but no start.
            self._head.clear()
            self._state = _State.START
        elif marker == _OBSERVED and self._has_action:
            self._state = _State.OVER
        else:
            self._has_action = self._has_action or marker == ACTION_INPUT
            self._head.append(marker)

    def _show(self, text: str) -> str:
        """Return the text without the blanks at its start and those that may be its end."""
        text, self._held = self._held + text, ""
        if not self.has_shown:
            text = text.lstrip()
        shown = text.rstrip()
        self._held = text[len(shown) :]
        self.has_shown = self.has_shown or shown != ""
        return shown


def write_action(*, thought: str, tool: str, tool_input: str) -> str:
    """Return an action as the model should have written it."""
    head = unescape_underscores(f"{THOUGHT} {thought}\n{ACTION} {tool}")
    return f"{head}\n{ACTION_INPUT} {tool_input}"


def write_observation(text: str) -> str:
    """Return what came out of an action as the model is told."""
    return f"{OBSERVATION} {text}"


def write_answer(text: str) -> str:
    """Return a final answer as the model should have written it."""
    return f"{FINAL_ANSWER} {text}"


def _tool_name(text: str) -> str:
    """Return a tool's name as GitLab knows it, whatever the model put around it."""
    name = unescape_underscores(text).strip(" \t\r\n-`*\"'[]")
    return _CAPITAL.sub("_", name).lower()
