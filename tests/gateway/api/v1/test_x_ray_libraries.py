"""Promises of POST /v1/x-ray/libraries."""

from __future__ import annotations

import pytest

from features import snapshot
from tests.factories import make_model, make_rule
from tests.gateway.api.conftest import post, send
from tests.gateway.conftest import content_of, record

X_RAY = "/v1/x-ray/libraries"
QUESTION = 'What are these gems for? Answer: {"libraries": [{"name", "description"}]}'


def body_of(payload=None, **component):
    payload = {"prompt": QUESTION, "provider": "anthropic", "model": "claude-2.1"} | (payload or {})
    return {
        "prompt_components": [
            {"type": "x_ray_package_file_prompt", "payload": payload, **component}
        ]
    }


@pytest.fixture
def model(embedded, backend):
    """A function that puts a model of the scripted backend in charge of Code Generation."""

    def use(behavior="stub"):
        model = make_model(endpoint=backend.endpoint, identifier=behavior, family="general")
        make_rule(feature="code_generations", model=model)
        snapshot.refresh()
        return model

    return use


@pytest.fixture
def ask(trusted):
    """A function that sends a body as a CI job does, by way of GitLab."""

    def send_body(body, *, path=X_RAY, headers=None):
        return post(path, body, headers=headers or trusted.headers())

    return send_body


class TestAnswer:
    def test_is_the_json_that_was_asked_for(self, ask, model, backend):
        served = model("fenced")
        backend.answer("fenced", "```json\n", '{"libraries": []}', "\n```")

        answer = ask(body_of())

        assert (answer.status, answer.json) == (200, {"response": '{"libraries": []}'})
        assert backend.calls[0].user_message == QUESTION
        row = record()
        assert (row.feature, row.model_id, row.state) == ("x_ray_libraries", served.pk, "answered")
        assert content_of(row)["inputs"] == {"prompt": QUESTION}

    @pytest.mark.parametrize("path", [X_RAY, f"/ai{X_RAY}", f"/{X_RAY}"])
    def test_comes_under_every_spelling_of_the_path(self, ask, model, path):
        model()

        assert ask(body_of(), path=path).status == 200

    @pytest.mark.parametrize(
        "body",
        [
            body_of(),
            body_of(metadata={"scannerVersion": "0.7.0"}),
            {"prompt_components": [{"payload": "test"}]},
            {"prompt_components": [{"payload": {"prompt": ""}}], "unknown": 1},
        ],
        ids=str,
    )
    def test_comes_to_whatever_a_job_sends(self, ask, model, body):
        model()

        assert ask(body).status == 200

    @pytest.mark.parametrize("scope", ["generate_code", "complete_code"])
    def test_is_for_those_who_may_have_code_written(self, ask, model, trusted, scope):
        model()

        headers = trusted.headers(trusted.token(scopes=[scope]))

        assert ask(body_of(), headers=headers).status == 200


class TestRefusals:
    def test_needs_credentials(self):
        assert send("POST", X_RAY).status == 401

    def test_the_token_must_allow_it(self, ask, trusted):
        answer = ask(body_of(), headers=trusted.headers(trusted.named_token("only_duo_chat")))

        assert (answer.status, answer.json) == (403, {"detail": "Unauthorized to access X-Ray"})

    def test_is_off_where_code_generation_is(self, ask, embedded):
        snapshot.refresh()

        answer = ask(body_of())

        assert (answer.status, answer.json["code"]) == (403, "feature_disabled")

    def test_says_that_the_model_failed(self, ask, model):
        model("err-500")

        answer = ask(body_of())

        assert (answer.status, answer.json["code"]) == (503, "backend_failed")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            [],
            {"prompt_components": None},
            {"prompt_components": []},
            {"prompt_components": [{}]},
            {"prompt_components": [None]},
            {"prompt_components": body_of()["prompt_components"] * 2},
            body_of(type="prompt"),
            body_of({"prompt": None}),
            body_of({"prompt": 5}),
            body_of({"prompt": "x" * 400_001}),
            body_of(metadata=[]),
            body_of(metadata={"a": 1}),
            body_of(metadata={"a" * 101: "b"}),
            body_of(metadata={"a": "b" * 256}),
            body_of(metadata={str(number): "" for number in range(11)}),
        ],
        ids=lambda body: str(body)[:60],
    )
    def test_a_body_that_does_not_fit_is_422(self, ask, body):
        answer = ask(body)

        assert (answer.status, answer.json) == (422, {"detail": "Validation error"})

    def test_is_no_prompt_that_can_be_asked_by_its_id(self, trusted):
        answer = post("/v1/prompts/x_ray/libraries", {"inputs": {}}, headers=trusted.headers())

        assert (answer.status, answer.json["code"]) == (400, "prompt_not_found")
