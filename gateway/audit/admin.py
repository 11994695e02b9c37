"""The auditors' window: read-only in all three permissions, and the list never touches content."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.views import ChangeList

from gateway.audit import (
    access,
    chores,
    details,
    indexing,
    ladders,
    models,
    readings,
    timeline,
)
from gateway.audit.changelist import WORDS, Records, is_grouped
from gateway.audit.escapes import visible
from gateway.audit.filters import FILTERS
from gateway.audit.listing import CALLS_MAX
from gateway.audit.models import ContentReading, InferenceRecord, Process, ReadingKind, State
from gateway.audit.views import Views, ask_reason
from models_registry.read_only_admin import ReadOnlyAdmin

# The columns where the list shows one line for each correlation id: that of its newest call.
GROUPED = (
    *("opened", "calls", "correlation", "outcome", "feature_asked", "model_used", "group"),
    "total",
)


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
    list_filter = FILTERS
    list_filter_submit = True
    list_filter_sheet = True
    list_before_template = "audit/list_tools.html"
    search_fields = ("id", "correlation_id")  # so that there is a field; criteria reads it
    search_help_text = "Record id or correlation id"
    sortable_by = ()  # the newest first, along an index
    show_facets = admin.ShowFacets.NEVER  # they would count the whole log

    class Media:
        css = {"all": ("audit/record.css",)}

    # The list

    def get_changelist(self, request: HttpRequest, **_: object) -> type[ChangeList]:
        return Records

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        return GROUPED if is_grouped(request.GET) else self.list_display

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow the filters' own names only, and no NUL: PostgreSQL cannot look for one."""
        return "\x00" not in value and "__" not in lookup

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show a page of the list; a search in content needs the right, a reason, and is noted."""
        words = request.GET.get(WORDS, "").strip()
        rights = access.given(request.user)
        may_read = access.READ_CONTENT in rights
        reason = readings.reason_of(request.session) if may_read else ""
        if words and not may_read:
            raise PermissionDenied
        if words and not reason:
            return ask_reason(request)
        context = {
            "may_read_content": may_read,
            "may_export": access.EXPORT in rights,
            "reason": visible(reason),
            "words": words,
            "index": chores.state_of(indexing.NAME) if words else None,
            **(extra_context or {}),
        }
        response: Any = super().changelist_view(request, context)
        found: Records | None = getattr(response, "context_data", {}).get("cl")
        if words and found is not None and found.criteria is not None:
            count = len(found.page.records) if found.page.count is None else found.page.count
            readings.note(
                request.user,
                kind=ReadingKind.SEARCH,
                reason=reason,
                criteria=found.criteria,
                count=count,
            )
        return response  # type: ignore[no-any-return]  # Unfold has no types

    @admin.display(description=f"Opened ({settings.TIME_ZONE})")
    def opened(self, record: InferenceRecord) -> SafeString:
        return format_html('<span class="audit-time">{}</span>', details.moment(record.opened_at))

    @admin.display(description="Calls")
    def calls(self, record: Any) -> SafeString:
        many = f"{CALLS_MAX}+" if record.calls > CALLS_MAX else str(record.calls)
        return format_html('<span class="audit-time">{}</span>', many)

    @admin.display(description="Correlation id")
    def correlation(self, record: InferenceRecord) -> SafeString | str:
        if not record.correlation_id:
            return details.NOTHING
        shown = _clipped(record.correlation_id)
        return format_html('<a href="{}">{}</a>', details.calls_url(record), shown)

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
        """Show the record in words instead of a form, and of its tabs the one that is asked for."""
        record: InferenceRecord = kwargs["obj"]
        tabs = [tab for tab in TABS if tab.is_for(request)]
        tab = next((tab for tab in tabs if tab.slug == request.GET.get("tab")), tabs[0])
        context |= {
            "outcome": details.outcome(record),
            "detail": details.detail(record),
            "label_kind": details.LABELS.get(State(record.state), ""),
            "summary": details.summary(record),
            "calls_url": details.calls_url(record),
            "tabs": tabs,
            "tab": tab,
            "tab_template": f"audit/tabs/{tab.slug}.html",
            **tab.context(request, record),
        }
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    def get_urls(self) -> list[URLPattern]:
        return [*Views(self.admin_site).urls(), *super().get_urls()]


class Tab:
    """A tab of a record's page. To add one: an entry in TABS and a template of its name."""

    def __init__(
        self,
        slug: str,
        title: str,
        context: Callable[[HttpRequest, InferenceRecord], dict[str, Any]],
        is_for: Callable[[HttpRequest], bool] = lambda _: True,
    ) -> None:
        """`context` is what the template needs, `is_for` who sees the tab."""
        self.slug, self.title, self.context, self.is_for = slug, title, context, is_for


