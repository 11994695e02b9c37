"""From what a person or a model asks to what the index looks for.

A question is data: only its words are taken, each goes into the expression in quotes, so that
nothing in it can be read as the syntax of full-text expressions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise

# A pasted log is no question; what is asked stands at its beginning.
READ_MAX = 4_000
TERMS_MAX = 32
PREFIX_MIN = 4

WORD = re.compile(r"[^\W_]+")
# What is written without a blank belongs together: .gitlab-ci.yml, CI_JOB_TOKEN, rules:if.
TOGETHER = re.compile(r"\w+(?:[-./:]+\w+)*")

# Words of questions that say nothing about what is asked.
_STOP_WORDS = """
    a about all also am an and any anyone are as at be because been being but by can cannot could
    did do does doing don for from get give had has have having help hello hi how i if in into is
    it its just know let like make may me might mine my need not of off on one or our ours out over
    please should show so some somebody someone something such tell than thanks that the their
    them then there these they thing things this those to too up us use used using want was way we
    were what when where whether which while who whom whose why will with within without would you
    your yours
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

# What people write, and what the documentation says.
MEANS = {
    "2fa": "two factor authentication",
    "admin": "administrator",
    "auth": "authentication",
    "config": "configuration",
    "env": "environment",
    "k8s": "kubernetes",
    "mr": "merge request",
    "mrs": "merge request",
    "pat": "personal access token",
    "repo": "repository",
    "repos": "repository",
    "sso": "single sign on",
    "vars": "variables",
}


def expressions(question: str) -> list[str]:
    """Return what to look for, best first: the words, and if nothing has them, their beginnings.

    Any of the words will do; how many there are, and whether they stand together as they were
    asked, decides the order of what is found.
    """
    together = [WORD.findall(run) for run in TOGETHER.findall(question[:READ_MAX].lower())]
    words = [word for run in together for word in run]
    wanted = [word for word in words if word not in STOP_WORDS] or words
    meant = [MEANS[word] for word in wanted if word in MEANS]
    terms = _first([*wanted, *(word for phrase in meant for word in phrase.split())])
    if not terms:
        return []
    phrases = _first([*meant, *_runs(together), *_pairs(words)])
    found = [" OR ".join(f'"{text}"' for text in (*terms, *phrases))]
    beginnings = [f'"{term}"*' for term in terms if len(term) >= PREFIX_MIN]
    return [*found, " OR ".join(beginnings)] if beginnings else found


def _first(texts: Iterable[str]) -> list[str]:
    """Return the first texts, each once."""
    return list(islice(dict.fromkeys(texts), TERMS_MAX))


def _runs(together: list[list[str]]) -> Iterator[str]:
    """Yield what was written without blanks."""
    return (" ".join(run) for run in together if len(run) > 1)


def _pairs(words: list[str]) -> Iterator[str]:
    """Yield neighbors that both mean something: "deploy token", "protected branch"."""
    for first, second in pairwise(words):
        if not {first, second} & STOP_WORDS:
            yield f"{first} {second}"
