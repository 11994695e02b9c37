"""ProxyEndpoint: the frame of GitLab's routes to the vendors' APIs, served by self-hosted models.

A header names the unit primitive that the call is for; it decides whose rules hold.
Source: gateway-api.md 3.12; gitlab-client.md 1.3 (external agents, description composer).
"""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request

from features.catalog import PROXY_FEATURES, UNIT_PRIMITIVES
from gateway.api.endpoint import get_caller
from gateway.api.errors import BadHeader, Forbidden, NotFound
from gateway.api.vendor_endpoint import VendorEndpoint

HEADER = "x-gitlab-unit-primitive"


class ProxyEndpoint(VendorEndpoint):
    """One route of a vendor. What is wrong with the header is said in GitLab's words."""

    plain = (*VendorEndpoint.plain, BadHeader, Forbidden)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Look at the header before the body, and before there is no such route."""
        super().initial(request, *args, **kwargs)
        self.feature(request)

    def feature(self, request: Request) -> str:
        """Return the feature that the header names, in the reference's order of checks."""
        name = request.META.get("HTTP_X_GITLAB_UNIT_PRIMITIVE")
        if name is None:
            raise BadHeader(f"Missing {HEADER} header")
        if name not in UNIT_PRIMITIVES:
            raise BadHeader(f"Unknown unit primitive header {name[:100]}")
        if not get_caller(request).can((name,)):
            raise Forbidden(f"Unauthorized to access {name}")
        if name not in PROXY_FEATURES:
            raise BadHeader(f"This endpoint cannot be used for {name} purpose")
        return PROXY_FEATURES[name]


class UnknownProxy(ProxyEndpoint):
    """Every path of a vendor that is not served."""

    http_method_names = ("get", "head", "post", "put", "patch", "delete", "options")

    def post(self, request: Request) -> Any:
        """Say that there is nothing here."""
        raise NotFound

    def http_method_not_allowed(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Say that there is nothing here, whatever the method."""
        raise NotFound
