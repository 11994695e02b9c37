"""The list's filters. None looks the choices up in the log, and none searches for a part of a text.

To add one, add a class here and its name to `InferenceRecordAdmin.list_filter`.
"""

from __future__ import annotations

from datetime import datetime, time
from typing import ClassVar

from django import forms
from django.contrib import messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import DropdownFilter, RangeDateTimeFilter, TextFilter

from features.catalog import FEATURES
from gateway.audit.causes import CAUSES
from gateway.audit.models import InferenceRecord

Records = QuerySet[InferenceRecord]


class OpenedFilter(RangeDateTimeFilter):  # type: ignore[misc]  # Unfold has no types
    """From and to, both included; a date without a time is the whole day.

    Unfold's own would show every record, without a word, where a date or a time is missing.
    """

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        try:
            since, until = self._moment("from", time.min), self._moment("to", time.max)
        except forms.ValidationError as error:
            messages.error(request, f"The time cannot be read: {' '.join(error.messages)}")
            return queryset.none()
        if since:
            queryset = queryset.filter(opened_at__gte=since)
        if until:
            queryset = queryset.filter(opened_at__lte=until)
        return queryset

    def _moment(self, side: str, default: time) -> datetime | None:
        """Return one end of the range; None where nothing was typed.

        Raises:
            ValidationError: what was typed is no date, or no time.
        """
        date = self.used_parameters.get(f"opened_at_{side}_0")
        clock = self.used_parameters.get(f"opened_at_{side}_1")
        if not date and not clock:
            return None
        day = forms.DateField().clean(date)
        at = forms.TimeField(required=False).clean(clock) or default
        return timezone.make_aware(datetime.combine(day, at))


class FeatureFilter(DropdownFilter):  # type: ignore[misc]  # Unfold has no types
    title = "feature"
    parameter_name = "feature"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [(feature.slug, feature.label) for feature in FEATURES.values()]

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        return queryset.filter(feature=self.value()) if self.value() else queryset


class CauseFilter(DropdownFilter):  # type: ignore[misc]  # Unfold has no types
    title = "cause"
    parameter_name = "cause"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [(code, code) for code in sorted(CAUSES)]

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        return queryset.filter(error_code=self.value()) if self.value() else queryset


class ExactFilter(TextFilter):  # type: ignore[misc]  # Unfold has no types
    """A text that one of the columns must equal."""

    columns: ClassVar[tuple[str, ...]]

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        text = (self.value() or "").strip()
        return queryset.filter(self.condition(text)) if text else queryset

    def condition(self, text: str) -> Q:
        """Return what a record must fulfill."""
        condition = Q()
        for column in self.columns:
            condition |= Q(**{column: text})
        return condition


class CallerFilter(ExactFilter):
    title = "caller (exact id or key name)"
    parameter_name = "caller"
    columns = ("user_id", "global_user_id", "api_key_name", "instance_id")


class ModelFilter(ExactFilter):
    title = "model (exact name)"
    parameter_name = "model"
    columns = ("model_name",)


class GroupFilter(ExactFilter):
    """A group, with those below it."""

    title = "group (and those below it)"
    parameter_name = "group"
    columns = ("group_path",)

    def condition(self, text: str) -> Q:
        return Q(group_path=text) | Q(group_path__startswith=f"{text.rstrip('/')}/")
