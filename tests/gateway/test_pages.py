"""Promises of gateway/pages.py: what a page of the admin may load."""

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from gateway.pages import ContentSecurityPolicy

pytestmark = pytest.mark.django_db

# Alpine.js, which Unfold is built on, compiles the expressions in its attributes.
ALLOWED = {
    "default-src": {"'self'"},
    "script-src": {"'self'", "'unsafe-eval'"},
    "style-src": {"'self'", "'unsafe-inline'"},
    "img-src": {"'self'", "data:"},
    "frame-ancestors": {"'self'"},
    "base-uri": {"'self'"},
    "form-action": {"'self'"},
}


def read(policy):
    parts = (part.split() for part in policy.split(";"))
    return {name: set(sources) for name, *sources in parts}


class TestContentSecurityPolicy:
    @pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/admin/jsi18n/"])
    def test_lets_a_page_load_from_here_only(self, client, path):
        policy = client.get(path).headers["Content-Security-Policy"]

        assert read(policy) == ALLOWED

    def test_leaves_a_stricter_one_alone(self):
        strict = HttpResponse(headers={"Content-Security-Policy": "default-src 'none'"})

        answer = ContentSecurityPolicy(lambda request: strict)(RequestFactory().get("/admin/"))

        assert answer.headers["Content-Security-Policy"] == "default-src 'none'"

    def test_goes_with_the_headers_that_say_the_same_to_older_browsers(self, client):
        headers = client.get("/admin/login/").headers

        assert headers["X-Frame-Options"] == "SAMEORIGIN"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
