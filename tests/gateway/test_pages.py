"""Promises of gateway/pages.py."""

from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import RequestFactory

from gateway.pages import POLICY, ActingPerson, ContentSecurityPolicy
from models_registry.changes import ConfigChange
from tests.factories import make_group


def served(response):
    return ContentSecurityPolicy(lambda request: response)(RequestFactory().get("/admin/"))


class TestContentSecurityPolicy:
    def test_lets_a_page_load_nothing_from_elsewhere(self):
        page = served(HttpResponse())

        assert page.headers["Content-Security-Policy"] == POLICY
        assert "default-src 'self'" in POLICY
        assert "http" not in POLICY
        assert "*" not in POLICY

    def test_keeps_a_stricter_policy(self):
        strict = "default-src 'none'"

        page = served(HttpResponse(headers={"Content-Security-Policy": strict}))

        assert page.headers["Content-Security-Policy"] == strict

    def test_lets_no_script_stand_in_a_page(self):
        scripts = next(part for part in POLICY.split("; ") if part.startswith("script-src"))

        assert "'unsafe-inline'" not in scripts

    def test_holds_on_real_pages(self, client, db):
        assert client.get("/admin/login/").headers["Content-Security-Policy"] == POLICY


class TestActingPerson:
    def change(self, person):
        request = RequestFactory().get("/admin/")
        request.user = person
        ActingPerson(lambda request: make_group())(request)
        return ConfigChange.objects.latest("pk").actor

    def test_is_named_in_the_history_of_what_a_page_changes(self, db):
        assert self.change(User(username="eve")) == "eve"

    def test_is_named_on_real_pages(self, admin):
        admin.post(
            "/admin/features/group/add/",
            {"path": "payments", "gitlab_id": "", "parent": "", "rules-TOTAL_FORMS": 0,
             "rules-INITIAL_FORMS": 0},
        )  # fmt: skip

        assert ConfigChange.objects.latest("pk").actor.startswith("admin-")
