"""Who read content, and why: asked before, committed before anything is shown.

A person gives a reason, such as a case number, once; it holds for a while, and everything read
meanwhile is noted under it, each record by itself.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any
from uuid import UUID

import orjson
from django import forms
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextInputWidget

from gateway.audit import access, conditions
from gateway.audit.criteria import Criteria, UnreadableCriteria
from gateway.audit.models import ContentReading, InferenceRecord, ReadingKind

HOLDS_S = 30 * 60
REASON_MAX = 255
SHOWN_MAX = 200
_KEY = "audit.reason"

Person = User | AnonymousUser


class ReasonForm(forms.Form):
    """Why somebody reads content."""

    reason = forms.CharField(
        label="Reason",
        min_length=3,
        max_length=REASON_MAX,
        help_text="Such as a case number. Whatever you read in the next half hour is kept with it.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )


def reason_of(session: MutableMapping[str, Any]) -> str:
    """Return the reason that a person gave and that still holds; "" for none."""
    given = session.get(_KEY) or {}
    return str(given["reason"]) if given.get("until", 0) > time.time() else ""


def remember(session: MutableMapping[str, Any], reason: str) -> None:
    """Let a reason hold for a while; "" takes it back."""
    session[_KEY] = {"reason": reason, "until": time.time() + HOLDS_S if reason else 0}


def note(
    person: Person | str,
    *,
    kind: ReadingKind,
    reason: str,
    record_id: UUID | None = None,
    criteria: Criteria | None = None,
    has_content: bool = True,
    count: int | None = None,
) -> ContentReading:
    """Write down what somebody is about to read; it is committed when this returns.

    `person` is a name where nobody is logged in: on the console.
    """
    if isinstance(person, str):
        reader_id, reader = None, person
    else:
        reader_id, reader = person.pk, person.get_username()
    return ContentReading.objects.create(
        at=timezone.now(),
        reader_id=reader_id,
        reader=reader,
        kind=kind,
        reason=reason[:REASON_MAX],
        record_id=record_id,
        criteria="" if criteria is None else orjson.dumps(criteria.as_query()).decode(),
        has_content=has_content,
        count=count,
    )


def finish(reading: ContentReading, count: int) -> None:
    """Write down how many records an export took; once."""
    ContentReading.objects.filter(pk=reading.pk, count=None).update(count=count)


def of_record(record: InferenceRecord) -> list[ContentReading]:
    """Return who read a record's content, the newest first: by opening it, or in an export.

    An export by words counts as having taken what its other criteria fit. The newest SHOWN_MAX of
    each kind are looked at.
    """
    opened = ContentReading.objects.filter(record_id=record.pk).order_by("-at")[:SHOWN_MAX]
    exports = list(
        ContentReading.objects.filter(
            kind=ReadingKind.EXPORT, has_content=True, at__gte=record.opened_at
        ).order_by("-at")[:SHOWN_MAX]
    )
    took = conditions.which_hold([criteria_of(export) for export in exports], record.pk)
    found = [*opened, *(export for export, is_in in zip(exports, took, strict=True) if is_in)]
    return sorted(found, key=lambda reading: reading.at, reverse=True)


def visible_to(person: Person) -> QuerySet[ContentReading]:
    """Return the readings that a person may see: their own, or everybody's."""
    if access.may_see_all_readings(person):
        return ContentReading.objects.all()
    return ContentReading.objects.filter(reader_id=person.pk)


def criteria_of(reading: ContentReading) -> Criteria:
    """Return what a search or an export asked for."""
    try:
        return Criteria.from_query(orjson.loads(reading.criteria or "{}"))
    except UnreadableCriteria:
        return Criteria()
