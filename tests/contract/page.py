"""The tables of docs/compatibility.md, written from `differences.json` and the recordings.

`python -m tests.contract.page` renews them; a test compares the page with what this would write.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.contract.replay import HERE, as_recorded, differences, expected, fixtures, recordings

PAGE = HERE.parents[1] / "docs" / "compatibility.md"
BEGIN, END = "<!-- begin: written by tests/contract/page.py -->", "<!-- end -->"


def tables() -> str:
    """Return one section for each reason: why, and what each case is answered."""
    listed = differences()
    sections = []
    for slug, reason in listed["reasons"].items():
        rows = [*_recorded_rows(slug, listed), *_fixture_rows(slug, listed)]
        heading = "| case | the reference | Enclave |\n|---|---|---|"
        sections.append(
            "\n".join([f"### {reason['title']}", "", reason["text"], "", heading, *rows])
        )
    return "\n\n".join(sections)


def _recorded_rows(slug: str, listed: dict[str, Any]) -> list[str]:
    known = recordings()
    return [
        _row(
            name,
            _said(as_recorded(known[name]), {}),
            _said(expected(name, known[name]), entry["ours"]),
        )
        for name, entry in listed["recordings"].items()
        if entry["because"] == slug
    ]


def _fixture_rows(slug: str, listed: dict[str, Any]) -> list[str]:
    known = fixtures()
    return [
        _row(name, f"{known[name]['expect']['status']} is expected", _said(entry["ours"], {}))
        for name, entry in listed["fixtures"].items()
        if entry["because"] == slug
    ]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _said(answer: dict[str, Any], ours: dict[str, Any]) -> str:
    """Return an answer in a few words: status, body, end, and calls of the model."""
    words = [str(answer["status"])]
    if "code" in answer:
        words[0] += f" `{answer['code']}`"
    elif answer["status"] != 200:
        words[0] += f" `{answer.get('text') or json.dumps(answer.get('json'))}`"
    if answer.get("end", "clean") != "clean":
        words.append("cut off")
    if event := re.search(r'\{"type": "error".*\}', answer.get("text", "")):
        words.append(f"`{json.loads(event[0])['data']['message']}`")
    if answer.get("calls", 1) > 1:
        words.append(f"{answer['calls']} calls of the model")
    return ", ".join([*words, *_sent(answer.get("first", {}), ours)])


def _sent(first: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Return what is worth telling of the call of the model."""
    words = []
    if "user" in ours or "None" in first.get("user", ""):
        words.append(f"sends `{json.dumps(first['user'])}`")
    if "roles" in ours:
        words.append(f"sends messages of {' and '.join(first['roles'])} only")
    for name, value in ours.get("body", {}).items():
        words.append(f"without `{name}`" if value is None else f"`{name}` `{json.dumps(value)}`")
    return words


def renewed(page: str) -> str:
    """Return the page with its tables written anew."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
