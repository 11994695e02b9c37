"""The auditors' window: read-only in all three permissions, and the list never touches content."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter

from gateway.audit import access
from gateway.audit.models import ContentKind, InferenceContent, InferenceRecord, Process
from gateway.audit.paging import BoundedPaginator

# The frame is a page of its own, for text that users and models wrote: nothing in it runs or loads.
FRAME_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'self'; sandbox"


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # Unfold has no types
    """Nobody adds, changes or deletes, whatever their rights."""

    def has_add_permission(self, request: HttpRequest, *_: object) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(InferenceRecord)
class InferenceRecordAdmin(ReadOnlyAdmin):
    list_display = (
        "opened_at",
        "outcome",
        "feature",
        "model_name",
        "group_path",
        "caller",
        "duration",
        "tokens",
        "error_code",
    )
    list_display_links = ("opened_at",)
    list_filter = (
        ("opened_at", RangeDateTimeFilter),
        ("state", ChoicesDropdownFilter),
        "is_streamed",
    )
    list_filter_submit = True
    list_per_page = 50
    search_fields = ("=correlation_id", "=id")
    search_help_text = "A record's id or the caller's correlation id, exactly."
    ordering = ("-id",)
    paginator = BoundedPaginator
    show_full_result_count = False
    fieldsets = (
        (None, {"fields": ("conversation",)}),
        (
            "Outcome",
            {"fields": ("outcome", "error_code", "error_detail", "backend_status", "model_calls")},
        ),
        (
            "Who",
            {
                "fields": (
                    "caller_kind",
                    "instance_id",
                    "user_id",
                    "global_user_id",
                    "api_key_name",
                    "group_path",
                    "policy",
                )
            },
        ),
        (
            "What",
            {
                "fields": (
                    "feature",
                    "endpoint",
                    "is_streamed",
                    "model_name",
                    "revision_id",
                    "prompt_version",
                    "prompt_digest",
                    "config_version",
                )
            },
        ),
        (
            "When",
            {
                "fields": (
                    "opened_at",
                    "claimed_at",
                    "closed_at",
                    "queue_ms",
                    "first_token_ms",
                    "total_ms",
                    "prompt_tokens",
                    "completion_tokens",
                    "are_tokens_estimated",
                )
            },
        ),
        ("Where", {"fields": ("id", "correlation_id", "web_process", "worker_process")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: object = None) -> tuple[str, ...]:
        return tuple(name for _, options in self.fieldsets for name in options["fields"])

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[InferenceRecord], search_term: str
    ) -> tuple[QuerySet[InferenceRecord], bool]:
        """Look the term up as an id if it is one, as a correlation id otherwise."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=UUID(term)), False
        except ValueError:
            return queryset.filter(correlation_id=term), False

    @admin.display(description="Outcome", ordering="state")
    def outcome(self, record: InferenceRecord) -> str:
        return record.get_state_display()

    @admin.display(description="Caller")
    def caller(self, record: InferenceRecord) -> str:
        return record.api_key_name or record.user_id or record.global_user_id or record.instance_id

    @admin.display(description="Duration", ordering="total_ms")
    def duration(self, record: InferenceRecord) -> str:
        return "" if record.total_ms is None else f"{record.total_ms:,.0f} ms"

    @admin.display(description="Tokens in / out")
    def tokens(self, record: InferenceRecord) -> str:
        if record.prompt_tokens is None:
            return ""
        about = "~" if record.are_tokens_estimated else ""
        return f"{about}{record.prompt_tokens} / {record.completion_tokens}"

    @admin.display(description="Conversation")
    def conversation(self, record: InferenceRecord) -> SafeString | str:
        return format_html(
            '<iframe class="w-full rounded-default border border-base-200 dark:border-base-800" '
            'style="height: 28rem" sandbox="" title="Prompt and answer of this record" '
            'src="{}"></iframe>',
            reverse("admin:audit_content", args=[record.pk]),
        )

    def get_fieldsets(self, request: HttpRequest, obj: object = None) -> Any:
        """Leave the content out for those who may not read it."""
        fieldsets = super().get_fieldsets(request, obj)
        return fieldsets if access.may_read_content(request.user) else fieldsets[1:]

    def get_urls(self) -> list[URLPattern]:
        frame = path(
            "<uuid:record_id>/content/",
            self.admin_site.admin_view(self.content_view),
            name="audit_content",
        )
        return [frame, *super().get_urls()]

    def content_view(self, request: HttpRequest, record_id: UUID) -> HttpResponse:
        """Return the frame with the prompt and the answer, as inert text."""
        if not access.may_read_content(request.user):
            raise PermissionDenied
        found = InferenceContent.objects.filter(record_id=record_id)
        bodies = {row.kind: orjson.loads(row.body) for row in found}
        if not bodies and not InferenceRecord.objects.filter(pk=record_id).exists():
            raise Http404
        response = TemplateResponse(
            request,
            "audit/content.html",
            {
                "request_body": bodies.get(ContentKind.REQUEST),
                "answer": bodies.get(ContentKind.ANSWER),
            },
        )
        response.headers["Content-Security-Policy"] = FRAME_POLICY
        response.headers["Cache-Control"] = "no-store"
        return response


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    list_display = ("kind", "host", "pid", "started_at", "seen_at")
    ordering = ("-seen_at",)
