"""Promises of POST /v1/embeddings/code_embeddings; what it has in common is tested beside it."""

from __future__ import annotations

import pytest

from features import snapshot
from features.models import FeatureRule
from models_registry.models import SelfHostedModel
from tests.factories import make_api_key, make_model, make_rule
from tests.gateway.api.conftest import post, send
from tests.gateway.conftest import record
from tests.rig.backend import vector_of

BARE = "/v1/embeddings/code_embeddings"
PATHS = (BARE, f"{BARE}/index", f"{BARE}/search")


@pytest.fixture
def ask(trusted, embedded, metadata):
    """A function that has texts embedded as GitLab does, by the model that it names."""
    make_rule(feature="embeddings_code")
    snapshot.refresh()

    def send_body(behavior="stub", *, path=BARE, headers=None, model=None, **changes):
        named = metadata(behavior, **{"provider": "litellm", "name": "embedding", **(model or {})})
        named = {key: value for key, value in named.items() if value is not None}
        body = {"contents": ["def a(): pass", "class B: pass"], "model_metadata": named, **changes}
        return post(path, body, headers=headers or trusted.headers())

    return send_body


class TestAnswer:
    @pytest.mark.parametrize("path", PATHS)
    def test_is_a_vector_for_each_text(self, ask, path):
        answer = ask(path=path)

        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json == {
            "model": {
                "engine": "litellm_embedding",
                "name": "embedding",
                "identifier": "custom_openai/stub",
            },
            "predictions": [
                {"embedding": vector_of("def a(): pass"), "index": 0},
                {"embedding": vector_of("class B: pass"), "index": 1},
            ],
        }
        assert record().endpoint == path

    @pytest.mark.parametrize(
        ("identifier", "served"),
        [
            ("custom_openai/bge-m3", "bge-m3"),
            ("openai/bge-m3", "bge-m3"),
            ("hosted_vllm/BAAI/bge-m3", "BAAI/bge-m3"),
            ("BAAI/bge-m3", "BAAI/bge-m3"),
            ("bge-m3", "bge-m3"),
            ("", "embedding"),
        ],
    )
    def test_comes_of_the_model_that_is_named(self, ask, backend, identifier, served):
        answer = ask(model={"identifier": identifier})

        assert answer.json["model"]["identifier"] == identifier
        assert backend.calls[0].model == served
        assert backend.calls[0].headers["authorization"] == "Bearer sk-canary-key"
        assert SelfHostedModel.objects.get().family == "embedding"

    def test_has_the_length_that_is_asked_for(self, ask, backend):
        answer = ask(dimensions=3)

        assert [len(item["embedding"]) for item in answer.json["predictions"]] == [3, 3]
        assert backend.calls[0].body["dimensions"] == 3

    @pytest.mark.parametrize(("drops", "status"), [(True, 200), (False, 503), (None, 503)])
    def test_may_have_another_where_the_parameter_may_be_dropped(self, ask, drops, status):
        assert ask("fixed-length", dimensions=3, litellm_drop_params=drops).status == status

    def test_names_no_address_for_an_api_key(self, ask, backend):
        house = make_model(family="embedding", endpoint=backend.endpoint, identifier="house")
        FeatureRule.objects.update(model=house)
        _, text = make_api_key()
        snapshot.refresh()
        headers = {"Authorization": f"Bearer {text}", "Content-Type": "application/json"}

        assert ask(headers=headers).status == 200
        assert [call.model for call in backend.calls] == ["house"]


class TestRefusals:
    def test_needs_credentials(self):
        assert send("POST", BARE).status == 401

    def test_the_token_must_allow_it(self, ask, trusted, backend):
        answer = ask(headers=trusted.headers(trusted.named_token("only_duo_chat")))

        assert (answer.status, answer.json) == (
            403,
            {"detail": "Unauthorized to generate embeddings"},
        )
        assert not backend.calls

    @pytest.mark.parametrize(
        ("model", "detail"),
        [
            ({"provider": "openai"}, "Allowed providers are: gitlab|litellm."),
            ({"provider": ""}, "Allowed providers are: gitlab|litellm."),
            ({"name": None}, "Model `name` must be set when using `litellm` provider."),
            ({"name": ""}, "Model `name` must be set when using `litellm` provider."),
            (
                {"name": "general"},
                "Model `name` must be 'embedding' when using `litellm` provider.",
            ),
            ({"endpoint": None}, "Model `endpoint` must be set when using `litellm` provider."),
            ({"endpoint": ""}, "Model `endpoint` must be set when using `litellm` provider."),
            (
                {"endpoint": "nowhere"},
                "Error creating the model_metadata: endpoint: must be an absolute URL.",
            ),
            (
                {"api_key": "k" * 2_001},
                "Error creating the model_metadata: api_key: "
                "String should have at most 2000 characters.",
            ),
            (
                {"identifier": "i" * 1_001},
                "Error creating the model_metadata: identifier: "
                "String should have at most 1000 characters.",
            ),
        ],
        ids=str,
    )
    def test_say_what_is_wrong_with_the_model(self, ask, model, detail):
        answer = ask(model=model)

        assert (answer.status, answer.json) == (422, {"detail": detail})

    @pytest.mark.parametrize(
        "changes",
        [
            {"contents": None},
            {"contents": []},
            {"contents": "text"},
            {"contents": [None]},
            {"contents": [1]},
            {"contents": [["a"]]},
            {"contents": {"0": "a"}},
            {"model_metadata": None},
            {"model_metadata": []},
            {"model_metadata": "x"},
            {"model_metadata": {}},
            {"model_metadata": {"provider": "litellm", "name": "embedding"}},
            {"model_metadata": {"provider": 1, "identifier": "x"}},
            {"dimensions": 0},
            {"dimensions": -1},
            {"dimensions": 65_537},
            {"dimensions": 1.5},
            {"dimensions": "many"},
            {"litellm_drop_params": "maybe"},
        ],
        ids=str,
    )
    def test_a_body_that_does_not_fit_is_422(self, ask, changes):
        answer = ask(**changes)

        assert (answer.status, answer.json) == (422, {"detail": "Validation error"})

    @pytest.mark.parametrize(
        "endpoint", ["http://169.254.169.254/v1", "ftp://h/v1", "http://a\0b/v1"]
    )
    def test_an_address_that_may_not_be_reached_is_not_dialed(self, ask, endpoint):
        answer = ask(model={"endpoint": endpoint})

        assert (answer.status, answer.json["code"]) == (503, "model_misconfigured")
        assert "169.254" not in answer.json["detail"]

    @pytest.mark.parametrize("path", [f"{BARE}/", f"{BARE}/delete", "/v1/embeddings"])
    def test_there_is_no_other_path(self, trusted, path):
        assert post(path, {}, headers=trusted.headers()).status == 404
