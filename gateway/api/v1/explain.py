"""GET /v1/explain: why somebody may use a feature, or may not, now or on a past day.

Enclave's own; GitLab's gateway has no such route. `?feature=duo_chat&user=42&project=payments/core`
and `&at=2026-03-31`. Only an API key that an administrator marked so may ask: the answer names
groups and rules.
"""

from __future__ import annotations

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from features import explaining
from gateway.api.endpoint import Endpoint, get_caller
from gateway.api.errors import Forbidden
from gateway.api.responses import json_response

PARAMETERS = ("feature", "user", "project", "group", "at")
TEXT_MAX = 500


class Explain(Endpoint):
    """One question, one answer; it asks no model and leaves no record."""

    def get(self, request: Request) -> HttpResponseBase:
        """Answer with the decision and its ladders."""
        if not get_caller(request).may_explain:
            raise Forbidden("This API key may not ask why. An administrator can allow it.")
        asked = {name: request.GET.get(name, "")[:TEXT_MAX] for name in PARAMETERS}
        explanation = explaining.answer(
            explaining.Question(
                feature=asked["feature"],
                user=asked["user"],
                place=asked["project"] or asked["group"],
                at=explaining.moment(asked["at"]),
            )
        )
        return json_response(explanation.as_dict())
