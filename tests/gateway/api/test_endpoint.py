"""Promises of gateway/api/endpoint.py: what holds for every route, whatever it does."""

from __future__ import annotations

import re

import pytest
from django.core.handlers.wsgi import WSGIRequest

from gateway.api import endpoint
from gateway.api.endpoint import Endpoint
from gateway.api.responses import json_response
from gateway.api.urls import urlpatterns
from tests.gateway.api.conftest import COMPLETIONS, CONNECTION_TEST, USER_TOKEN, environ_of, send

HEALTH = "/monitoring/healthz"
NOWHERE = "/v9/nope"
PREFLIGHT = {
    "Origin": "https://ide.example.com",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,x-gitlab-realm",
}


class TestRequestId:
    @pytest.mark.parametrize(
        "given", ["abc/1", "01HZX", "a b", "é", "<script>", "a" * 255, "{7*7}", '"']
    )
    def test_is_the_caller_s(self, given):
        assert send("GET", HEALTH, headers={"X-Request-ID": given}).headers["x-request-id"] == given

    def test_is_made_where_the_caller_sends_none(self):
        ids = {send("GET", HEALTH).headers["x-request-id"] for _ in range(3)}

        assert len(ids) == 3
        assert all(re.fullmatch("[0-9a-f]{32}", value) for value in ids)

    @pytest.mark.parametrize(
        "given",
        ["", "a\r\nSet-Cookie: a=b", "a\nb", "a\rb", "a\0b", "\x1b[31m", "a\x85b", "\u2028"],
    )
    def test_is_made_where_the_caller_s_could_not_stand_in_a_header(self, given):
        answer = send("GET", HEALTH, headers={"X-Request-ID": given})

        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
        assert "set-cookie" not in answer.headers

    def test_is_cut_to_what_a_record_holds(self):
        answer = send("GET", HEALTH, headers={"X-Request-ID": "a" * 8_000})

        assert answer.headers["x-request-id"] == "a" * 255

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", HEALTH), ("POST", HEALTH), ("GET", NOWHERE), ("POST", COMPLETIONS)],
    )
    def test_and_the_time_are_on_every_answer(self, method, path):
        answer = send(method, path, headers={"X-Request-ID": "abc/1"})

        assert answer.headers["x-request-id"] == "abc/1"
        assert float(answer.headers["x-process-time"]) > 0

    def test_is_on_the_answer_to_a_bug_too(self, monkeypatch):
        monkeypatch.setattr(endpoint, "authenticate", lambda meta: 1 / 0)

        answer = send("GET", NOWHERE, headers={"X-Request-ID": "abc/1"})

        assert (answer.status, answer.headers["x-request-id"]) == (503, "abc/1")
        assert answer.json["code"] == "internal_error"


