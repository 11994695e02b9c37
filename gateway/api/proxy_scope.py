"""What a call through a proxy is for: its header names a unit primitive, which the token allows.

Source: gateway-api.md 2.5 and 3.12; the order of the checks is the recordings'.
"""

from __future__ import annotations

from collections.abc import Collection

from rest_framework.request import Request

from features.catalog import UNIT_PRIMITIVES
from gateway.api.endpoint import get_caller
from gateway.api.errors import BadRequest, Forbidden

SHOWN_MAX = 100


def require_purpose(request: Request, allowed: Collection[str]) -> str:
    """Return the one of these unit primitives that the call is made for, by somebody who may.

    Raises:
        BadRequest: it names none, one that nobody knows, or one that this proxy is not for.
        Forbidden: the token does not allow it.
    """
    name: str = request.META.get("HTTP_X_GITLAB_UNIT_PRIMITIVE", "")
    if not name:
        raise BadRequest("Missing x-gitlab-unit-primitive header")
    if name not in UNIT_PRIMITIVES:
        raise BadRequest(f"Unknown unit primitive header {name[:SHOWN_MAX]}")
    if not get_caller(request).can((name,)):
        raise Forbidden(f"Unauthorized to access {name}")
    if name not in allowed:
        raise BadRequest(f"This endpoint cannot be used for {name} purpose")
    return name
