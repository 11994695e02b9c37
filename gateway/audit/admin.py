"""The auditors' window: read-only in all three permissions, and the list never touches content."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.views import ChangeList

from gateway.audit import access, details, filters
from gateway.audit.conversation import conversation
from gateway.audit.escapes import visible
from gateway.audit.models import ContentKind, InferenceContent, InferenceRecord, Process, State
from gateway.audit.paging import BoundedPaginator
from models_registry.read_only_admin import ReadOnlyAdmin

# The frame is a page of its own, for text that users and models wrote: nothing in it runs or loads.
FRAME_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'self'; sandbox"


class Records(ChangeList):  # type: ignore[misc]  # Unfold has no types
    """A list that does not announce how many records there are beside those it shows."""

    def get_results(self, request: HttpRequest) -> None:
        """Fetch the page; the only count is the paginator's."""
        super().get_results(request)
        self.full_result_count = self.result_count


@admin.register(InferenceRecord)
class InferenceRecordAdmin(ReadOnlyAdmin):
    list_display = (
        "opened",
        "outcome",
        "cause",
        "feature_asked",
        "model_used",
        "group",
        "caller",
        "total",
    )
    list_filter = (
        ("opened_at", filters.OpenedFilter),
        ("state", ChoicesDropdownFilter),
        filters.CauseFilter,
        filters.FeatureFilter,
        ("caller_kind", ChoicesDropdownFilter),
        filters.CallerFilter,
        filters.GroupFilter,
        filters.ModelFilter,
    )
    list_filter_submit = True
    list_per_page = 50
    list_max_show_all = 50
    search_fields = ("=correlation_id", "=id")
    search_help_text = "Record id or correlation id"
    ordering = ("-opened_at",)
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they would count the whole log

    class Media:
        css = {"all": ("audit/record.css",)}

    # The list

    def get_changelist(self, request: HttpRequest, **_: object) -> type[ChangeList]:
        return Records

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow equality only: a pattern typed into the URL could keep the database busy.

        PostgreSQL cannot look for a NUL at all.
        """
        return "\x00" not in value and ("__" not in lookup or lookup.endswith("__exact"))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[InferenceRecord], search_term: str
    ) -> tuple[QuerySet[InferenceRecord], bool]:
        """Look the term up as a correlation id, and as a record's id if it can be one."""
        term = search_term.strip()
        if not term:
            return queryset, False
        condition = Q(correlation_id=term) & ~Q(correlation_id="")  # as the index says it
        with suppress(ValueError):
            condition |= Q(pk=UUID(term))
        return queryset.filter(condition), False

    @admin.display(description=f"Opened ({settings.TIME_ZONE})", ordering="opened_at")
    def opened(self, record: InferenceRecord) -> SafeString:
        return format_html('<span class="audit-time">{}</span>', details.moment(record.opened_at))

    @display(description="Outcome", label=details.LABELS)  # type: ignore[untyped-decorator]
    def outcome(self, record: InferenceRecord) -> tuple[str, str]:
        return record.state, record.state

    @admin.display(description="Cause")
    def cause(self, record: InferenceRecord) -> SafeString | str:
        return _clipped(record.error_code, width="medium", title=_spoken(record))

    @admin.display(description="Feature")
    def feature_asked(self, record: InferenceRecord) -> SafeString | str:
        return _clipped(details.feature(record), width="medium")

    @admin.display(description="Model")
    def model_used(self, record: InferenceRecord) -> SafeString | str:
        return _clipped(record.model_name)

    @admin.display(description="Group")
    def group(self, record: InferenceRecord) -> SafeString | str:
        return _clipped(record.group_path, width="short")

    @admin.display(description="Caller")
    def caller(self, record: InferenceRecord) -> SafeString | str:
        return _clipped(details.caller(record), width="short")

    @admin.display(description="Total")
    def total(self, record: InferenceRecord) -> SafeString:
        return format_html('<span class="audit-time">{}</span>', details.duration(record.total_ms))

    # One record

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show the record in words instead of a form."""
        record: InferenceRecord = kwargs["obj"]
        context |= {
            "outcome": details.outcome(record),
            "detail": details.detail(record),
            "label_kind": details.LABELS.get(State(record.state), ""),
            "summary": details.summary(record),
            "time_split": details.time_split(record),
            "total": details.duration(record.total_ms),
            "sections": details.sections(record),
            "may_read_content": access.may_read_content(request.user),
        }
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    def get_urls(self) -> list[URLPattern]:
        frame = path(
            "<uuid:record_id>/content/",
            require_safe(self.admin_site.admin_view(self.content_view)),
            name="audit_content",
        )
        return [frame, *super().get_urls()]

    def content_view(self, request: HttpRequest, record_id: UUID) -> HttpResponse:
        """Return the frame with the prompt and the answer, as inert text."""
        if not self.has_view_permission(request) or not access.may_read_content(request.user):
            raise PermissionDenied
        record = get_object_or_404(InferenceRecord.objects.only("state"), pk=record_id)
        found = InferenceContent.objects.filter(record_id=record_id)
        bodies = {row.kind: orjson.loads(row.body) for row in found}
        shown = conversation(
            bodies.get(ContentKind.REQUEST),
            bodies.get(ContentKind.ANSWER),
            state=State(record.state),
        )
        response = TemplateResponse(request, "audit/content.html", {"conversation": shown})
        response.headers["Content-Security-Policy"] = FRAME_POLICY
        return response


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    list_display = ("kind", "life", "host", "pid", "started_at", "seen_at")
    list_display_links = None  # the list says everything
    ordering = ("-seen_at",)

    @display(  # type: ignore[untyped-decorator]
        description="State", label={"alive": "success", "gone": "default"}
    )
    def life(self, process: Process) -> str:
        """Tell whether its lease still holds."""
        lease = timedelta(seconds=settings.GATEWAY_LEASE_S)
        return "alive" if process.seen_at >= timezone.now() - lease else "gone"


def _spoken(record: InferenceRecord) -> str:
    return f"{details.outcome(record)} {details.detail(record)}".strip()


def _clipped(text: str, *, width: str = "long", title: str = "") -> SafeString | str:
    """Return a text on one line, whole in its tooltip; nothing for nothing."""
    if not text:
        return details.NOTHING
    shown = visible(text)
    return format_html(
        '<span class="audit-clip audit-{}" title="{}">{}</span>', width, title or shown, shown
    )
