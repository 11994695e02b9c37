"""The WSGI application: pages go through Django's middleware, the data plane does not.

Sessions, CSRF and messages are for people with browsers; GitLab's calls need none of them, and
skipping them is a tenth of the cost of a request.
"""

import os
from collections.abc import Iterable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings.production")

import django
from django.core.handlers.wsgi import WSGIHandler

PAGES = ("/admin", "/static/", "/favicon.ico")


class DataPlane(WSGIHandler):
    """Django's handler without middleware."""

    def load_middleware(self, is_async: bool = False) -> None:
        """Put the view directly behind the handler."""
        from django.core.handlers.exception import convert_exception_to_response

        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        view: Any = self._get_response  # type: ignore[attr-defined]  # not in the stubs
        self._middleware_chain = convert_exception_to_response(view)


django.setup(set_prefix=False)
_pages = WSGIHandler()
_data_plane = DataPlane()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer one request."""
    is_page = environ["PATH_INFO"].startswith(PAGES)
    return (_pages if is_page else _data_plane)(environ, start_response)
