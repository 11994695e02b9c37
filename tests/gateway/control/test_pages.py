"""Tests for gateway/control/pages.py: who sees the pages of the control plane."""

import pytest
from django.test import Client
from django.urls import reverse

from gateway.control.urls import urlpatterns

NAMES = [pattern.name for pattern in urlpatterns]


class TestPage:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("method", ["get", "post"])
    def test_asks_strangers_to_log_in(self, db, name, method):
        answer = getattr(Client(), method)(reverse(f"control:{name}"))

        assert answer.status_code in (302, 405)
        assert answer.status_code == 405 or "/admin/login/" in answer.headers["Location"]

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("method", ["get", "post"])
    def test_is_closed_to_auditors(self, auditor, name, method):
        answer = getattr(auditor, method)(reverse(f"control:{name}"))

        assert answer.status_code in (403, 405)

    @pytest.mark.parametrize("name", NAMES)
    def test_wants_the_token_of_the_form(self, operator, name):
        operator.handler.enforce_csrf_checks = True

        assert operator.post(reverse(f"control:{name}")).status_code in (403, 405)


class TestRender:
    def test_stands_in_the_frame_of_the_admin(self, operator):
        page = operator.get(reverse("control:sync"))

        assert "Inference records" in page.text
        assert "Content-Security-Policy" in page.headers