def _timeline(_: HttpRequest, record: InferenceRecord) -> dict[str, Any]:
    return {
        "steps": details.course(timeline.steps(record)),
        "total": details.duration(record.total_ms),
        "stored": details.clock(record.closed_at),
        "sections": details.calls(record),
    }


def _conversation(request: HttpRequest, _: InferenceRecord) -> dict[str, Any]:
    may_read = access.may_read_content(request.user)
    return {
        "may_read_content": may_read,
        "reason": visible(readings.reason_of(request.session)) if may_read else "",
        "form": readings.ReasonForm(),
        "onward": request.get_full_path(),
    }


def _policy(_: HttpRequest, record: InferenceRecord) -> dict[str, Any]:
    return {
        "section": details.decision(record),
        "rungs": details.rungs(ladders.find(record.ladder_digest)),
    }


def _prompt(_: HttpRequest, record: InferenceRecord) -> dict[str, Any]:
    return {"prompt": details.prompt(record)}


def _readers(_: HttpRequest, record: InferenceRecord) -> dict[str, Any]:
    found = readings.of_record(record)
    return {
        "shown_max": readings.SHOWN_MAX,
        "readings": [
            (
                details.moment(reading.at),
                visible(reading.reader),
                reading.get_kind_display(),
                visible(reading.reason),
            )
            for reading in found
        ],
    }


TABS = (
    Tab("timeline", "Timeline", _timeline),
    Tab("conversation", "Conversation", _conversation),
    Tab("policy", "Policy", _policy),
    Tab("prompt", "Prompt version", _prompt),
    Tab("readers", "Readers", _readers, lambda request: access.may_see_readers(request.user)),
)


@admin.register(ContentReading)
class ContentReadingAdmin(ReadOnlyAdmin):
    """Who read content: one's own readings, or everybody's for those who may see them."""

    list_display = ("when", "who", "what", "about", "why", "taken")
    list_display_links = None  # the list says everything
    list_filter = (("kind", ChoicesDropdownFilter),)
    list_filter_submit = True
    list_per_page = 50
    search_fields = ("=reader", "=reason", "=record_id")
    search_help_text = "Reader, reason or record id"
    ordering = ("-at",)
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css = {"all": ("audit/record.css",)}

    def has_view_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return access.may_see_readers(request.user)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ContentReading]:
        return readings.visible_to(request.user)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return "\x00" not in value and ("__" not in lookup or lookup.endswith("__exact"))

    @admin.display(description=f"When ({settings.TIME_ZONE})", ordering="at")
    def when(self, reading: ContentReading) -> SafeString:
        return format_html('<span class="audit-time">{}</span>', details.moment(reading.at))

    @admin.display(description="Who")
    def who(self, reading: ContentReading) -> SafeString | str:
        return _clipped(reading.reader, width="medium")

    @admin.display(description="What")
    def what(self, reading: ContentReading) -> str:
        is_bare = reading.kind == ReadingKind.EXPORT and not reading.has_content
        return reading.get_kind_display() + (" without content" if is_bare else "")

    @admin.display(description="Record or filter")
    def about(self, reading: ContentReading) -> SafeString | str:
        if reading.record_id:
            url = reverse("admin:audit_inferencerecord_change", args=[reading.record_id])
            return format_html('<a href="{}" class="audit-link">{}</a>', url, reading.record_id)
        asked = readings.criteria_of(reading).in_words()
        text = ", ".join(f"{name}: {value}" for name, value in asked)
        return _clipped(text or "every record", width="wide")

    @admin.display(description="Reason")
    def why(self, reading: ContentReading) -> SafeString | str:
        return _clipped(reading.reason, width="medium")

    @admin.display(description="Records")
    def taken(self, reading: ContentReading) -> str:
        if reading.count is None:
            return details.NOTHING
        return f"{reading.count:,}"


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


@admin.register(models.Chore)
class ChoreAdmin(ReadOnlyAdmin):
    list_display = ("name", "condition", "everything_before", "looked_at", "holder")
    list_display_links = None  # the list says everything
    ordering = ("name",)

    @admin.display(description="Condition")
    def condition(self, chore: models.Chore) -> str:
        """Say what is wrong, or how it goes."""
        return chore.trouble or ("behind" if chore.is_behind else "up to date")

    @admin.display(description=f"Done with all opened before ({settings.TIME_ZONE})")
    def everything_before(self, chore: models.Chore) -> str:
        return details.moment(chore.reached)


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
