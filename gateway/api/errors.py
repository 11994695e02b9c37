"""The one table from what went wrong to what the caller is told.

Stable codes come from the errors' classes; the same code stands in the record. Bodies: 401 has
`error`, everything else `detail`; failures of a model carry `code` too. Nothing here shows an
endpoint, a key or a backend's text.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from django.db import Error as DatabaseError  # InterfaceError too
from django.http import HttpRequest, HttpResponse

from features.errors import FeatureError
from gateway.api import wire
from gateway.api.responses import json_response
from gateway.errors import AuditUnavailable, GatewayError, InferenceFailed
from models_registry.errors import ModelError
from prompts.errors import NoSuchVersion, PromptError

logger = logging.getLogger(__name__)

STATUS = {
    # features
    "unknown_feature": 404,
    "feature_disabled": 403,
    "no_model_assigned": 503,
    "no_active_model": 503,
    "model_not_found": 404,
    "unfit_model": 503,
    "unregistered_model": 403,
    "no_history": 404,
    "unreadable_date": 422,
    # prompts
    "prompt_not_found": 400,
    "no_such_version": 400,
    "missing_input": 422,
    "invalid_prompt": 503,
    "prompt_too_large": 422,
    # the model
    "backend_unreachable": 503,
    "backend_tls": 503,
    "egress_denied": 503,
    "backend_timed_out": 503,
    "backend_auth": 503,
    "backend_rate_limited": 429,
    "backend_not_found": 503,
    "context_too_long": 422,
    "backend_rejected": 503,
    "backend_failed": 503,
    "malformed_reply": 503,
    "answer_too_large": 503,
    "batch_too_large": 422,
    "model_misconfigured": 503,
    "cancelled": 503,
    # the gateway
    "audit_unavailable": 503,
    "queue_unavailable": 503,
    "reply_timed_out": 503,
    "reply_lost": 503,
    "worker_lost": 503,
    "process_lost": 503,
    "client_left": 503,
    "documentation_unavailable": 503,
    "vendor_failed": 503,
    "internal_error": 503,
    "stream_broken": 503,
}

# What GitLab reads in a 421 (gateway-api.md 8.2) where the backend itself gave no status.
PROMPT_STATUS = {
    "backend_unreachable": 503,
    "backend_tls": 503,
    "egress_denied": 403,
    "backend_timed_out": 408,
    "context_too_long": 400,
    "malformed_reply": 500,
    "answer_too_large": 500,
    "batch_too_large": 400,
    "model_misconfigured": 400,
    "backend_rate_limited": 429,
    "cancelled": 408,
}

RETRY_AFTER_S = 2


class Unauthenticated(Exception):
    """The token is missing or bad; answered 401. `reason` is for our log only."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        """Keep what the caller reads and what the operator reads."""
        super().__init__(message)
        self.reason = reason or message


class BadRequest(Exception):
    """The request cannot be served as it is; answered 400. `code` where a record has one."""

    def __init__(self, message: str, *, code: str = "") -> None:
        """Keep the record's code."""
        super().__init__(message)
        self.code = code


class Forbidden(Exception):
    """The token does not allow this; answered 403."""


class NotFound(Exception):
    """There is no such route; answered 404."""


def respond(error: Exception, request: HttpRequest, *, is_prompt: bool = False) -> HttpResponse:
    """Return the answer to a failed call; `is_prompt` for routes where GitLab reads 421."""
    match error:
        case Unauthenticated():
            logger.warning("auth.refused", extra={"reason": error.reason})
            return json_response({"error": str(error)}, status=401)
        case BadRequest():
            code = {"code": error.code} if error.code else {}
            return json_response({"detail": str(error), **code}, status=400)
        case Forbidden():
            return json_response({"detail": str(error)}, status=403)
        case NotFound():
            return json_response({"detail": "Not Found"}, status=404)
        case wire.UnreadableBody():
            return json_response({"detail": "There was an error parsing the body"}, status=400)
        case wire.InvalidBody():
            return json_response({"detail": _validation_detail(error, request)}, status=422)
        case NoSuchVersion():
            # Byte for byte what the reference says, which lists the versions there are.
            return json_response({"detail": str(error)}, status=STATUS[error.code])
        case FeatureError() | PromptError() | GatewayError() | ModelError():
            return _failed(error, is_prompt=is_prompt)
        case DatabaseError():
            # Configuration was needed that this process does not hold yet.
            return _failed(AuditUnavailable(), is_prompt=is_prompt)
        case _:
            logger.error("request.internal_error", exc_info=error)
            return json_response(
                {
                    "detail": "A fault of Enclave; its log holds the details.",
                    "code": "internal_error",
                },
                status=503,
            )


def _validation_detail(error: wire.InvalidBody, request: HttpRequest) -> str:
    is_verbose = request.META.get(wire.VERBOSE_HEADER, "").lower() == "true"
    return str(error.errors if is_verbose else error)


def _failed(
    error: FeatureError | PromptError | GatewayError | ModelError, *, is_prompt: bool
) -> HttpResponse:
    status = STATUS[error.code]
    if is_prompt and error.code in PROMPT_STATUS | _BACKEND_CODES:
        return _retry_after(json_response({"detail": _prompt_detail(error)}, status=421), error)
    body = {"detail": str(error), "code": error.code}
    return _retry_after(json_response(body, status=status), error)


_BACKEND_CODES = dict.fromkeys(
    ("backend_auth", "backend_not_found", "backend_rejected", "backend_failed"), 500
)


def _prompt_detail(error: Any) -> str:
    """Return `<code>: <reason>`, which GitLab shows to the administrator who tests a model."""
    backend_status = getattr(error, "backend_status", None) or getattr(error, "status", None)
    if backend_status:
        return f"{backend_status}: {_phrase(backend_status)}"
    status = (PROMPT_STATUS | _BACKEND_CODES)[error.code]
    bare = f"{status}: {_phrase(status)}"
    return bare if error.code in ("backend_timed_out", "malformed_reply") else f"{bare}. {error}"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown Error"


def _retry_after(response: HttpResponse, error: Exception) -> HttpResponse:
    wait_s = getattr(error, "retry_after_s", None)
    if isinstance(error, InferenceFailed) and wait_s is not None:
        response.headers["Retry-After"] = str(max(1, round(wait_s)))
    elif response.status_code in (429, 503):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    """Return JSON where Django would show its page."""
    return json_response(
        {"detail": "A fault of Enclave; its log holds the details.", "code": "internal_error"},
        status=503,
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return JSON where Django would show its page."""
    return json_response({"detail": "Not Found"}, status=404)
