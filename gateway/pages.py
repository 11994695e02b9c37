"""What every page of the admin carries, and who acts on it."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse

from models_registry import changes

# 'unsafe-eval' is what Unfold's Alpine.js needs; untrusted text is shown in sandboxed frames only.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'self'; base-uri 'self'; form-action 'self'"
)


class ContentSecurityPolicy:
    """Middleware: a page may load nothing from elsewhere."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Wrap the rest of the chain."""
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Add the policy, unless the view set a stricter one."""
        response = self._get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response


class ActingPerson:
    """Middleware: what a page changes of the configuration was changed by the person at it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Wrap the rest of the chain."""
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Name the person, who is looked up only if something changes."""
        with changes.made_by(lambda: _name_of(request.user)):
            return self._get_response(request)


def _name_of(person: User | AnonymousUser) -> str:
    return person.get_username() or "nobody"
