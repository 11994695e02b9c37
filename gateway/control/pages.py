"""What the pages of the control plane have in common: who may see them, and their frame."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

View = Callable[..., HttpResponse]


def page(*permissions: str) -> Callable[[View], View]:
    """Return a decorator: the view is shown to people of the admin who have these permissions."""

    def wrap(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.has_perms(permissions):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return admin.site.admin_view(guarded)

    return wrap


def render(
    request: HttpRequest, template: str, *, title: str, status: int = 200, **context: Any
) -> HttpResponse:
    """Return a page in the frame of the admin."""
    whole = {**admin.site.each_context(request), "title": title, **context}
    return TemplateResponse(request, f"control/{template}", whole, status=status)


def fragment(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    """Return a part that the script of a page puts into it; never from a cache."""
    response = TemplateResponse(request, f"control/{template}", context)
    response.headers["Cache-Control"] = "no-store"
    return response
