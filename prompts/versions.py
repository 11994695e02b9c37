"""Which version of a prompt a caller asks for: an exact one, or the highest of a range.

    1.2.0, ==1.2.0, 1.1.0-dev     one version
    ^1.0.0, ~1.0, ~=1.0           up to the next one that may break: at the first number that is
                                  not zero, at the second, at the last but one
    >=1.0,<2   !=1.1.0   1.*   *  comparisons; what a comma or a blank joins must all hold
    ^1.0 || ^2.0                  one of them must hold

Enclave has one current text for each prompt and answers with it to every version that GitLab may
ask (`answers_to` in the definition), so what comes out of here is whether there is such a version.
The grammar is written out because the library for it is no run-time dependency and knows no caret.
Source: gateway-api.md 7.2; PEP 440.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from functools import lru_cache

from prompts.errors import NoSuchVersion

DEFAULT = "^1.0.0"

_CLAUSE = re.compile(
    r"(?P<operator>\^|~=|~|==|=|!=|>=|<=|>|<|)\s*"
    r"(?:v?(?P<release>\d{1,9}(?:\.\d{1,9}){0,5})"
    r"(?:(?P<open>\.\*)|[-_.]?(?P<stage>dev|alpha|beta|preview|pre|post|rev|rc|a|b|c|r)"
    r"[-_.]?(?P<number>\d{0,9}))?|(?P<any>\*))(?P<joint>\s*,\s*|\s+|$)",
    re.IGNORECASE,
)
# What comes before and after a release, in PEP 440's order; a release itself is 0.
_STAGES = {
    "dev": -4,
    **dict.fromkeys(("a", "alpha"), -3),
    **dict.fromkeys(("b", "beta"), -2),
    **dict.fromkeys(("c", "rc", "pre", "preview"), -1),
    **dict.fromkeys(("post", "rev", "r"), 1),
}

# A version in its order: six numbers, the stage, the stage's number.
_Key = tuple[tuple[int, ...], int, int]


@lru_cache(maxsize=512)
def resolve(asked: str | None, *, available: tuple[str, ...]) -> str:
    """Return the highest available version that fits what is asked for.

    None and "" ask for DEFAULT. A range never finds a pre-release; an exact version may be one.

    Raises:
        NoSuchVersion: none fits, or it is no version; the message lists those that are available.
    """
    text = asked or DEFAULT
    if text in available:
        return text
    choices = [_parse(choice) for choice in text.split("||")]
    if not all(choices):
        raise NoSuchVersion(
            f"Version '{text}' is not a valid PEP 440 constraint and no exact match found "
            f"(available: {sorted(available)})"
        )
    candidates = {name: key for name in available if (key := _key_of(name)) is not None}
    fitting = [
        name for name, key in candidates.items() if any(_holds(clauses, key) for clauses in choices)
    ]
    if not fitting:
        raise NoSuchVersion(f"No version matching '{text}' (available: {sorted(available)})")
    return max(fitting, key=candidates.__getitem__)


def _parse(text: str) -> list[re.Match[str]]:
    """Return the clauses of a constraint that must all hold; none for what is no constraint."""
    clauses: list[re.Match[str]] = []
    text, position = text.strip(), 0
    while clause := _CLAUSE.match(text, position):
        clauses.append(clause)
        if not clause["joint"]:
            return clauses
        position = clause.end()
    return []


def _holds(clauses: list[re.Match[str]], key: _Key) -> bool:
    is_exact = len(clauses) == 1 and _is_exact(clauses[0])
    is_stable = key[1] >= 0
    return (is_exact or is_stable) and all(_fits(clause, key) for clause in clauses)


def _is_exact(clause: re.Match[str]) -> bool:
    return clause["operator"] in ("", "=", "==") and bool(clause["release"]) and not clause["open"]


def _fits(clause: re.Match[str], key: _Key) -> bool:
    """Test a version against one clause."""
    sign = clause["operator"]
    if clause["any"]:
        return sign != "!="
    low = _key(clause)
    parts = [int(part) for part in clause["release"].split(".")]
    if clause["open"]:
        return (low <= key < _after(parts, len(parts) - 1)) != (sign == "!=")
    if sign in _BREAKING:
        return low <= key < _after(parts, _BREAKING[sign](parts))
    return _COMPARISONS[sign](key, low)


# The place of the number that must not change, in the numbers that are given.
_BREAKING: dict[str, Callable[[list[int]], int]] = {
    "^": lambda parts: next((i for i, part in enumerate(parts) if part), len(parts) - 1),
    "~": lambda parts: min(1, len(parts) - 1),
    "~=": lambda parts: max(0, len(parts) - 2),
}
_COMPARISONS: dict[str, Callable[[_Key, _Key], bool]] = {
    "": operator.eq,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def _after(parts: list[int], place: int) -> _Key:
    """Return the first version whose number at a place is higher."""
    return _padded([*parts[:place], parts[place] + 1]), 0, 0


def _key_of(name: str) -> _Key | None:
    clause = _CLAUSE.fullmatch(name)
    return _key(clause) if clause and _is_exact(clause) else None


def _key(clause: re.Match[str]) -> _Key:
    release = _padded([int(part) for part in clause["release"].split(".")])
    stage = _STAGES[clause["stage"].lower()] if clause["stage"] else 0
    return release, stage, int(clause["number"] or 0)


def _padded(parts: list[int]) -> tuple[int, ...]:
    return tuple((parts + [0] * 6)[:6])
