"""GitLab's "Test connection": 421 is the one status it takes for "the model server failed".

Source: gateway-api.md 8.2 as facts: what the reference answers for each failure of a model server.
"""

import json

import pytest

from tests.rig.backend import TEXT

PATHS = (
    "/v1/prompts/model_configuration%2Fcheck",
    "/v1/prompts/model_configuration/check",
    "/v1/prompts/model_configuration/check/",
)


def check(replay, model="stub", path=PATHS[0], **fields):
    metadata = {
        "provider": "openai",
        "name": "mistral",
        "endpoint": replay.backend.endpoint,
        "api_key": "token",
        "identifier": f"custom_openai/{model}",
        **fields,
    }
    return replay.gateway.post(
        path, json={"inputs": {}, "model_metadata": metadata}, headers=replay.gitlab.headers()
    )


class TestConnectionTest:
    @pytest.mark.parametrize("path", PATHS)
    def test_takes_the_slash_however_it_is_written(self, replay, path):
        answer = check(replay, path=path)

        assert (answer.status_code, answer.json()) == (200, TEXT)
        assert answer.text == json.dumps(TEXT)

    @pytest.mark.parametrize(
        ("model", "detail"),
        [
            ("err-401", "401: Unauthorized"),
            ("err-403", "403: Forbidden"),
            ("err-404", "404: Not Found"),
            ("err-400", "400: Bad Request"),
            ("toolong", "400: Bad Request"),
            ("err-429", "429: Too Many Requests"),
            ("err-500", "500: Internal Server Error"),
            ("err-503", "503: Service Unavailable"),
            ("garbage", "500: Internal Server Error"),
            ("hang-20", "408: Request Timeout"),
        ],
    )
    def test_repeats_what_the_model_server_said(self, replay, model, detail):
        answer = check(replay, model)

        assert (answer.status_code, answer.json()) == (421, {"detail": detail})

    def test_says_that_the_model_server_cannot_be_reached(self, replay):
        answer = check(replay, endpoint="http://127.0.0.1:9/v1")

        assert answer.status_code == 421
        assert answer.json()["detail"].startswith("503: Service Unavailable")

    def test_answers_before_gitlab_gives_up(self, replay):
        # Of two, because a busy machine may add its own delay to one.
        answers = [check(replay, "hang-20") for _ in range(2)]

        assert min(answer.elapsed.total_seconds() for answer in answers) < 3

    def test_streams_when_asked(self, replay):
        metadata = {
            "provider": "openai",
            "name": "mistral",
            "endpoint": replay.backend.endpoint,
            "identifier": "stub",
        }

        answer = replay.gateway.post(
            PATHS[0],
            json={"inputs": {}, "stream": True, "model_metadata": metadata},
            headers=replay.gitlab.headers(),
        )

        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.text == TEXT

    def test_is_on_record(self, replay):
        check(replay, "err-401")

        record = replay.gateway.records()[-1]
        assert (record["feature"], record["state"], record["error_code"]) == (
            "model_configuration",
            "failed",
            "backend_auth",
        )
