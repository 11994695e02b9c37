"""The page of configuration as code: what was applied last, what has drifted since, a download."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from features.config import applying, document, live
from features.config.state import AppliedConfig
from features.errors import BadConfigFile
from gateway.control.pages import page, render

SEE = tuple(
    f"{app}.view_{model}"
    for app, model in (
        ("models_registry", "selfhostedmodel"),
        ("features", "group"),
        ("features", "featurerule"),
    )
)


@require_safe
@page(*SEE)
def configuration(request: HttpRequest) -> HttpResponse:
    """Show the last applied file, and what is not as it says any more."""
    applied = AppliedConfig.last()
    found: dict[str, Any] = {}
    if applied is not None:
        try:
            found["drift"] = applying.drift(applied)
        except BadConfigFile as fault:
            found["faults"] = fault.faults
    return render(
        request, "configuration.html", title="Configuration file", applied=applied, **found
    )


@require_safe
@page(*SEE)
def export(request: HttpRequest) -> HttpResponse:
    """Return the live configuration as a file; it holds no key."""
    return HttpResponse(
        document.write(live.export()),
        content_type="application/yaml",
        headers={
            "Content-Disposition": 'attachment; filename="enclave.yml"',
            "Cache-Control": "no-store",
        },
    )
