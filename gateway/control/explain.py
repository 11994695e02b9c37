"""The page that explains: who may use what, where, and why, today or on a past day."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from features import catalog, explaining
from features.errors import FeatureError
from features.explaining import Question
from features.models import Group
from gateway.control.pages import page, render
from models_registry.changes import ConfigChange

SEE = ("features.view_featurerule", "features.view_group", "features.view_membership")
PATHS_SUGGESTED = 300


@require_safe
@page(*SEE)
def explain(request: HttpRequest) -> HttpResponse:
    """Show the form, and the answer where something was asked. The address holds the question."""
    asked = {name: request.GET.get(name, "").strip() for name in ("feature", "user", "place", "at")}
    answer: dict[str, Any] = {}
    if asked["feature"]:
        try:
            answer["explanation"] = explaining.answer(
                Question(
                    feature=asked["feature"],
                    user=asked["user"],
                    place=asked["place"],
                    at=explaining.moment(asked["at"]),
                )
            )
        except FeatureError as error:
            answer["fault"] = str(error)
    return render(
        request,
        "explain.html",
        title="Explain",
        asked=asked,
        choices=catalog.choices(),
        paths=Group.objects.order_by("path").values_list("path", flat=True)[:PATHS_SUGGESTED],
        begins_at=ConfigChange.begins_at(),
        **answer,
    )