class TestOrder:
    @pytest.mark.parametrize("path", ["/", NOWHERE, "/metrics", "/openapi.json", COMPLETIONS])
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "FOO"])
    def test_nobody_learns_a_path_without_credentials(self, method, path):
        answer = send(method, path)

        assert answer.status == 401
        assert answer.json == {"error": "No authorization header presented"}

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO"])
    def test_an_unknown_path_is_404_with_credentials(self, trusted, method):
        answer = send(method, NOWHERE, headers=trusted.headers())

        assert (answer.status, answer.json) == (404, {"detail": "Not Found"})

    @pytest.mark.parametrize(
        ("path", "allowed"),
        [(COMPLETIONS, "POST"), (CONNECTION_TEST, "POST"), (USER_TOKEN, "POST"), (HEALTH, "GET")],
    )
    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"])
    def test_a_wrong_method_is_405_and_names_the_right_one(self, trusted, method, path, allowed):
        answer = send(method, path, headers=trusted.headers())

        assert (answer.status, answer.json) == (405, {"detail": "Method Not Allowed"})
        assert answer.headers["allow"] == allowed

    def test_a_bad_token_is_refused_before_a_bad_body(self, trusted):
        headers = trusted.headers(trusted.named_token("expired"))

        assert send("POST", COMPLETIONS, body=b"{", headers=headers).status == 401

    @pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Original-URL"])
    def test_no_header_changes_the_method_or_the_path(self, trusted, name):
        value = HEALTH if name == "X-Original-URL" else "GET"

        answer = send("POST", NOWHERE, headers={**trusted.headers(), name: value})

        assert answer.status == 404

    @pytest.mark.parametrize("name", ["Bypass-Auth", "X-Forwarded-User", "Remote-User"])
    def test_no_header_stands_in_for_credentials(self, name):
        assert send("POST", COMPLETIONS, headers={name: "true"}).status == 401


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        [
            "//v2/code/completions",
            "///v2/code/completions",
            "//v2/completions",
            "/v1/prompts/model_configuration%2Fcheck",
            "/v1/prompts/model_configuration/check",
            "/v1/prompts/model_configuration/check/",
            "/v1/prompts/model_configuration%2Fcheck/",
            "//v1/prompts/model_configuration%2Fcheck",
            "/%76%32/completions",
        ],
    )
    def test_are_found_as_gitlab_writes_them(self, trusted, path):
        assert send("GET", path, headers=trusted.headers()).status == 405

    @pytest.mark.parametrize(
        "path",
        [
            "/V2/code/completions",
            "/v2/code/completions/",
            "/v2/code/completions.",
            "/v2/code/completions;a",
            "/v2/./code/completions",
            "/v2/code/../code/completions",
            "/v2//code/completions",
            "/v2/code/completions%00",
            "/v2/code/completions%0a",
            "/v2/code%5ccompletions",
            "/monitoring/healthz/",
            "/monitoring/healthz;/v2/completions",
            "/%2e%2e/etc/passwd",
            "/%ff%fe",
            "/v1/prompts/",
        ],
    )
    def test_have_no_other_spelling(self, trusted, path):
        headers = trusted.headers()

        assert send("GET", path, headers=headers).status == 404
        assert send("GET", path).status == 401

    @pytest.mark.parametrize("path", ["//admin/", "/Admin/", "/v2/admin/"])
    def test_lead_to_no_page_by_another_spelling(self, trusted, path):
        assert send("GET", path).status == 401

    @pytest.mark.parametrize("path", ["/administrator", "/favicon.icon"])
    def test_that_begin_like_a_page_are_answered_as_api_too(self, trusted, path):
        assert send("GET", path, headers=trusted.headers()).status == 404


class TestHead:
    """A server must answer HEAD as GET, without the body (RFC 9110, 9.3.2)."""

    def test_of_a_route_that_can_be_read(self):
        read, head = send("GET", HEALTH), send("HEAD", HEALTH)

        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == read.headers["content-length"] == "2"

    @pytest.mark.parametrize(("path", "status"), [(COMPLETIONS, 405), (NOWHERE, 404)])
    def test_of_one_that_cannot(self, trusted, path, status):
        answer = send("HEAD", path, headers=trusted.headers())

        assert (answer.status, answer.body) == (status, b"")

    def test_without_credentials(self):
        answer = send("HEAD", COMPLETIONS)

        assert (answer.status, answer.body) == (401, b"")


