"""How GitLab and its editors read our answers, as far as its users see a difference.

Source: gitlab-client.md 1.6 to 1.8 (as facts; the code is ours).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

IDENTIFIER_TYPES = frozenset({"current", "iid", "url", "reference", "id"})


class Unreadable(Exception):
    """GitLab would show an error, or nothing at all."""


@dataclass(frozen=True, kw_only=True)
class ReviewComment:
    """One comment of a code review; `from_lines` and `to_lines` make a suggestion."""

    file: str
    old_line: int | None
    new_line: int | None
    text: str
    from_lines: str | None = None
    to_lines: str | None = None


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What is made of a fix: `replacements` are (old, new) pairs for the file."""

    analysis: str
    summary: str
    is_false_positive: bool
    replacements: list[tuple[str, str]]


def parse_review(text: str) -> list[ReviewComment]:
    """Return the comments of the last review; none where there is no review."""
    reviews = re.findall(r"<review>(.*?)</review>", text, re.DOTALL)
    if not reviews:
        return []
    found = re.findall(
        r'<comment file="([^"]*)" old_line="(\d*)" new_line="(\d*)">(.*?)</comment>',
        reviews[-1],
        re.DOTALL,
    )
    return [
        ReviewComment(
            file=file,
            old_line=int(old) if old else None,
            new_line=int(new) if new else None,
            text=re.sub(r"<from>.*</to>", "", said, flags=re.DOTALL).strip(),
            from_lines=_tag(said, "from"),
            to_lines=_tag(said, "to"),
        )
        for file, old, new, said in found
    ]


def parse_identifier(text: str) -> tuple[str, str]:
    """Return what a reader found: the type and the value."""
    block = re.search(r"```json\s*(\{.*?\})\s*```", text, re.DOTALL)
    try:
        found = json.loads(block[1]) if block else {}
        kind, value = found["ResourceIdentifierType"], found["ResourceIdentifier"]
    except (ValueError, KeyError):
        raise Unreadable(text) from None
    if kind not in IDENTIFIER_TYPES:
        raise Unreadable(text)
    return kind, str(value)


def parse_sources(text: str, content_id: str) -> tuple[str, list[str]]:
    """Return the answer from the documentation, and the ids of the documents it names."""
    answer, _, named = text.rpartition(f"{content_id}:")
    return answer.strip(), re.findall(r"CNT-IDX-(\w+)", named)


def parse_resolution(text: str) -> Resolution:
    """Return what is made of a fix for a vulnerability."""
    fixed = _tag(text, "fixed_code")
    analysis, summary = _tag(text, "analysis"), _tag(text, "summary")
    if fixed is None or analysis is None or summary is None:
        raise Unreadable(text)
    pairs = re.findall(
        r"<old_code>\n?(.*?)\n?</old_code>\s*<new_code>\n?(.*?)\n?</new_code>", fixed, re.DOTALL
    )
    return Resolution(
        analysis=analysis.strip(),
        summary=summary.strip(),
        is_false_positive=(_tag(text, "is_false_positive") or "").strip() == "true",
        replacements=pairs,
    )


def parse_commands(text: str) -> list[str]:
    """Return the commands that `glab duo ask` offers to run: what stands in backticks."""
    found = (part.strip("`").strip() for part in re.findall(r"`+[^`]*`+", text))
    return [command for command in found if command]


def parse_json(text: str) -> Any:
    """Return the value of an answer that must be JSON and nothing else."""
    try:
        return json.loads(text)
    except ValueError:
        raise Unreadable(text) from None


def parse_suggestion(text: str) -> str:
    """Return the code in a stream of events, as an editor's language server reads it."""
    events = [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in (
            event.split("\r\n") for event in text.split("\r\n\r\n") if event and event[0] != ":"
        )
    ]
    names = [name for name, _ in events]
    if names[:1] != ["stream_start"] or names[-1:] != ["stream_end"]:
        raise Unreadable(text)
    return "".join(data["choices"][0]["delta"]["content"] for _, data in events[1:-1])


def parse_step(text: str) -> dict[str, Any] | str:
    """Return the tool that the chat agent wants called, or its final answer.

    Only whole lines count; what is no JSON and what has an unknown type is dropped.
    """
    events = []
    for line in text.split("\n")[:-1]:
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    kinds = {event["type"]: event["data"] for event in events}
    if not kinds:
        raise Unreadable("A1002: no event")
    if "error" in kinds:
        raise Unreadable(f"A1004: {kinds['error']['message']}")
    if "action" in kinds:
        return dict(kinds["action"])
    if "unknown" in kinds:
        return str(kinds["unknown"]["text"])
    deltas = (event["data"]["text"] for event in events if event["type"] == "final_answer_delta")
    return "".join(deltas)


def _tag(text: str, name: str) -> str | None:
    found = re.search(rf"<{name}>\n?(.*?)\n?</{name}>", text, re.DOTALL)
    return found[1] if found else None
