"""Promises of POST /v2/code/completions and /v2/completions."""

from __future__ import annotations

import json
import re
import time

import orjson
import pytest

from features import snapshot
from gateway.api import code
from gateway.api.model_fields import ALIASES
from gateway.audit import store
from gateway.audit.models import ContentKind, InferenceContent, InferenceRecord
from models_registry.families import FAMILIES
from models_registry.models import SelfHostedModel
from tests.factories import make_api_key, make_group, make_member, make_model, make_rule
from tests.gateway.api.conftest import COMPLETIONS, USER_TOKEN, post, send, start
from tests.gateway.audit.test_writer import BrokenStore
from tests.rig.backend import TEXT
from tests.rig.gitlab import INSTANCE_ID, USER_ID

DIRECT = "/v2/completions"


@pytest.fixture
def ask(trusted, code_completion_is_on, named):
    """A function that sends a completion as GitLab does and returns the answer."""

    def send_completion(behavior="stub", *, path=COMPLETIONS, headers=None, **changes):
        return post(path, named(behavior, **changes), headers=headers or trusted.headers())

    return send_completion


@pytest.fixture
def house(embedded, backend):
    """The model that an administrator made the default for everyone."""
    model = make_model(
        name="House", family="codegemma", endpoint=backend.endpoint, identifier="house"
    )
    make_rule(model=model)
    snapshot.refresh()
    return model


def record():
    """Return the one record there is."""
    return InferenceRecord.objects.get()


def content(kind):
    return orjson.loads(InferenceContent.objects.get(kind=kind).body)


def file(**changes):
    usual = {"file_name": "app.py", "content_above_cursor": "x = ", "content_below_cursor": ""}
    return {**usual, **changes}


class TestAnswer:
    def test_is_the_reference_s_to_the_byte(self, ask, backend):
        answer = ask()

        body = re.sub(r'"created":\d+', '"created":0', answer.body.decode())
        asked = len(backend.calls[0].raw) // 4
        assert body == (
            '{"id":"id","model":{"engine":"litellm","name":"codegemma","lang":"python",'
            f'"tokens_consumption_metadata":{{"input_tokens":{asked},"output_tokens":16,'
            '"max_output_tokens_used":false,"context_tokens_sent":0,"context_tokens_used":0},'
            '"region":"us-central1"},"experiments":[],"object":"text_completion","created":0,'
            f'"choices":[{{"text":{json.dumps(TEXT)},"index":0,"finish_reason":"length"}}],'
            '"metadata":{"enabled_feature_flags":[]}}'
        )
        assert abs(answer.json["created"] - time.time()) < 60

    def test_is_the_same_under_both_paths(self, ask):
        first, second = ask(), ask(path=DIRECT)

        assert (second.status, second.json["choices"]) == (200, first.json["choices"])

    def test_has_no_choice_where_the_model_says_nothing(self, ask):
        answer = ask("empty")

        assert answer.json["choices"] == []
        assert answer.json["model"]["tokens_consumption_metadata"] is None
        assert record().state == "answered"

    @pytest.mark.parametrize(
        ("header", "flags"), [("a,b", ["a", "b"]), ("b", ["b"]), ("", []), (",a,,", ["a"])]
    )
    def test_gives_gitlab_s_flags_back(self, ask, trusted, header, flags):
        answer = ask(headers=trusted.headers(x_gitlab_enabled_feature_flags=header))

        assert answer.json["metadata"]["enabled_feature_flags"] == flags

    def test_names_the_region(self, ask, settings):
        settings.GATEWAY_REGION = "house"

        assert ask().json["model"]["region"] == "house"

    def test_counts_the_context(self, ask, backend):
        answer = ask(context=[{"type": "file", "name": "a.py", "content": "CONTEXT"}])

        tokens = answer.json["model"]["tokens_consumption_metadata"]
        assert tokens["context_tokens_sent"] == tokens["context_tokens_used"] > 0
        assert "CONTEXT\ndef add" in backend.calls[0].user_message

    def test_estimates_tokens_that_the_model_does_not_report(self, ask):
        tokens = ask("nousage").json["model"]["tokens_consumption_metadata"]

        assert min(tokens["input_tokens"], tokens["output_tokens"]) > 0
        assert record().are_tokens_estimated


class TestUnknownLanguage:
    @pytest.mark.parametrize("stream", [True, False])
    def test_is_answered_empty_without_asking_a_model(self, ask, backend, stream):
        answer = ask(current_file=file(file_name="Makefile"), stream=stream)

        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json["choices"] == []
        assert answer.json["model"]["lang"] == ""
        assert not backend.calls

    def test_is_on_record(self, ask):
        ask(current_file=file(file_name="Makefile"))

        assert (record().state, record().model_calls) == ("answered", 0)
        assert record().error_detail.startswith("The file's language is unknown")

    def test_is_known_where_the_editor_names_it(self, ask, backend):
        named = file(file_name="Makefile", language_identifier="makefile")

        assert ask(current_file=named).json["choices"]
        assert len(backend.calls) == 1


