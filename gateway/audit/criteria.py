"""Criteria: which records somebody asks for, as the address of a page says it.

The same names stand in the address, in what is kept about a search or an export, and in the
options of `manage.py audit export`, so each of them can be made from the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, time
from typing import Any, TypeVar

from django import forms
from django.utils import timezone

T = TypeVar("T")

TEXT_MAX = 255
# `group` with this at its end means the group and all below it.
BELOW = "/"
SINCE, UNTIL = "opened_at_from", "opened_at_to"


class UnreadableCriteria(Exception):
    """A filter cannot be read; the message says which, to the person who typed it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Criteria:
    """What a record must fulfil: everything that is given. Texts must be equal.

    `since` and `until` are included. `q` is a record's id or a correlation id, `words` what its
    content must hold, `user` GitLab's id of a person, numeric or global. Durations are
    milliseconds; `tokens` counts prompt and answer.
    """

    since: datetime | None = None
    until: datetime | None = None
    q: str = ""
    words: str = ""
    state: str = ""
    cause: str = ""
    feature: str = ""
    endpoint: str = ""
    kind: str = ""
    user: str = ""
    key: str = ""
    group: str = ""
    model: str = ""
    ms_from: float | None = None
    ms_to: float | None = None
    tokens_from: float | None = None
    tokens_to: float | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Criteria:
        """Return what the query of an address asks for; names it does not know are not its.

        Raises:
            UnreadableCriteria: a time or a number is none.
        """
        values: dict[str, Any] = {
            name: _text(name, query.get(name, ""))
            for name in (field.name for field in fields(cls) if field.type == "str")
        }
        for name in ("ms_from", "ms_to", "tokens_from", "tokens_to"):
            values[name] = _number(query.get(name, ""))
        values["since"] = _moment(query, SINCE, time.min)
        values["until"] = _moment(query, UNTIL, time.max)
        return cls(**values)

    def as_query(self) -> dict[str, str]:
        """Return the query of an address that asks for the same."""
        query: dict[str, str] = {}
        for name, value in self._given():
            if isinstance(value, datetime):
                local = timezone.localtime(value)
                side = SINCE if name == "since" else UNTIL
                query[f"{side}_0"] = local.date().isoformat()
                query[f"{side}_1"] = local.time().isoformat()
            else:
                query[name] = f"{value:g}" if isinstance(value, float) else value
        return query

    def in_words(self) -> tuple[tuple[str, str], ...]:
        """Return what is asked for as a person reads it: name and value."""
        return tuple(
            (WORDS[name], _spoken(value)) for name, value in self._given() if name in WORDS
        )

    def _given(self) -> list[tuple[str, Any]]:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return [(name, value) for name, value in values if value not in (None, "")]


WORDS = {
    "since": "opened from",
    "until": "opened until",
    "q": "record or correlation id",
    "words": "words in the content",
    "state": "outcome",
    "cause": "cause",
    "feature": "feature",
    "endpoint": "route",
    "kind": "kind of caller",
    "user": "user",
    "key": "API key",
    "group": "group",
    "model": "model",
    "ms_from": "took at least (ms)",
    "ms_to": "took at most (ms)",
    "tokens_from": "tokens at least",
    "tokens_to": "tokens at most",
}


def _spoken(value: object) -> str:
    if isinstance(value, datetime):
        local = timezone.localtime(value).replace(tzinfo=None)
        return local.isoformat(sep=" ", timespec="seconds")
    return f"{value:g}" if isinstance(value, float) else str(value)


def _text(name: str, value: str) -> str:
    text = value.strip()
    if len(text) > TEXT_MAX:
        raise UnreadableCriteria(f"The {WORDS[name]} is longer than {TEXT_MAX} characters.")
    return text


def _number(value: str) -> float | None:
    if not value.strip():
        return None

    def read() -> float:
        return float(forms.FloatField(min_value=0).clean(value))

    return _read(read, "A number cannot be read")


def _moment(query: Mapping[str, str], side: str, default: time) -> datetime | None:
    """Return one end of the range; None where nothing was typed. A bare date is the whole day."""
    date, clock = query.get(f"{side}_0", ""), query.get(f"{side}_1", "")
    if not date and not clock:
        return None

    def read() -> datetime:
        day = forms.DateField().clean(date)
        at = forms.TimeField(required=False).clean(clock) or default
        return timezone.make_aware(datetime.combine(day, at)).astimezone(UTC)

    return _read(read, "The time cannot be read")


def _read(read: Callable[[], T], complaint: str) -> T:
    try:
        return read()
    except (forms.ValidationError, OverflowError, ValueError) as exc:
        reason = " ".join(exc.messages) if isinstance(exc, forms.ValidationError) else ""
        raise UnreadableCriteria(f"{complaint}: {reason}".rstrip(": ")) from exc
