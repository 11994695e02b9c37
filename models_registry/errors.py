"""What can go wrong between us and a backend.

ModelError
├── BackendUnreachable      no route, refused, name unknown, TLS failure
│   └── BackendTlsFailed
├── EgressDenied            the address is not in GATEWAY_EGRESS_ALLOW
├── BackendTimedOut         no answer inside the deadline, or silence for too long
├── BackendAuthFailed       401 or 403: our key is wrong
├── BackendRateLimited      429
├── BackendNotFound         404: wrong path or unknown model
├── ContextTooLong          the prompt does not fit into the model's window
├── BackendRejected         any other 4xx
├── BackendFailed           5xx
├── MalformedReply          a 2xx that is not what the wire format promises, or ends too early
├── AnswerTooLarge          more than GATEWAY_ANSWER_MAX_BYTES
├── BatchTooLarge           more texts to embed, or more of their vectors, than one call may have
├── InferenceCancelled      we stopped it: the caller left
└── ModelMisconfigured      the row itself cannot work: no endpoint, unknown provider, bad key

`code` is stable and stored in the record. `str(error)` is written for an administrator and holds
no endpoint, no key and no text of the backend: it may be shown to a caller.
"""

from __future__ import annotations


class ModelError(Exception):
    """A model could not answer."""

    code = "model_error"
    is_retryable = False

    def __init__(self, message: str = "", *, status: int | None = None, reason: str = "") -> None:
        """Keep the backend's HTTP status, if it gave one, and what exactly is wrong, in one word.

        The connection test finds its advice by `reason` (`models_registry/advice.py`).
        """
        super().__init__(message or (self.__doc__ or "").strip())
        self.status = status
        self.reason = reason


class BackendUnreachable(ModelError):
    """The model server cannot be reached."""

    code = "backend_unreachable"
    is_retryable = True


class BackendTlsFailed(BackendUnreachable):
    """The model server's TLS certificate could not be verified."""

    code = "backend_tls"
    is_retryable = False


class EgressDenied(ModelError):
    """The model's address is not in GATEWAY_EGRESS_ALLOW."""

    code = "egress_denied"


class BackendTimedOut(ModelError):
    """The model server did not answer in time."""

    code = "backend_timed_out"


class BackendAuthFailed(ModelError):
    """The model server refused our API key."""

    code = "backend_auth"


class BackendRateLimited(ModelError):
    """The model server is over its rate limit."""

    code = "backend_rate_limited"

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        """Keep how long the backend asked us to wait."""
        super().__init__(message, status=429)
        self.retry_after_s = retry_after_s


class BackendNotFound(ModelError):
    """The model server knows neither this path nor this model."""

    code = "backend_not_found"


class ContextTooLong(ModelError):
    """The prompt is too long for the model's context window."""

    code = "context_too_long"


class BackendRejected(ModelError):
    """The model server refused the request."""

    code = "backend_rejected"


class BackendFailed(ModelError):
    """The model server failed."""

    code = "backend_failed"
    is_retryable = True


class MalformedReply(ModelError):
    """The model server's answer is not what its wire format promises."""

    code = "malformed_reply"


class AnswerTooLarge(ModelError):
    """The model server's answer is larger than GATEWAY_ANSWER_MAX_BYTES."""

    code = "answer_too_large"


class BatchTooLarge(ModelError):
    """There are more texts to embed, or more of their vectors, than one call may have."""

    code = "batch_too_large"


class InferenceCancelled(ModelError):
    """The inference was stopped because the caller left."""

    code = "cancelled"


class ModelMisconfigured(ModelError):
    """The model cannot work as it is configured."""

    code = "model_misconfigured"