class TestCors:
    @pytest.mark.parametrize("path", [COMPLETIONS, "/v2/completions", NOWHERE, HEALTH])
    def test_a_preflight_needs_no_credentials(self, path):
        answer = send("OPTIONS", path, headers=PREFLIGHT)

        assert (answer.status, answer.body) == (200, b"OK")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-allow-methods"] == "POST"
        assert answer.headers["access-control-allow-headers"] == "authorization,x-gitlab-realm"
        assert answer.headers["access-control-max-age"] == "600"
        assert "access-control-allow-credentials" not in answer.headers

    @pytest.mark.parametrize("missing", ["Origin", "Access-Control-Request-Method"])
    def test_half_a_preflight_is_a_request_like_any_other(self, missing):
        headers = {name: value for name, value in PREFLIGHT.items() if name != missing}

        assert send("OPTIONS", COMPLETIONS, headers=headers).status == 401

    @pytest.mark.parametrize(
        ("path", "status"), [(HEALTH, 200), (COMPLETIONS, 401), ("/v1/prompts/a", 401)]
    )
    def test_every_answer_may_be_read_by_the_page_that_asked(self, path, status):
        answer = send("GET", path, headers={"Origin": "https://ide.example.com"})

        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == "*"

    def test_without_an_origin_nothing_is_said(self):
        assert "access-control-allow-origin" not in send("GET", HEALTH).headers

    @pytest.mark.parametrize("headers", [PREFLIGHT, {"Origin": PREFLIGHT["Origin"]}])
    @pytest.mark.parametrize("method", ["OPTIONS", "GET"])
    def test_a_listed_origin_is_named(self, settings, method, headers):
        settings.GATEWAY_CORS_ORIGINS = ["https://gitlab.example.com", "https://ide.example.com"]

        answer = send(method, HEALTH, headers=headers)

        assert answer.headers["access-control-allow-origin"] == "https://ide.example.com"
        assert answer.headers["vary"] == "Origin"

    @pytest.mark.parametrize(
        "origin",
        ["https://evil.example", "null", "https://ide.example.com.evil.example",
         "http://ide.example.com", "https://IDE.example.com", ""],
    )  # fmt: skip
    @pytest.mark.parametrize("method", ["OPTIONS", "GET"])
    def test_another_origin_is_told_nothing(self, settings, method, origin):
        settings.GATEWAY_CORS_ORIGINS = ["https://ide.example.com"]

        answer = send(method, HEALTH, headers={**PREFLIGHT, "Origin": origin})

        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "Origin"


class TestDataPlane:
    """GitLab's calls pass none of what people with browsers need."""

    def test_sets_no_cookie_and_no_header_of_the_pages(self):
        answer = send("GET", HEALTH, headers={"Cookie": "sessionid=abc; csrftoken=def"})

        assert answer.headers.keys() == {
            "content-type",
            "content-length",
            "x-request-id",
            "x-process-time",
        }

    def test_needs_no_csrf_token(self, trusted):
        headers = trusted.headers(origin="https://evil.example", cookie="csrftoken=a")

        assert send("POST", NOWHERE, headers=headers).status == 404

    @pytest.mark.parametrize("accept", ["text/html", "application/xml", "", "nonsense", "*/*;q=0"])
    def test_answers_json_whatever_is_asked_for(self, accept):
        answer = send("GET", HEALTH, headers={"Accept": accept})

        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")

    def test_ignores_what_a_query_asks_for(self):
        assert send("GET", f"{HEALTH}?format=api&method=DELETE").status == 200

    def test_answers_every_route_with_an_endpoint(self):
        views = [pattern.callback.view_class for pattern in urlpatterns]

        assert all(issubclass(view, Endpoint) for view in views)
        public = [view.__name__ for view in views if view.is_public]
        assert public == ["ModelDefinitions", "Healthz", "Ready"]


class TestCorrelationId:
    def test_is_the_same_for_the_whole_request(self):
        request = WSGIRequest(environ_of("GET", "/"))

        assert endpoint.correlation_id(request) == endpoint.correlation_id(request)


class TestDispatch:
    def test_adds_its_headers_to_whatever_an_endpoint_answers(self):
        class Mine(Endpoint):
            is_public = True

            def get(self, request):
                return json_response([1])

        answer = Mine.as_view()(WSGIRequest(environ_of("GET", "/")))

        assert answer.content == b"[1]"
        assert {"X-Request-ID", "X-Process-Time"} <= set(answer.headers)
