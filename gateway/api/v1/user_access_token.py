"""POST /v1/code/user_access_token: a token with which an editor may call us directly.

Source: gateway-api.md 2.6; gitlab-client.md 4.4.
"""

from __future__ import annotations

import logging

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from gateway.api import keys, tokens
from gateway.api.endpoint import Endpoint, get_caller
from gateway.api.errors import Forbidden
from gateway.api.responses import json_response
from gateway.audit.models import CallerKind

logger = logging.getLogger(__name__)


class UserAccessToken(Endpoint):
    """Only GitLab itself may ask for one; an editor cannot prolong its own."""

    def post(self, request: Request) -> HttpResponseBase:
        """Answer with the token and when it expires."""
        caller = get_caller(request)
        if caller.kind != CallerKind.INSTANCE or not caller.can(tokens.USER_TOKEN_SCOPES):
            raise Forbidden("Unauthorized to create user access token")
        try:
            token, expires_at = tokens.issue_user_token(caller)
        except keys.NoSigningKey as exc:
            logger.error("token.no_signing_key", extra={"reason": str(exc)})
            return json_response({"detail": "Failed to generate JWT"}, status=503)
        return json_response({"token": token, "expires_at": expires_at})
