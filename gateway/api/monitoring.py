"""GET /monitoring/healthz and /monitoring/ready: alive, and able to serve.

Source: gateway-api.md 3.14, where readiness is better than the reference's.
"""

from __future__ import annotations

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from gateway import maintenance
from gateway.api.endpoint import Endpoint
from gateway.api.responses import json_response


class Healthz(Endpoint):
    """The process runs; nothing else is asked."""

    is_public = True

    def get(self, request: Request) -> HttpResponseBase:
        """Answer 200."""
        return json_response({})


class Ready(Endpoint):
    """The audit log can be written and the queue can be reached, or 503 with what is missing."""

    is_public = True

    def get(self, request: Request) -> HttpResponseBase:
        """Answer from the last look, which is at most a few seconds old."""
        missing = maintenance.missing()
        if missing:
            return json_response({"detail": f"Not ready: {', '.join(missing)}."}, status=503)
        return json_response({})