class TestStream:
    def test_is_raw_text(self, ask):
        answer = ask(stream=True)

        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "content-length" not in answer.headers
        assert answer.body.decode() == TEXT

    def test_comes_in_pieces(self, trusted, code_completion_is_on, named):
        begun = start(
            "POST", COMPLETIONS, value=named("slow-5ms", stream=True), headers=trusted.headers()
        )

        pieces = [piece for piece in begun.pieces if piece]

        begun.pieces.close()
        assert len(pieces) > 3
        assert b"".join(pieces).decode() == TEXT

    def test_is_answered_with_an_error_where_it_never_began(self, ask):
        answer = ask("err-401", stream=True)

        assert (answer.status, answer.json["code"]) == (503, "backend_auth")
        assert answer.headers["content-type"] == "application/json"

    def test_that_the_client_leaves_is_cancelled_on_record(
        self, trusted, code_completion_is_on, named, backend
    ):
        body = named("slow-50ms_tokens-200", stream=True)
        begun = start("POST", COMPLETIONS, value=body, headers=trusted.headers())
        received = next(piece for piece in begun.pieces if piece).decode()

        begun.pieces.close()

        backend.wait_for_departure(within_s=3)
        row = closed_record()
        assert (row.state, row.error_code) == ("cancelled", "client_left")
        assert content(ContentKind.ANSWER)["text"].startswith(received)


def closed_record(within_s=5):
    """Return the one record there is, once it is closed."""
    deadline = time.monotonic() + within_s
    while record().closed_at is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return record()


class TestBody:
    """What fits is the reference's, plus the families that it forgot."""

    @pytest.mark.parametrize("family", [*FAMILIES, *ALIASES])
    @pytest.mark.parametrize("provider", code.SELF_HOSTED)
    def test_takes_every_family_that_gitlab_names(self, named, family, provider):
        body = code.FlatBody.model_validate(named(model_name=family, model_provider=provider))

        assert body.as_named().family == ALIASES.get(family, family)

    @pytest.mark.parametrize(
        "changes",
        [
            {"prompt_version": 4},
            {"prompt_version": "x"},
            {"current_file": None},
            {"current_file": file(content_above_cursor=None)},
            {"current_file": file(content_above_cursor="a" * 100_001)},
            {"current_file": file(content_below_cursor="a" * 100_001)},
            {"current_file": file(file_name="a" * 256)},
            {"project_path": "a" * 256},
            {"project_id": "x"},
            {"model_provider": "openai"},
            {"model_name": "unknown", "model_endpoint": None},
            {"model_name": "m" * 51},
            {"model_endpoint": ""},
            {"model_endpoint": "nowhere"},
            {"model_endpoint": "http://" + "a" * 249},
            {"model_api_key": "k" * 2_001},
            {"telemetry": [{}] * 11},
            {"context": [{"type": "a", "name": "b", "content": "c"}] * 101},
            {"context": [{"type": "a", "name": "b"}]},
            {"stream": "maybe"},
        ],
        ids=str,
    )
    def test_refuses_what_does_not_fit(self, trusted, named, changes):
        body = {**named(), **changes}

        answer = post(COMPLETIONS, body, headers=trusted.headers())

        assert (answer.status, answer.json) == (422, {"detail": "Validation error"})

    @pytest.mark.parametrize(
        "changes",
        [
            {"prompt_version": 2, "prompt": "ignored"},
            {"prompt_version": 3, "prompt": None},
            {"choices_count": 0, "intent": "completion", "generation_type": None},
            {"model_metadata": {"provider": "openai", "name": "unknown"}},
            {"model_provider": None, "model_name": "any name passes"},
            {"current_file": file(file_name="  app.py ")},
            {"project_id": "-1"},
        ],
        ids=str,
    )
    def test_ignores_what_does_not_matter(self, named, changes):
        assert code.FlatBody.model_validate({**named(), **changes})


