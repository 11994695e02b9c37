"""Promises of gateway/urls.py: routes are found below whatever base URL GitLab was given."""

import pytest
from django.urls import resolve

from gateway.api.endpoint import Unknown

ROUTES = (
    "/v2/code/completions",
    "/v2/completions",
    "/v2/code/generations",
    "/v3/code/completions",
    "/v4/code/suggestions",
    "/v1/prompts/model_configuration/check",
    "/v2/prompts/generate_commit_message",
    "/v2/chat/agent",
    "/v1/chat/agent",
    "/v1/search/gitlab-docs",
    "/v1/code/user_access_token",
    "/v1/proxy/anthropic/v1/messages",
    "/v1/proxy/anthropic/v1/messages/count_tokens",
    "/v1/proxy/openai/v1/chat/completions",
    "/v1/proxy/openai/v1/responses",
    "/monitoring/healthz",
)


def endpoint(path):
    return resolve(path).func.view_class


class TestBasePath:
    @pytest.mark.parametrize("path", ROUTES)
    @pytest.mark.parametrize("base", ["/ai", "/", "//", "//ai", "/ai/"])
    def test_may_be_the_clouds_or_end_in_a_slash(self, path, base):
        plain = endpoint(path)

        assert plain is not Unknown
        assert endpoint(base + path) is plain

    @pytest.mark.parametrize("path", ["/ai", "/ai/", "/aiv2/completions", "/ai/ai/v2/completions"])
    def test_is_nothing_else(self, path):
        assert endpoint(path) is Unknown

    def test_is_not_the_admins(self):
        assert resolve("/admin/").app_name == "admin"
        assert endpoint("/ai/admin/") is Unknown
