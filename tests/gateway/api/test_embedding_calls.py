"""Promises of both routes for embeddings: how much a batch may hold, and how a failure is told."""

from __future__ import annotations

import pytest

from features import snapshot
from gateway.audit.models import InferenceRecord
from tests.factories import make_model, make_rule
from tests.gateway.api.conftest import post
from tests.gateway.conftest import record

INDEX = "/v1/embeddings/code_embeddings/index"
VERTEX = (
    "/v1/proxy/vertex-ai/v1/projects/PROJECT/locations/LOCATION/publishers/google/models/"
    "text-embedding-005:predict"
)
ROUTES = (INDEX, VERTEX)


def body_of(route, texts, **more):
    """Return what a route wants for these texts; the model is Enclave's to choose."""
    if route.endswith(VERTEX):
        return {"instances": [{"content": text} for text in texts], **more}
    return {
        "contents": texts,
        "model_metadata": {"provider": "gitlab", "identifier": "text_embedding_005_vertex"},
        **more,
    }


@pytest.fixture
def embed(trusted):
    """A function that has texts embedded by a route, and returns the answer."""

    def send(route, *texts, headers=None, **more):
        purpose = {"x_gitlab_unit_primitive": "generate_embeddings_codebase"}
        headers = headers or trusted.headers(**purpose)
        return post(route, body_of(route, list(texts), **more), headers=headers)

    return send


@pytest.mark.parametrize("route", ROUTES)
class TestEmbed:
    def test_is_served_by_the_model_that_a_rule_assigns(self, embed, embedding_model, route):
        model = embedding_model()

        assert embed(route, "a", "b").status == 200
        assert (record().feature, record().model_id) == ("embeddings_code", model.pk)

    def test_takes_any_text(self, embed, embedding_model, backend, route):
        embedding_model()
        texts = ["", "a\0b", "größer 😀", "x" * 100_000, "{{7*7}}"]

        assert embed(route, *texts).status == 200
        assert backend.calls[0].body["input"] == texts

    def test_bounds_how_many(self, embed, embedding_model, backend, route, settings):
        embedding_model()
        settings.GATEWAY_BATCH_MAX_TEXTS = 2
        assert embed(route, "a", "b").status == 200

        answer = embed(route, "a", "b", "c")

        assert answer.status == 422
        assert answer.json == {
            "detail": "These are 3 texts; one call may have 2.",
            "code": "batch_too_large",
        }
        assert len(backend.calls) == InferenceRecord.objects.count() == 1

    def test_bounds_what_comes_back(self, embed, embedding_model, route, settings):
        settings.GATEWAY_ANSWER_MAX_BYTES = 1_000
        embedding_model()

        answer = embed(route, *["a"] * 50)

        assert (answer.status, answer.json["code"]) == (422, "batch_too_large")
        assert "fewer texts" in answer.json["detail"]

    @pytest.mark.parametrize(
        ("behavior", "status", "code"),
        [
            ("err-400", 400, "backend_rejected"),
            ("err-422", 400, "backend_rejected"),
            ("toolong", 400, "context_too_long"),
            ("err-401", 503, "backend_auth"),
            ("err-403", 503, "backend_auth"),
            ("err-404", 503, "backend_not_found"),
            ("err-429", 429, "backend_rate_limited"),
            ("err-500", 503, "backend_failed"),
            ("garbage", 503, "malformed_reply"),
            ("refuse", 503, "backend_unreachable"),
        ],
    )
    def test_tells_what_the_model_server_did(
        self, embed, embedding_model, route, behavior, status, code
    ):
        embedding_model(behavior)

        answer = embed(route, "a")

        assert (answer.status, answer.json["code"]) == (status, code)
        assert "the script says" not in answer.json["detail"]
        assert (record().state, record().error_code) == ("failed", code)

    def test_passes_on_when_to_ask_again(self, embed, embedding_model, route):
        embedding_model("err-429")

        assert embed(route, "a").headers["retry-after"] == "7"

    def test_is_refused_where_the_feature_is_off(self, embed, embedded, route):
        snapshot.refresh()

        answer = embed(route, "a")

        assert (answer.status, answer.json["code"]) == (403, "feature_disabled")
        assert record().state == "refused"

    def test_says_that_a_model_talks_instead(self, embed, embedded, route):
        make_rule(feature="embeddings_code", model=make_model())
        snapshot.refresh()

        answer = embed(route, "a")

        assert (answer.status, answer.json["code"]) == (503, "unfit_model")

    def test_works_without_a_backend(self, embed, embedding_model, route):
        embedding_model(provider="echo", endpoint="")

        assert embed(route, "a", "b").status == 200

    def test_is_served_below_ai_too(self, embed, embedding_model, route):
        embedding_model()

        assert embed(f"/ai{route}", "a").status == 200
