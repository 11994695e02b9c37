"""Promises of POST /v1/prompts/<id>, by the one prompt that needs no rule: "Test connection"."""

from __future__ import annotations

import time

import pytest

from features import snapshot
from gateway.audit import store
from gateway.audit.models import InferenceRecord
from gateway.errors import StreamBroken
from models_registry.models import ModelRevision, SelfHostedModel
from tests.factories import make_api_key, make_model, make_rule
from tests.gateway.api.conftest import CONNECTION_TEST, post, start
from tests.gateway.audit.test_writer import BrokenStore
from tests.rig.backend import TEXT


@pytest.fixture
def check(trusted, embedded, metadata):
    """A function that tests the connection to a model as GitLab does."""

    def send(behavior="stub", *, path=CONNECTION_TEST, headers=None, stream=None, **changes):
        body = {"inputs": {}, "model_metadata": metadata(behavior, **changes), "stream": stream}
        body = {name: value for name, value in body.items() if value is not None}
        return post(path, body, headers=headers or trusted.headers())

    return send


def record():
    """Return the one record there is."""
    return InferenceRecord.objects.get()


class TestAnswer:
    def test_is_a_bare_string(self, check):
        answer = check("answer")

        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json == TEXT

    @pytest.mark.parametrize(
        "path",
        [
            "/v1/prompts/model_configuration/check",
            "/v1/prompts/model_configuration%2Fcheck/",
            "//v1/prompts/model_configuration%2Fcheck",
        ],
    )
    def test_comes_under_every_spelling_of_the_path(self, check, path):
        assert check(path=path).json == TEXT

    def test_is_raw_text_where_a_stream_is_asked_for(self, check):
        answer = check(stream=True)

        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.body.decode() == TEXT

    def test_is_whole_where_no_stream_is_asked_for(self, check):
        assert check(stream=False).json == TEXT

    def test_may_be_empty(self, check):
        answer = check("empty")

        assert (answer.status, answer.body) == (200, b'""')


class TestConnectionTest:
    def test_needs_no_rule_and_is_on_record(self, check, backend):
        check()

        row = record()
        assert (row.state, row.feature) == ("answered", "model_configuration")
        assert row.policy == "'Test connection' needs no rule"
        assert row.endpoint == "/v1/prompts/model_configuration/check"
        assert backend.calls[0].headers["authorization"] == "Bearer sk-canary-key"

    def test_has_an_embedding_model_embed(self, check, backend):
        answer = check(name="embedding")

        assert (answer.status, type(answer.json)) == (200, str)
        assert backend.calls[0].path == "/v1/embeddings"

    @pytest.mark.parametrize("behavior", ["stub", "err-401", "refuse"])
    def test_adopts_no_model(self, check, behavior):
        check(behavior)

        assert not SelfHostedModel.objects.exists()
        assert list(ModelRevision.objects.values_list("model", flat=True)) == [None]

    def test_is_made_although_unregistered_models_are_kept_out(self, check, settings):
        settings.GATEWAY_UNREGISTERED_MODELS = "refuse"

        assert check().status == 200

    def test_asks_the_model_that_is_named_and_no_other(self, check, backend):
        make_rule(model=make_model(endpoint=backend.endpoint, identifier="house"))
        snapshot.refresh()

        check("tested")

        assert [call.model for call in backend.calls] == ["tested"]

    def test_uses_the_key_that_is_sent_with_it(self, check, backend):
        check(api_key="sk-first")
        check(api_key="sk-second")

        sent = [call.headers["authorization"] for call in backend.calls]
        assert sent == ["Bearer sk-first", "Bearer sk-second"]

    @pytest.mark.parametrize("body", [{"inputs": {}}, {"inputs": {}, "model_metadata": None}])
    def test_without_a_model_is_refused_on_record(self, trusted, embedded, body):
        answer = post(CONNECTION_TEST, body, headers=trusted.headers())

        assert (answer.status, answer.json["code"]) == (403, "unregistered_model")
        assert record().state == "refused"

    def test_is_not_for_an_api_key(self, check, backend):
        _, text = make_api_key()
        snapshot.refresh()
        headers = {"Authorization": f"Bearer {text}", "Content-Type": "application/json"}

        answer = check(headers=headers)

        assert answer.status == 403
        assert not backend.calls

    def test_answers_before_gitlab_gives_up(self, check, settings):
        assert settings.GATEWAY_CHECK_DEADLINE_S < 3
        settings.GATEWAY_CHECK_DEADLINE_S = 0.5
        started_at = time.monotonic()

        answer = check("hang-20")

        assert time.monotonic() - started_at < 1.5
        assert (answer.status, answer.json) == (421, {"detail": "408: Request Timeout"})


