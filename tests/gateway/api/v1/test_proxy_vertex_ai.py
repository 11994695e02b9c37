"""Promises of POST /v1/proxy/vertex-ai/…; what embeddings have in common is tested beside it."""

from __future__ import annotations

import pytest

from gateway.api.errors import BadRequest, NotFound
from gateway.api.v1.proxy_vertex_ai import require_embedding
from tests.gateway.api.conftest import post, send
from tests.gateway.api.test_embedding_calls import VERTEX
from tests.rig.backend import vector_of

GOOGLE = "v1/projects/PROJECT/locations/LOCATION/publishers/google/models"


@pytest.fixture
def ask(trusted):
    """A function that sends a body as GitLab 18 does."""

    def send_body(body, *, path=VERTEX, **changes):
        purpose = {"x_gitlab_unit_primitive": "generate_embeddings_codebase", **changes}
        return post(path, body, headers=trusted.headers(**purpose))

    return send_body


class TestAnswer:
    def test_is_what_vertex_ai_would_say(self, ask, embedding_model):
        embedding_model()

        answer = ask({"instances": [{"content": "one two"}, {"content": "three"}]})

        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json == {
            "predictions": [
                {
                    "embeddings": {
                        "values": vector_of(text),
                        "statistics": {"truncated": False, "token_count": tokens},
                    }
                }
                for text, tokens in (("one two", 3), ("three", 2))
            ]
        }

    def test_has_the_length_that_is_asked_for(self, ask, embedding_model, backend):
        embedding_model()
        parameters = {"outputDimensionality": 3, "autoTruncate": True}

        answer = ask({"instances": [{"content": "a", "task_type": "x"}], "parameters": parameters})

        assert len(answer.json["predictions"][0]["embeddings"]["values"]) == 3
        assert backend.calls[0].body["dimensions"] == 3


class TestRequireEmbedding:
    @pytest.mark.parametrize(
        "path",
        [
            f"{GOOGLE}/text-embedding-005:predict",
            f"{GOOGLE}/text-multilingual-embedding-002:predict",
            f"{GOOGLE}/textembedding-gecko@003:predict",
            "v1/projects/p-1/locations/us-central1/publishers/google/models/text-embedding-004:predict",
        ],
    )
    def test_accepts_whatever_embeds(self, path):
        require_embedding(path)

    @pytest.mark.parametrize(
        "path",
        [
            f"{GOOGLE}/gemini-2.5-flash:generateContent",
            f"{GOOGLE}/code-gecko@002:predict",
            f"{GOOGLE}/text-embedding-005:streamGenerateContent",
            GOOGLE.replace("google", "anthropic") + "/claude-3:streamRawPredict",
            GOOGLE.replace("google", "anthropic") + "/text-embedding-005:predict",
        ],
    )
    def test_says_that_nobody_serves_the_rest(self, path):
        with pytest.raises(BadRequest, match="serves text embeddings only"):
            require_embedding(path)

    @pytest.mark.parametrize(
        "path",
        [
            "x",
            "v1/projects",
            f"{GOOGLE}/text-embedding-005",
            f"{GOOGLE}/text-embedding-005:predict/",
            f"{GOOGLE}/../text-embedding-005:predict",
            f"{GOOGLE}/text-embedding-005:predict\n",
            f"{GOOGLE}/text-embedding-٠:predict",
            f"v2{GOOGLE[2:]}/text-embedding-005:predict",
        ],
    )
    def test_knows_what_is_no_path_of_vertex_ai(self, path):
        with pytest.raises(NotFound):
            require_embedding(path)


class TestRefusals:
    def test_needs_credentials(self):
        assert send("POST", VERTEX).status == 401

    @pytest.mark.parametrize(
        ("purpose", "status", "detail"),
        [
            (None, 400, "Missing x-gitlab-unit-primitive header"),
            ("zzz", 400, "Unknown unit primitive header zzz"),
            ("duo_chat", 400, "This endpoint cannot be used for duo_chat purpose"),
        ],
    )
    def test_wants_to_know_what_for(self, ask, purpose, status, detail):
        answer = ask({}, x_gitlab_unit_primitive=purpose)

        assert (answer.status, answer.json) == (status, {"detail": detail})

    def test_the_token_must_allow_it(self, ask, trusted):
        answer = ask({}, authorization=f"Bearer {trusted.named_token('only_duo_chat')}")

        assert answer.status == 403
        assert answer.json == {"detail": "Unauthorized to access generate_embeddings_codebase"}

    def test_another_model_is_400_and_another_path_404(self, ask):
        chat = VERTEX.replace("text-embedding-005:predict", "gemini-2.5-flash:generateContent")

        assert ask({}, path=chat).status == 400
        assert ask({}, path="/v1/proxy/vertex-ai/v1/models").status == 404

    @pytest.mark.parametrize(
        "body",
        [
            {},
            [],
            {"instances": None},
            {"instances": []},
            {"instances": {}},
            {"instances": ["text"]},
            {"instances": [{}]},
            {"instances": [{"content": None}]},
            {"instances": [{"content": ["a"]}]},
            {"instances": [{"content": "a"}], "parameters": []},
            {"instances": [{"content": "a"}], "parameters": {"outputDimensionality": 0}},
            {"instances": [{"content": "a"}], "parameters": {"outputDimensionality": "many"}},
        ],
        ids=str,
    )
    def test_a_body_that_does_not_fit_is_422(self, ask, body):
        answer = ask(body)

        assert (answer.status, answer.json) == (422, {"detail": "Validation error"})
