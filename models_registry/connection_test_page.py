"""The connection test in the admin: a panel below the model's form, filled while the test runs.

The form is posted as it stands, saved or not, and the answer is HTML, one piece for each step as it
is taken. `static/models_registry/connection_test.js` puts the pieces into the panel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template.loader import render_to_string
from django.utils import timezone

from models_registry import model_checks
from models_registry.connection_test import STEPS, Step
from models_registry.model_checks import Check, TooManyChecks
from models_registry.models import SelfHostedModel

Form = ModelForm[SelfHostedModel]

TEMPLATES = "admin/models_registry/selfhostedmodel"
# A form that is wrong only here can be tested; what is wrong with an endpoint is the first step's.
NOT_NEEDED = frozenset({"name", "state", "endpoint"})
ENDPOINT_MAX = 2048
# Ends each piece; no text on a page holds it.
END_OF_PIECE = "\x1e"


def context(model: SelfHostedModel | None, *, form: Form) -> dict[str, Any]:
    """Return what the panel shows before a test is started: the last one, if it still counts."""
    check = model_checks.last(model.current.digest) if model and model.current else None
    steps = [Step.from_dict(kept) for kept in check.steps] if check else []
    return {
        "check": check,
        "shown_steps": [_shown(step, form) for step in steps],
        "kinds": STEPS,
    }


def answer(request: HttpRequest, form: Form) -> HttpResponseBase:
    """Test what the form says and return the steps as they are taken, or why there is no test."""
    form.is_valid()
    wrong = [name for name in form.errors if name not in NOT_NEEDED]
    if wrong:
        lines = [
            f"{form.fields[name].label}: {' '.join(map(str, form.errors[name]))}" for name in wrong
        ]
        return _refusal(lines, status=422)
    form.instance.endpoint = request.POST.get("endpoint", "").strip()[:ENDPOINT_MAX]
    by, now = request.user.get_username(), timezone.now()
    try:
        model_checks.limit_rate(form.instance, by=by, now=now)
    except TooManyChecks:
        limit = f"That were {model_checks.PER_MINUTE} tests within a minute. Wait a little."
        return _refusal([limit], status=429)
    return StreamingHttpResponse(
        _pieces(Check(form.instance, by=by, now=now), form, user_id=request.user.pk or 0),
        # Not held back by a proxy either: nginx reads the second.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _refusal(lines: list[str], *, status: int) -> HttpResponse:
    page = render_to_string(f"{TEMPLATES}/refusal.html", {"lines": lines})
    return HttpResponse(page, status=status)


def _pieces(check: Check, form: Form, *, user_id: int) -> Iterator[str]:
    try:
        for step in check.steps():
            yield render_to_string(f"{TEMPLATES}/step.html", _shown(step, form)) + END_OF_PIECE
    finally:
        _log(check, user_id=user_id)


def _log(check: Check, *, user_id: int) -> None:
    """Write into the admin's history who tested what, and how it ended."""
    model, row = check.model, check.row
    outcome = f"failed at {row.failed_step}" if row.failed_step else row.state
    LogEntry.objects.create(
        user_id=user_id,
        content_type=ContentType.objects.get_for_model(SelfHostedModel),
        object_id=str(model.pk) if model.pk else None,
        object_repr=(model.name or "a new model")[:200],
        action_flag=CHANGE,
        change_message=f"Tested the connection to {row.address or model.provider}: {outcome}.",
    )


def _shown(step: Step, form: Form) -> dict[str, Any]:
    """Return a step, and the field of the form that it says to change, if it is one."""
    field = form.fields.get(step.change)
    return {
        "step": step,
        "field_id": form[step.change].id_for_label if field else "",
        "field_label": field.label if field else "",
    }
