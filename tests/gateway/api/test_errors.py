"""Promises of gateway/api/errors.py: every error has one status, and none says too much."""

from __future__ import annotations

import json

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.db import InterfaceError, OperationalError

from features.errors import FeatureDisabled, FeatureError, NoModelAssigned
from gateway.api import errors
from gateway.api.errors import BadRequest, Forbidden, NotFound, Unauthenticated, respond
from gateway.api.wire import InvalidBody, UnreadableBody
from gateway.errors import (
    AuditUnavailable,
    GatewayError,
    InferenceFailed,
    QueueUnavailable,
    StreamBroken,
)
from models_registry.adoption import AdoptionRefused
from models_registry.errors import BackendRateLimited, ModelError
from prompts.errors import MissingInput, PromptError
from tests.gateway.api.conftest import environ_of

ROOTS = (FeatureError, PromptError, GatewayError, ModelError)
SECRET = "sk-canary http://10.1.2.3:8000/v1"


def leaves(root):
    """Return every class below this one."""
    return {leaf for child in root.__subclasses__() for leaf in {child, *leaves(child)}}


# An InferenceFailed takes its code from the record, which takes it from one of the others.
LEAVES = sorted({leaf for root in ROOTS for leaf in leaves(root)} - {InferenceFailed}, key=str)


def answered(error, *, is_prompt=False, **headers):
    request = WSGIRequest(environ_of("POST", "/", headers=headers))
    return respond(error, request, is_prompt=is_prompt)


def body_of(response):

    return json.loads(response.content)


class TestTable:
    @pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
    def test_knows_every_error_of_the_product(self, leaf):
        assert leaf.code in errors.STATUS

    @pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
    def test_has_a_code_of_its_own_for_each(self, leaf):
        assert leaf.code not in {root.code for root in ROOTS}

    def test_holds_adoption_s_refusal_too(self):
        assert AdoptionRefused in LEAVES

    def test_holds_nothing_that_nobody_raises(self):
        raised = {leaf.code for leaf in LEAVES} | {"reply_lost"}

        assert errors.STATUS.keys() == raised

    @pytest.mark.parametrize("code", errors.STATUS)
    def test_never_blames_the_caller_for_a_fault_of_ours(self, code):
        status = errors.STATUS[code]

        assert status in (400, 403, 404, 422, 429, 503)
        assert code in ("feature_disabled", "unregistered_model") or status != 403

    @pytest.mark.parametrize("code", errors.PROMPT_STATUS)
    def test_translates_only_codes_that_there_are(self, code):
        assert code in errors.STATUS