class TestModel:
    """Who chooses it: the group, GitLab, the instance, in this order (decisions.md, 6.)."""

    def test_is_the_one_that_gitlab_names(self, ask, backend):
        answer = ask()

        assert answer.status == 200
        assert backend.calls[0].model == "stub"
        assert backend.calls[0].headers["authorization"] == "Bearer sk-canary-key"
        assert record().model_name == "discovered: custom_openai/stub (codegemma)"

    def test_that_gitlab_names_goes_before_the_default(self, house, trusted, named, backend):
        post(COMPLETIONS, named("named"), headers=trusted.headers())

        assert backend.calls[0].model == "named"

    def test_is_the_default_for_an_editor_that_names_none(
        self, house, trusted, unnamed, backend, signing_key
    ):
        token = send("POST", USER_TOKEN, headers=trusted.headers()).json["token"]
        headers = trusted.headers(token, content_type=" application/json")

        answer = post(DIRECT, unnamed(project_id=-1, choices_count=0), headers=headers)

        assert answer.status == 200
        assert answer.json["model"]["engine"] == "litellm"
        assert answer.json["model"]["name"] == "codegemma"
        assert backend.calls[0].model == "house"
        assert (record().caller_kind, record().global_user_id) == ("user", USER_ID)

    @pytest.mark.parametrize(
        "provider", ["anthropic", "vertex-ai", "fireworks_ai", "amazon_q", "gitlab"]
    )
    def test_is_the_default_where_gitlab_means_the_vendor_s(
        self, house, trusted, named, backend, provider
    ):
        body = named(model_provider=provider, model_name="claude-x", model_endpoint="http://evil")

        answer = post(COMPLETIONS, body, headers=trusted.headers())

        assert answer.status == 200
        assert (answer.json["model"]["engine"], answer.json["model"]["name"]) == (
            provider,
            "claude-x",
        )
        assert backend.calls[0].model == "house"
        assert SelfHostedModel.objects.count() == 1

    def test_of_the_group_goes_before_the_one_that_gitlab_names(
        self, house, trusted, named, backend
    ):
        group = make_group(gitlab_id=7)
        own = make_model(endpoint=backend.endpoint, identifier="own", family="codegemma")
        make_rule(group, model=own)
        snapshot.refresh()

        answer = post(
            COMPLETIONS, named("named"), headers=trusted.headers(x_gitlab_namespace_id="7")
        )

        assert answer.status == 200
        assert backend.calls[0].model == "own"
        assert record().group_path == group.path
        assert not SelfHostedModel.objects.filter(identifier__contains="named").exists()

    def test_cannot_be_named_by_an_api_key(self, house, named, backend):
        _, text = make_api_key()
        snapshot.refresh()
        elsewhere = named("named", model_endpoint="http://169.254.169.254/v1")
        headers = {"Authorization": f"Bearer {text}", "Content-Type": "application/json"}

        answer = post(COMPLETIONS, elsewhere, headers=headers)

        assert answer.status == 200
        assert backend.calls[0].model == "house"
        assert SelfHostedModel.objects.count() == 1
        assert (record().caller_kind, record().instance_id) == ("api_key", "")

    def test_cannot_be_named_by_an_editor(self, house, trusted, named, backend, signing_key):
        token = send("POST", USER_TOKEN, headers=trusted.headers()).json["token"]

        answer = post(COMPLETIONS, named("named"), headers=trusted.headers(token))

        assert answer.status == 200
        assert backend.calls[0].model == "house"

    def test_may_be_kept_out_where_nobody_registered_it(self, ask, backend, settings):
        settings.GATEWAY_UNREGISTERED_MODELS = "refuse"

        answer = ask()

        assert (answer.status, answer.json["code"]) == (403, "unregistered_model")
        assert "GATEWAY_UNREGISTERED_MODELS" in answer.json["detail"]
        assert not backend.calls
        assert (record().state, record().error_code) == ("refused", "unregistered_model")
        assert not SelfHostedModel.objects.exists()

    def test_is_let_in_where_somebody_did(self, ask, backend, settings):
        settings.GATEWAY_UNREGISTERED_MODELS = "refuse"
        make_model(
            endpoint=backend.endpoint,
            identifier="stub",
            family="codegemma",
            api_key="sk-canary-key",
        )
        snapshot.refresh()

        assert ask().status == 200

    def test_is_missing_where_nobody_assigned_one(
        self, trusted, code_completion_is_on, unnamed, backend
    ):
        answer = post(COMPLETIONS, unnamed(), headers=trusted.headers())

        assert (answer.status, answer.json["code"]) == (503, "no_model_assigned")
        assert (record().state, record().error_code) == ("refused", "no_model_assigned")

    def test_that_is_disabled_is_not_asked(self, house, trusted, unnamed, backend):
        house.state = "disabled"
        house.save()
        snapshot.refresh()

        answer = post(COMPLETIONS, unnamed(), headers=trusted.headers())

        assert (answer.status, answer.json["code"]) == (503, "no_active_model")
        assert answer.json["detail"] == "Model 'House' is disabled."
        assert not backend.calls


