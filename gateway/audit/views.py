"""The pages beside the list and the record: the frame with content, the reason, the export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson
from django import forms
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_safe
from unfold.widgets import (
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from gateway.audit import access, export, listing, readings
from gateway.audit.changelist import count_text
from gateway.audit.conversation import conversation
from gateway.audit.criteria import Criteria, UnreadableCriteria
from gateway.audit.escapes import visible
from gateway.audit.models import (
    ContentKind,
    ContentReading,
    InferenceContent,
    InferenceRecord,
    ReadingKind,
    State,
)

# The frame is a page of its own, for text that users and models wrote: nothing in it runs or loads.
FRAME_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'self'; sandbox"
LIST = "admin:audit_inferencerecord_changelist"


class Views:
    """The pages, for one admin site."""

    def __init__(self, site: AdminSite) -> None:
        """Know whose header and sidebar the pages carry."""
        self._site = site

    def urls(self) -> list[URLPattern]:
        """Return the routes; only two of them take a POST, and none changes a record."""
        wrap = self._site.admin_view
        asks = require_http_methods(["GET", "HEAD", "POST"])
        return [
            path("reason/", asks(wrap(self.reason)), name="audit_reason"),
            path("export/", asks(wrap(self.export)), name="audit_export"),
            path(
                "<uuid:record_id>/content/", require_safe(wrap(self.content)), name="audit_content"
            ),
        ]

    def content(self, request: HttpRequest, record_id: UUID) -> HttpResponse:
        """Return the frame with the prompt and the answer, as inert text; note who reads it."""
        _need(request, access.may_read_content(request.user))
        record = get_object_or_404(InferenceRecord.objects.only("state"), pk=record_id)
        reason = readings.reason_of(request.session)
        if not reason:
            response = TemplateResponse(request, "audit/no_reason.html", status=403)
        else:
            readings.note(
                request.user, kind=ReadingKind.CONTENT, reason=reason, record_id=record_id
            )
            shown = {"conversation": _conversation(record)}
            response = TemplateResponse(request, "audit/content.html", shown)
        response.headers["Content-Security-Policy"] = FRAME_POLICY
        return response

    def reason(self, request: HttpRequest) -> HttpResponse:
        """Ask why somebody reads content, and go on to where they were."""
        _need(request, access.may_read_content(request.user))
        onward = _onward(request)
        if "end" in request.POST:
            readings.remember(request.session, "")
            return HttpResponseRedirect(onward)
        form = readings.ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            readings.remember(request.session, form.cleaned_data["reason"])
            return HttpResponseRedirect(onward)
        return self._page(
            request, "audit/reason.html", title="Why do you read content?", form=form, onward=onward
        )

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """Ask what an export is to hold; then send it."""
        _need(request, access.may_export(request.user))
        try:
            criteria = Criteria.from_query(request.GET)
            found = listing.page(criteria)
        except UnreadableCriteria:
            return HttpResponseRedirect(f"{reverse(LIST)}?{request.GET.urlencode()}")
        may_read = access.may_read_content(request.user)
        if criteria.words and not (may_read and readings.reason_of(request.session)):
            return ask_reason(request)
        known = {"reason": readings.reason_of(request.session)}
        form = ExportForm(request.POST or None, initial=known, may_read=may_read)
        if request.method == "POST" and form.is_valid():
            return _send(request, criteria, **form.cleaned_data)
        return self._page(
            request,
            "audit/export.html",
            title="Export records",
            form=form,
            criteria=[(name, visible(value)) for name, value in criteria.in_words()],
            count_text=count_text(found),
            back=f"{reverse(LIST)}?{urlencode(criteria.as_query())}",
        )

    def _page(self, request: HttpRequest, template: str, **context: Any) -> TemplateResponse:
        request.current_app = self._site.name
        shared = self._site.each_context(request)
        return TemplateResponse(request, template, {**shared, **context})


class ExportForm(forms.Form):
    """What an export is to hold, and why."""

    format = forms.ChoiceField(
        choices=(
            (export.CSV, "CSV, for spreadsheets"),
            (export.JSONL, "JSON lines, for programs: exactly what is on record"),
            (
                export.BUNDLE,
                "Evidence bundle: JSON lines and a manifest with digests, as a zip file",
            ),
        ),
        initial=export.CSV,
        widget=UnfoldAdminRadioSelectWidget,
    )
    has_content = forms.BooleanField(
        label="With prompts and answers",
        required=False,
        help_text="Every record then names this export among its readers.",
        widget=UnfoldBooleanWidget,
    )
    reason = forms.CharField(
        max_length=readings.REASON_MAX,
        required=False,
        help_text="Such as a case number; needed for prompts and answers. Kept with the export.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, may_read: bool, **kwargs: Any) -> None:
        """Offer content to those who may read it."""
        super().__init__(*args, **kwargs)
        if not may_read:
            del self.fields["has_content"]

    def clean(self) -> dict[str, Any]:
        """Ask for a reason where content is asked for."""
        cleaned = super().clean() or {}
        cleaned.setdefault("has_content", False)
        if cleaned["has_content"] and len(cleaned.get("reason", "")) < 3:
            self.add_error("reason", "Prompts and answers need a reason.")
        return cleaned


def ask_reason(request: HttpRequest) -> HttpResponse:
    """Return the way to the page that asks for a reason, and back to here."""
    onward = urlencode({"next": request.get_full_path()})
    return HttpResponseRedirect(f"{reverse('admin:audit_reason')}?{onward}")


def _need(request: HttpRequest, is_allowed: bool) -> None:
    if not (request.user.has_perm("audit.view_inferencerecord") and is_allowed):
        raise PermissionDenied


def _onward(request: HttpRequest) -> str:
    """Return where a person was, if that is a page of this admin."""
    given = request.POST.get("next") or request.GET.get("next") or ""
    is_ours = given.startswith(reverse("admin:index")) and url_has_allowed_host_and_scheme(
        given, allowed_hosts=None
    )
    return given if is_ours else reverse(LIST)


def _conversation(record: InferenceRecord) -> Any:
    found = InferenceContent.objects.filter(record_id=record.pk)
    bodies = {row.kind: orjson.loads(row.body) for row in found}
    return conversation(
        bodies.get(ContentKind.REQUEST),
        bodies.get(ContentKind.ANSWER),
        state=State(record.state),
    )


def _send(
    request: HttpRequest, criteria: Criteria, *, format: str, has_content: bool, reason: str
) -> StreamingHttpResponse:
    reading = readings.note(
        request.user,
        kind=ReadingKind.EXPORT,
        reason=reason,
        criteria=criteria,
        has_content=has_content,
    )
    pieces = _counted(reading, export.About.of(reading, criteria), format)
    response = StreamingHttpResponse(pieces, content_type=export.MEDIA_TYPES[format])
    name = f"enclave-records-{timezone.now():%Y%m%dT%H%M%SZ}.{format}"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Content-Security-Policy"] = FRAME_POLICY
    return response


def _counted(reading: ContentReading, about: export.About, format_: str) -> Iterator[bytes]:
    """Yield the export; note how many records it took, also when its reader hangs up."""
    tally = export.Tally()
    try:
        yield from export.pieces(format_, about, tally=tally)
    finally:
        readings.finish(reading, tally.count)
