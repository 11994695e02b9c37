"""ProxyEndpoint: the frame of GitLab's routes to the vendors' APIs, served by self-hosted models.

A header names the unit primitive that the call is for; it decides whose rules hold.
Source: gateway-api.md 3.12; gitlab-client.md 1.3 (external agents, description composer).
"""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request

from features.catalog import PROXY_FEATURES
from gateway.api.errors import BadRequest, Forbidden, NotFound
from gateway.api.proxy_scope import require_purpose
from gateway.api.vendor_endpoint import VendorEndpoint


class ProxyEndpoint(VendorEndpoint):
    """One route of a vendor. What is wrong with the header is said in GitLab's words."""

    plain = (*VendorEndpoint.plain, BadRequest, Forbidden)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Look at the header before the body, and before there is no such route."""
        super().initial(request, *args, **kwargs)
        self.feature(request)

    def feature(self, request: Request) -> str:
        """Return the feature that the header names."""
        return PROXY_FEATURES[require_purpose(request, PROXY_FEATURES)]


class UnknownProxy(ProxyEndpoint):
    """Every path of a vendor that is not served."""

    http_method_names = ("get", "head", "post", "put", "patch", "delete", "options")

    def post(self, request: Request) -> Any:
        """Say that there is nothing here."""
        raise NotFound

    def http_method_not_allowed(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Say that there is nothing here, whatever the method."""
        raise NotFound