class TestRespond:
    @pytest.mark.parametrize("code", sorted(errors.STATUS))
    def test_answers_what_a_record_closed_with(self, code):
        response = answered(InferenceFailed("The cause in words.", code=code))

        assert response.status_code == errors.STATUS[code]
        assert body_of(response) == {"detail": "The cause in words.", "code": code}

    @pytest.mark.parametrize(
        ("error", "status", "body"),
        [
            (Unauthenticated("Not you", reason="secret"), 401, {"error": "Not you"}),
            (Forbidden("Not this"), 403, {"detail": "Not this"}),
            (BadRequest("Not so"), 400, {"detail": "Not so"}),
            (BadRequest("Not so", code="a"), 400, {"detail": "Not so", "code": "a"}),
            (NotFound(), 404, {"detail": "Not Found"}),
            (UnreadableBody(), 400, {"detail": "There was an error parsing the body"}),
            (InvalidBody([{"msg": "secret"}]), 422, {"detail": "Validation error"}),
            (
                FeatureDisabled("group 'a': off"),
                403,
                {"detail": "group 'a': off", "code": "feature_disabled"},
            ),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    def test_answers_in_the_words_that_gitlab_knows(self, error, status, body):
        response = answered(error)

        assert (response.status_code, body_of(response)) == (status, body)
        assert response.headers["Content-Type"] == "application/json"

    @pytest.mark.parametrize("error", [OperationalError(SECRET), InterfaceError(SECRET)])
    def test_a_database_that_is_away_means_that_nothing_can_be_recorded(self, error):
        response = answered(error)

        assert response.status_code == 503
        assert body_of(response)["code"] == "audit_unavailable"
        assert SECRET not in response.content.decode()

    @pytest.mark.parametrize("is_prompt", [True, False])
    @pytest.mark.parametrize("error", [RuntimeError(SECRET), KeyError(SECRET), ValueError(SECRET)])
    def test_a_bug_is_503_and_says_nothing_of_itself(self, error, is_prompt, caplog):
        response = answered(error, is_prompt=is_prompt)

        assert response.status_code == 503
        assert body_of(response) == {
            "detail": "A fault of Enclave; its log holds the details.",
            "code": "internal_error",
        }
        assert "request.internal_error" in caplog.messages

    @pytest.mark.parametrize(
        "error", [FeatureDisabled(), AuditUnavailable(), StreamBroken(), BackendRateLimited()]
    )
    def test_an_error_without_words_is_explained_by_its_class(self, error):
        detail = body_of(answered(error))["detail"]

        assert detail == (type(error).__doc__ if str(error) else "")

    def test_a_missing_input_names_the_input(self):
        assert "'diff'" in body_of(answered(MissingInput("diff")))["detail"]


class TestPrompts:
    """GitLab reads a model's failure only from a 421 with `<code>: <reason>` (8.2)."""

    @pytest.mark.parametrize(
        ("code", "backend_status", "detail"),
        [
            ("backend_auth", 401, "401: Unauthorized"),
            ("backend_auth", 403, "403: Forbidden"),
            ("backend_not_found", 404, "404: Not Found"),
            ("backend_rejected", 400, "400: Bad Request"),
            ("context_too_long", 400, "400: Bad Request"),
            ("context_too_long", None, "400: Bad Request. Why."),
            ("backend_rate_limited", 429, "429: Too Many Requests"),
            ("backend_failed", 500, "500: Internal Server Error"),
            ("backend_failed", 503, "503: Service Unavailable"),
            ("backend_failed", 529, "529: Unknown Error"),
            ("backend_timed_out", None, "408: Request Timeout"),
            ("malformed_reply", None, "500: Internal Server Error"),
            ("answer_too_large", None, "500: Internal Server Error. Why."),
            ("backend_unreachable", None, "503: Service Unavailable. Why."),
            ("backend_tls", None, "503: Service Unavailable. Why."),
            ("egress_denied", None, "403: Forbidden. Why."),
            ("model_misconfigured", None, "400: Bad Request. Why."),
            ("cancelled", None, "408: Request Timeout. Why."),
        ],
    )
    def test_a_model_s_failure_is_421(self, code, backend_status, detail):
        error = InferenceFailed("Why.", code=code, backend_status=backend_status)

        response = answered(error, is_prompt=True)

        assert (response.status_code, body_of(response)) == (421, {"detail": detail})

    @pytest.mark.parametrize("leaf", sorted(leaves(ModelError), key=str), ids=lambda c: c.__name__)
    def test_is_the_word_for_every_failure_of_a_model(self, leaf):
        status = answered(leaf(), is_prompt=True).status_code

        assert status == (403 if leaf is AdoptionRefused else 421)

    @pytest.mark.parametrize(
        "error", [AuditUnavailable(), QueueUnavailable(), NoModelAssigned(), FeatureDisabled()]
    )
    def test_everything_else_is_answered_as_everywhere(self, error):
        response = answered(error, is_prompt=True)

        assert response.status_code == errors.STATUS[error.code]
        assert body_of(response)["code"] == error.code


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("wait_s", "header"), [(7.0, "7"), (0.0, "1"), (0.2, "1"), (119.6, "120"), (None, "2")]
    )
    @pytest.mark.parametrize("is_prompt", [True, False])
    def test_is_the_backend_s_or_two_seconds(self, wait_s, header, is_prompt):
        error = InferenceFailed("", code="backend_rate_limited", retry_after_s=wait_s)

        response = answered(error, is_prompt=is_prompt)

        if is_prompt and wait_s is None:
            header = None
        assert response.headers.get("Retry-After") == header

    @pytest.mark.parametrize("error", [AuditUnavailable(), QueueUnavailable(), NoModelAssigned()])
    def test_is_told_whenever_later_may_be_better(self, error):
        assert answered(error).headers["Retry-After"] == "2"

    @pytest.mark.parametrize("error", [FeatureDisabled(), MissingInput("a"), NotFound()])
    def test_is_not_told_where_it_would_not_help(self, error):
        assert "Retry-After" not in answered(error).headers