class TestPolicy:
    """A group with the feature, one without, and a stranger."""

    def test_off_is_403_and_names_the_rule(self, ask, backend, trusted):
        make_rule(make_group("payments", gitlab_id=7), state="off")
        snapshot.refresh()

        answer = ask(headers=trusted.headers(x_gitlab_namespace_id="7"))

        assert answer.status == 403
        assert answer.json == {"detail": "group 'payments': off", "code": "feature_disabled"}
        assert not backend.calls

    def test_a_refusal_is_on_record(self, ask, trusted):
        make_rule(make_group("payments", gitlab_id=7), state="off")
        snapshot.refresh()
        headers = trusted.headers(
            x_gitlab_namespace_id="7", x_gitlab_user_id="42", x_request_id="abc/1"
        )

        ask(headers=headers)

        row = record()
        assert (row.state, row.error_code) == ("refused", "feature_disabled")
        assert row.error_detail == "group 'payments': off"
        assert (row.instance_id, row.user_id, row.correlation_id) == (INSTANCE_ID, "42", "abc/1")
        assert (row.feature, row.endpoint) == ("code_completions", COMPLETIONS)
        assert row.closed_at is not None
        assert not InferenceContent.objects.exists()

    def test_a_member_of_a_group_with_the_feature_is_served(
        self, embedded, trusted, named, backend
    ):
        group = make_group()
        make_rule(group)
        make_member(group, USER_ID)
        snapshot.refresh()

        assert post(COMPLETIONS, named(), headers=trusted.headers()).status == 200

    def test_a_stranger_is_not(self, embedded, trusted, named, backend):
        group = make_group()
        make_rule(group)
        make_member(group, USER_ID)
        snapshot.refresh()
        headers = trusted.headers(x_gitlab_global_user_id="somebody else")

        answer = post(COMPLETIONS, named(), headers=headers)

        assert (answer.status, answer.json["detail"]) == (403, "nothing configured: off")

    def test_the_token_must_allow_it(self, ask, trusted, backend):
        answer = ask(headers=trusted.headers(trusted.named_token("only_duo_chat")))

        assert answer.status == 403
        assert answer.json == {"detail": "Unauthorized to access code completions"}
        assert not InferenceRecord.objects.exists()


class TestRecord:
    def test_is_one_for_each_call_and_holds_the_pair(self, ask, trusted, backend):
        ask(headers=trusted.headers(x_request_id="abc/1"))

        row = record()
        assert (row.state, row.correlation_id, row.model_calls) == ("answered", "abc/1", 1)
        assert row.queue_ms <= row.total_ms
        asked, answered = content(ContentKind.REQUEST), content(ContentKind.ANSWER)
        assert asked["inputs"]["prefix"] == "def add(a, b):\n    "
        assert asked["prompt"]["messages"][-1]["content"] == backend.calls[0].user_message
        assert answered["text"] == TEXT

    def test_is_there_before_a_model_is_asked(self, ask, backend, monkeypatch):
        monkeypatch.setattr(store, "for_connection", BrokenStore)

        answer = ask()

        assert (answer.status, answer.json["code"]) == (503, "audit_unavailable")
        assert answer.headers["retry-after"] == "2"
        assert not backend.calls

    @pytest.mark.parametrize("stream", [True, False])
    def test_that_cannot_be_written_stops_streams_and_refusals_too(
        self, ask, backend, monkeypatch, stream
    ):
        monkeypatch.setattr(store, "for_connection", BrokenStore)

        statuses = [
            ask(stream=stream).status,
            ask(stream=stream, current_file=file(file_name="Makefile")).status,
        ]

        assert statuses == [503, 503]
        assert not backend.calls

    def test_fits_a_path_of_any_length(self, ask):
        answer = ask(path=f"{'/' * 3_000}v2/code/completions")

        assert answer.status == 200
        assert len(record().endpoint) <= 100

    def test_costs_the_web_side_no_query(self, ask, django_assert_num_queries):
        ask()

        with django_assert_num_queries(0):
            answers = [ask().status, ask(stream=True).status]

        assert answers == [200, 200]


class TestSecrets:
    def test_stand_in_no_log_line_no_answer_and_no_column(self, ask, backend, caplog):
        caplog.set_level("DEBUG")

        answers = [ask(name).body for name in ("stub", "err-401", "garbage", "refuse")]

        seen = b"".join(answers).decode() + "".join(str(vars(line)) for line in caplog.records)
        rows = str(list(InferenceRecord.objects.values())) + str(
            list(InferenceContent.objects.values())
        )
        assert "sk-canary-key" not in seen + rows
        assert f"127.0.0.1:{backend.port}" not in seen
        assert "the script says" not in seen
        stored = SelfHostedModel.objects.values_list("api_key", flat=True)
        assert "sk-canary-key" not in str(list(stored))
