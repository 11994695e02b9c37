"""The page of the sync with GitLab: how it stands, since when, and what may be done about it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldBooleanSwitchWidget,
)

from features.errors import SyncError
from features.models import Group, Membership, Source
from features.sync import file, swap
from features.sync.state import ACTIVE, GitLabAccess, RunState, SyncRun
from gateway import syncing
from gateway.control.pages import fragment, page, render

SEE = ("features.view_group", "features.view_membership")
CHANGE = ("features.change_group", "features.change_membership")
RUNS_SHOWN = 10


class AccessForm(forms.ModelForm):  # type: ignore[type-arg]  # generic only in the stubs
    """The interval, and the token as a field that is always empty."""

    new_token = forms.CharField(
        label="Token",
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
    )
    remove_token = forms.BooleanField(
        label="Remove the stored token", required=False, widget=UnfoldBooleanSwitchWidget
    )

    class Meta:
        model = GitLabAccess
        fields = ("every_minutes",)
        widgets = {"every_minutes": UnfoldAdminIntegerFieldWidget}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_token"].help_text = (
            "A token is stored. Leave this blank to keep it."
            if self.instance.token
            else "A personal, group or service account token with the scope read_api. An"
            " administrator's sees every group."
        )

    def clean(self) -> dict[str, Any] | None:
        """Refuse a token that no header can carry."""
        cleaned = super().clean() or self.cleaned_data
        token = cleaned.get("new_token", "")
        if not (token.isascii() and token.isprintable()):
            self.add_error("new_token", "A token is made of ASCII letters, digits and signs.")
        return cleaned

    def store(self) -> None:
        """Store what was typed in."""
        cleaned = self.cleaned_data
        token = "" if cleaned["remove_token"] else cleaned["new_token"] or None
        GitLabAccess.get().decide(every_minutes=cleaned["every_minutes"], token=token)


@require_safe
@page(*SEE)
def sync(request: HttpRequest) -> HttpResponse:
    """Show how the sync stands."""
    return _page(request, AccessForm(instance=GitLabAccess.get()))


def _page(request: HttpRequest, form: AccessForm, **context: Any) -> HttpResponse:
    return render(
        request,
        "sync.html",
        title="Groups from GitLab",
        form=form,
        may_change=request.user.has_perms(CHANGE),
        **_standing(),
        **context,
    )


def _standing() -> dict[str, Any]:
    ended = list(SyncRun.objects.filter(slot=None).order_by("-pk")[:RUNS_SHOWN])
    brought = Group.objects.filter(source=Source.GITLAB)
    return {
        "gitlab_url": settings.GATEWAY_GITLAB_URL,
        "active": SyncRun.objects.filter(slot=ACTIVE).first(),
        "last_good": SyncRun.last_good(),
        "failing_since": SyncRun.failing_since(),
        "last": ended[0] if ended else None,
        "runs": [(run, _outcome(run)) for run in ended],
        "groups": brought.filter(gone_at=None).count(),
        "gone": list(Group.objects.exclude(gone_at=None).order_by("path")[:50]),
        "members": Membership.objects.filter(source=Source.GITLAB).count(),
    }


def _outcome(run: SyncRun) -> str:
    said = run.error_detail or (
        swap.in_words(run.result) if run.state == RunState.SUCCEEDED else "nothing was changed"
    )
    return f"{run.get_state_display()}: {said}"


@require_safe
@page(*SEE)
def progress(request: HttpRequest) -> HttpResponse:
    """Return the part of the page that moves; it is asked for every second while a run is on."""
    response = fragment(
        request, "sync_progress.html", may_change=request.user.has_perms(CHANGE), **_standing()
    )
    if not SyncRun.objects.filter(slot=ACTIVE).exists():
        response.headers["HX-Refresh"] = "true"  # the end changes the rest of the page too
    return response


@require_POST
@page(*CHANGE)
def start(request: HttpRequest) -> HttpResponse:
    """Ask for a sync."""
    syncing.start(by=request.user.get_username(), accepts_loss="accepts_loss" in request.POST)
    return redirect("control:sync")


@require_POST
@page(*CHANGE)
def stop(request: HttpRequest) -> HttpResponse:
    """Stop the sync that is under way; nothing of it is taken over."""
    if SyncRun.stop():
        messages.success(request, "Stopped. What was read so far serves the next sync.")
    return redirect("control:sync")


@require_POST
@page(*CHANGE)
def access(request: HttpRequest) -> HttpResponse:
    """Store token and interval."""
    form = AccessForm(request.POST, instance=GitLabAccess.get())
    if not form.is_valid():
        return _page(request, form, status=422)
    form.store()
    messages.success(request, "Stored.")
    return redirect("control:sync")


@require_POST
@page(*CHANGE)
def from_file(request: HttpRequest) -> HttpResponse:
    """Take over groups and members from a file."""
    uploaded = request.FILES.get("file")
    try:
        if uploaded is None:
            raise SyncError("Choose a file first.")
        text = uploaded.read().decode()
        result = swap.take_over(
            file.read(text), source=Source.FILE, accepts_loss="accepts_loss" in request.POST
        )
    except (SyncError, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, SyncError) else "The file is no text."
        form = AccessForm(instance=GitLabAccess.get())
        return _page(request, form, status=422, faults=reason.splitlines())
    messages.success(request, f"Taken over: {swap.in_words(result.as_dict())}.")
    return redirect("control:sync")