class TestModelFailure:
    @pytest.mark.parametrize(
        ("behavior", "detail"),
        [
            ("err-401", "401: Unauthorized"),
            ("err-403", "403: Forbidden"),
            ("err-404", "404: Not Found"),
            ("err-400", "400: Bad Request"),
            ("toolong", "400: Bad Request"),
            ("err-429", "429: Too Many Requests"),
            ("err-500", "500: Internal Server Error"),
            ("err-503", "503: Service Unavailable"),
            ("html-502", "502: Bad Gateway"),
            ("garbage", "500: Internal Server Error"),
        ],
    )
    def test_is_421_with_the_model_s_status(self, check, backend, behavior, detail):
        answer = check(behavior)

        assert (answer.status, answer.json) == (421, {"detail": detail})
        assert len(backend.calls) <= 2
        assert record().state == "failed"

    def test_is_421_too_where_a_stream_never_began(self, check):
        answer = check("err-401", stream=True)

        assert (answer.status, answer.json) == (421, {"detail": "401: Unauthorized"})

    def test_passes_on_when_to_ask_again(self, check):
        assert check("err-429").headers["retry-after"] == "7"

    @pytest.mark.parametrize(
        ("endpoint", "begins"),
        [
            ("http://127.0.0.1:9/v1", "503: Service Unavailable. "),
            ("http://169.254.169.254/latest", "403: Forbidden. "),
            ("https://127.0.0.1:9/v1", "503: Service Unavailable. "),
        ],
    )
    def test_says_in_words_what_no_status_says(self, check, endpoint, begins):
        answer = check(endpoint=endpoint)

        assert answer.status == 421
        assert answer.json["detail"].startswith(begins)
        assert "127.0.0.1" not in answer.json["detail"]
        assert "169.254" not in answer.json["detail"]

    @pytest.mark.parametrize("endpoint", ["http://169.254.169.254/v1", "ftp://127.0.0.1/v1"])
    def test_is_421_too_for_an_address_that_cannot_be_used(
        self, trusted, embedded, metadata, endpoint
    ):
        make_rule(feature="generate_commit_message")
        snapshot.refresh()
        body = {"inputs": {"diff": "+1"}, "model_metadata": metadata(endpoint=endpoint)}

        answer = post("/v1/prompts/generate_commit_message", body, headers=trusted.headers())

        assert answer.status == 421
        assert answer.json["detail"].startswith(
            "400: Bad Request. The call names an unusable model."
        )
        assert record().error_code == "model_misconfigured"

    def test_after_the_first_piece_breaks_the_stream(self, trusted, embedded, metadata):
        body = {"inputs": {}, "model_metadata": metadata("cut-midstream"), "stream": True}
        begun = start("POST", CONNECTION_TEST, value=body, headers=trusted.headers())

        with pytest.raises(StreamBroken):
            list(begun.pieces)

        begun.pieces.close()
        assert begun.reply.status == 200


class TestRefusals:
    def test_an_unknown_prompt_is_400(self, trusted):
        answer = post("/v1/prompts/nobody/knows", {"inputs": {}}, headers=trusted.headers())

        assert (answer.status, answer.json["code"]) == (400, "prompt_not_found")

    @pytest.mark.parametrize(
        "path",
        ["/v1/prompts/..%2F..%2Fetc%2Fpasswd", "/v1/prompts/%00", "/v1/prompts/{{7*7}}",
         "/v1/prompts/' OR 1=1", "/v1/prompts/%ff", f"/v1/prompts/{'a' * 4_000}"],
        ids=lambda path: path[:24],
    )  # fmt: skip
    def test_a_prompt_s_id_is_only_looked_up(self, trusted, path):
        assert post(path, {"inputs": {}}, headers=trusted.headers()).status == 400

    def test_the_token_must_allow_it(self, check, trusted, backend):
        answer = check(headers=trusted.headers(trusted.named_token("only_duo_chat")))

        assert answer.status == 403
        assert answer.json == {"detail": "Unauthorized to access 'model_configuration/check'"}
        assert not backend.calls

    @pytest.mark.parametrize(
        "changes",
        [
            {"inputs": None},
            {"inputs": []},
            {"inputs": "text"},
            {"stream": "maybe"},
            {"prompt_version": 1},
            {"model_metadata": []},
            {"model_metadata": {"name": "mistral"}},
            {"model_metadata": {"provider": "openai", "name": "unknown"}},
        ],
        ids=str,
    )
    def test_a_body_that_does_not_fit_is_422(self, trusted, changes):
        answer = post(CONNECTION_TEST, {"inputs": {}, **changes}, headers=trusted.headers())

        assert (answer.status, answer.json) == (422, {"detail": "Validation error"})

    def test_nothing_is_sent_that_cannot_be_recorded(self, check, backend, monkeypatch):
        monkeypatch.setattr(store, "for_connection", BrokenStore)

        answer = check()

        assert (answer.status, answer.json["code"]) == (503, "audit_unavailable")
        assert not backend.calls
