"""What can go wrong in the gateway itself.

GatewayError
├── AuditUnavailable    the record cannot be written, so nothing is forwarded
├── QueueUnavailable    the message cannot be published: Redis is away
├── ReplyTimedOut       no worker finished within the deadline
├── WorkerLost          the worker that had the record died
├── ProcessLost         the web process that had the request died
├── ClientLeft          the client closed its connection; there is nobody to tell
├── DocumentationUnavailable  the index of GitLab's documentation cannot be searched
├── VendorFailed        the vendor's gateway answered with an error
├── InternalError       a bug
└── StreamBroken        raised into the server to cut a stream that must not look complete

`InferenceFailed` is what dispatch raises for everything that a record closed with: it carries the
stable code, and `gateway.api.errors` knows each code's status.
"""

from __future__ import annotations


class GatewayError(Exception):
    """The gateway could not serve a call."""

    code = "gateway_error"

    def __init__(self, message: str = "") -> None:
        """Say what happened; the class says it if nothing better is known."""
        super().__init__(message or (type(self).__doc__ or "").strip())


class AuditUnavailable(GatewayError):
    """The audit log cannot be written, so nothing was sent to a model."""

    code = "audit_unavailable"


class QueueUnavailable(GatewayError):
    """The queue cannot be reached, so nothing was sent to a model."""

    code = "queue_unavailable"


class ReplyTimedOut(GatewayError):
    """No worker finished this call in time."""

    code = "reply_timed_out"


class WorkerLost(GatewayError):
    """The worker process that was serving this call died."""

    code = "worker_lost"


class ProcessLost(GatewayError):
    """The web process that was serving this call died."""

    code = "process_lost"


class ClientLeft(GatewayError):
    """The client closed its connection."""

    code = "client_left"


class DocumentationUnavailable(GatewayError):
    """The documentation cannot be searched: its index is broken, or takes too long."""

    code = "documentation_unavailable"


class VendorFailed(GatewayError):
    """The vendor's gateway answered with an error, which was passed on as it is."""

    code = "vendor_failed"


class InternalError(GatewayError):
    """A fault of Enclave; the log holds the details."""

    code = "internal_error"


class StreamBroken(GatewayError):
    """A stream was cut on purpose, because it could not be completed."""

    code = "stream_broken"


class InferenceFailed(GatewayError):
    """An inference ended without an answer; `code` says why, as in its record."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        backend_status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Keep what the wire formats need."""
        super().__init__(message)
        self.code = code
        self.backend_status = backend_status
        self.retry_after_s = retry_after_s
