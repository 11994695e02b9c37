"""Promises of POST /v1/prompts/<id>: every prompt that Rails calls, as Rails calls and reads it."""

import json
import re
from contextlib import closing
from datetime import date

import pytest
from django.utils import timezone

from features.catalog import PROMPTS
from gateway.audit.models import ContentKind, InferenceContent, InferenceRecord
from gateway.errors import StreamBroken
from prompts import library
from tests.gateway.api.prompts import EXPLAIN, SELECTION, Asker
from tests.prompts.samples import ANSWERS, INPUTS
from tests.rig import rails
from tests.rig.backend import TEXT

BY_SLUG = {prompt.slug: prompt.wire_id for prompt in PROMPTS.values()}
# The connection test has a file of its own.
IDS = sorted(
    id
    for id, prompt in PROMPTS.items()
    if not prompt.has_own_route and id != "model_configuration/check"
)
DIFF = {"diff": "+x = 2"}
COMMIT = "generate_commit_message"


@pytest.fixture
def ask(embedded, trusted, backend):
    """A function that sends a prompt as GitLab does, with every feature on."""
    asker = Asker("v1", trusted, backend)
    asker.switch_on()
    return asker


def needed(prompt_id):
    """Return the inputs that a caller must give."""
    return list(library.get_definition(PROMPTS[prompt_id].slug, "general").inputs)


def answer_of(ask, backend, slug, *, stream):
    """Return what GitLab gets of an answer that comes in lines."""
    backend.answer(slug, *ANSWERS[slug].splitlines(keepends=True))
    reply = ask(BY_SLUG[slug], INPUTS[slug], behavior=slug, stream=stream)
    return reply.body.decode() if stream else reply.json


def content_of(record):
    row = InferenceContent.objects.get(record_id=record.pk, kind=ContentKind.REQUEST)
    return json.loads(row.body)


class TestEveryPrompt:
    """One test asks all prompts: starting the gateway anew for each would take a minute."""

    def test_is_answered_by_a_bare_json_string(self, ask):
        replies = {id: ask(id, INPUTS[PROMPTS[id].slug]) for id in IDS}

        wanted = (200, json.dumps(TEXT).encode(), "application/json")
        assert {
            id: (reply.status, reply.body, reply.headers["content-type"])
            for id, reply in replies.items()
        } == dict.fromkeys(IDS, wanted)

    def test_streams_raw_text_and_nothing_else(self, ask):
        replies = {id: ask(id, INPUTS[PROMPTS[id].slug], stream=True) for id in IDS}

        wanted = (200, TEXT.encode(), "text/event-stream; charset=utf-8")
        assert {
            id: (reply.status, reply.body, reply.headers["content-type"])
            for id, reply in replies.items()
        } == dict.fromkeys(IDS, wanted)

    def test_is_refused_without_its_permission(self, ask, trusted):
        headers = trusted.headers(trusted.token(scopes=["other"]))

        replies = {id: ask(id, {}, headers=headers) for id in IDS}

        assert {id: (reply.status, reply.json["detail"]) for id, reply in replies.items()} == {
            id: (403, f"Unauthorized to access '{id}'") for id in IDS
        }

    @pytest.mark.parametrize("stream", [False, True])
    def test_names_every_input_that_is_missing(self, ask, stream):
        replies = {id: ask(id, {}, stream=stream) for id in IDS}

        assert {
            id: (reply.status, reply.json["code"], re.findall(r"'(\w+)'", reply.json["detail"]))
            for id, reply in replies.items()
        } == {id: (422, "missing_input", needed(id)) for id in IDS}

    def test_leaves_a_record_that_names_feature_and_prompt(self, ask):
        replies = [ask(id, INPUTS[PROMPTS[id].slug]) for id in IDS]

        records = InferenceRecord.objects.values_list(
            "endpoint", "state", "feature", "prompt_version"
        )
        assert len(replies) == len(IDS)
        assert sorted(records) == sorted(
            (
                f"/v1/prompts/{id}",
                "answered",
                PROMPTS[id].feature,
                f"built-in/{PROMPTS[id].slug}/default@1.0.0",
            )
            for id in IDS
        )


class TestAnswersThatRailsParses:
    @pytest.mark.parametrize("stream", [False, True])
    def test_reach_gitlab_as_the_model_wrote_them(self, ask, backend, stream):
        got = {slug: answer_of(ask, backend, slug, stream=stream) for slug in ANSWERS}

        assert got == ANSWERS

    def test_are_read_after_a_models_reasoning_was_taken_out(self, ask, backend):
        answer = ANSWERS["chat_issue_reader"]
        backend.answer("scripted", "<think>", "```json {}```", "</think>", "\n\n", answer)

        reply = ask(
            "chat/issue_reader", INPUTS["chat_issue_reader"], behavior="scripted", stream=True
        )

        assert rails.parse_identifier(reply.body.decode()) == ("iid", "12")


class TestInputs:
    def test_may_be_anything_that_json_can_say(self, ask, backend):
        inputs = {
            "question": "How?",
            "content_id": "ATTRS",
            "documents": [
                {"id": "1", "content": "One.", "metadata": {"title": "T"}},
                {"id": 2, "content": "Two."},
            ],
        }

        reply = ask("chat/documentation_search", inputs, stream=True)

        assert reply.status == 200
        message = backend.calls[0].user_message
        assert '<document id="CNT-IDX-1">\nOne.\n</document>' in message
        assert '<document id="CNT-IDX-2">\nTwo.\n</document>' in message

    def test_that_are_null_or_empty_are_given(self, ask, backend):
        inputs = {"question": "What?", "previous_answer": None}

        reply = ask("categorize_question", inputs)

        assert reply.status == 200
        assert "previous_answer" not in backend.calls[0].user_message

    def test_that_nobody_knows_are_ignored(self, ask, backend):
        reply = ask(COMMIT, {**DIFF, "more": "SURPRISE"})

        assert reply.status == 200
        assert "SURPRISE" not in backend.calls[0].raw.decode()

    def test_are_never_read_as_a_template(self, ask, backend):
        # prompts-jinja-input
        ask(COMMIT, {"diff": "{{ 7*7 }}{% raw %}{{diff}}"})

        assert "{{ 7*7 }}{% raw %}{{diff}}" in backend.calls[0].user_message

    def test_that_are_no_object_are_refused(self, ask):
        # prompts-inputs-null
        replies = [ask(inputs=inputs) for inputs in ("text", ["list"], 7)]

        assert {(r.status, r.body) for r in replies} == {(422, b'{"detail":"Validation error"}')}

    def test_that_are_too_long_are_cut_and_the_record_says_so(self, ask, backend):
        metadata = ask.metadata(name="codegemma")

        reply = ask(COMMIT, {"diff": "+" * 30_000}, model_metadata=metadata)

        assert reply.status == 200
        content = content_of(InferenceRecord.objects.get())
        kept = content["cut"]["diff"]["kept"]
        assert content["cut"] == {"diff": {"kept": kept, "of": 30_000}}
        assert content["inputs"]["diff"] == "+" * kept
        assert "+" * kept in backend.calls[0].user_message
        assert "+" * (kept + 1) not in backend.calls[0].user_message

    def test_that_fit_leave_no_word_of_a_cut(self, ask):
        ask(COMMIT, DIFF)

        assert content_of(InferenceRecord.objects.get()).keys() == {"inputs", "prompt"}

    def test_know_the_date_unless_gitlab_says_it(self, ask, backend, monkeypatch):
        monkeypatch.setattr(timezone, "localdate", lambda: date(2026, 11, 23))
        inputs = INPUTS["review_merge_request"]
        without = {name: value for name, value in inputs.items() if name != "current_date"}

        ask("review_merge_request", without)
        ask("review_merge_request", {**inputs, "current_date": "May 1, 2020"})

        assert "Today is November 23, 2026." in backend.calls[0].user_message
        assert "Today is May 1, 2020." in backend.calls[1].user_message


class TestChecks:
    """The order is the reference's: 401, 422, 400, 403, 422 (gateway-api.md 3.1)."""

    def test_ask_who_calls_before_anything_else(self, ask):
        reply = ask("no/such", "text", headers={"Content-Type": "application/json"})

        assert reply.status == 401

    def test_look_at_the_body_before_the_prompt(self, ask):
        assert ask("no/such", "text").status == 422

    def test_look_at_the_prompt_before_the_permission(self, ask, trusted):
        headers = trusted.headers(trusted.token(scopes=["other"]))

        reply = ask("no/such", {}, headers=headers)

        assert (reply.status, reply.json["code"]) == (400, "prompt_not_found")
        assert "/work" not in reply.json["detail"]

    def test_look_at_the_version_before_the_permission(self, ask, trusted):
        headers = trusted.headers(trusted.token(scopes=["other"]))

        reply = ask(COMMIT, {}, headers=headers, prompt_version="^9.0.0")

        assert reply.status == 400
        assert reply.json == {
            "detail": "No version matching '^9.0.0' (available: ['1.0.0', '1.1.0', '1.2.0'])"
        }

    def test_look_at_the_permission_before_the_inputs(self, ask, trusted):
        headers = trusted.headers(trusted.token(scopes=["other"]))

        assert ask(COMMIT, {}, headers=headers).status == 403

    @pytest.mark.parametrize(
        "prompt_id", ["chat/react", "v1/chat", "chat/agent", "chat%2f..%2fcheck", "x"]
    )
    def test_know_no_prompt_but_those_of_the_catalog(self, ask, prompt_id):
        assert ask(prompt_id).status == 400

    @pytest.mark.parametrize("prompt_id", ["chat%2Fexplain_code", "chat/explain_code/"])
    def test_take_the_slash_however_it_is_written(self, ask, prompt_id):
        assert ask(prompt_id).status == 200

    def test_say_which_rule_refuses(self, embedded, trusted, backend):
        reply = Asker("v1", trusted, backend)(COMMIT, DIFF)

        assert (reply.status, reply.json["code"]) == (403, "feature_disabled")
        record = InferenceRecord.objects.get()
        assert (record.state, record.feature) == ("refused", COMMIT)


class TestVersions:
    @pytest.mark.parametrize("version", [None, "", "^1.0.0", "1.2.0", ">=1,<2", "~1.1", "1.*"])
    def test_are_answered_with_the_one_text_there_is(self, ask, version):
        reply = ask(COMMIT, DIFF, prompt_version=version)

        assert reply.status == 200
        record = InferenceRecord.objects.get()
        assert record.prompt_version == "built-in/generate_commit_message/default@1.0.0"

    def test_may_be_null(self, ask):
        body = {**ask.body(DIFF), "prompt_version": None, "stream": None}

        assert ask.send(COMMIT, body).status == 200

    @pytest.mark.parametrize("version", [7, ["1.0.0"], "1" * 256])
    def test_that_are_no_text_or_far_too_long_are_refused(self, ask, version):
        assert ask(COMMIT, DIFF, prompt_version=version).status == 422


class TestModels:
    def test_named_by_gitlab_serve_the_call(self, ask, backend):
        metadata = ask.metadata("other", name="mistral", api_key="sk-9", extra="ignored")

        reply = ask(model_metadata=metadata)

        assert reply.status == 200
        assert backend.calls[0].model == "other"
        assert backend.calls[0].headers["authorization"] == "Bearer sk-9"

    @pytest.mark.parametrize(
        "metadata",
        [
            None,
            {"provider": "gitlab", "feature_setting": "duo_chat", "identifier": None},
            {"provider": "gitlab", "identifier": "claude_sonnet_4_5_20250929"},
            {"provider": "gitlab", "name": None, "endpoint": None, "identifier": ""},
        ],
    )
    def test_of_the_instance_serve_what_names_none(self, embedded, trusted, backend, metadata):
        ask = Asker("v1", trusted, backend)
        ask.house_model("house")

        reply = ask(model_metadata=metadata)

        assert reply.status == 200
        assert backend.calls[0].model == "house"

    def test_that_are_nowhere_are_a_clear_refusal(self, ask):
        reply = ask(model_metadata=None)

        assert (reply.status, reply.json["code"]) == (503, "no_model_assigned")

    @pytest.mark.parametrize(
        "metadata",
        [
            "text",
            {},
            {"name": "general"},
            {"provider": "openai", "name": "no-such-family"},
            {"provider": "openai", "endpoint": ""},
            {"provider": "openai", "endpoint": "not a url"},
            {"provider": "openai", "identifier": "i" * 1001},
            {"provider": "openai", "api_key": "k" * 2001},
        ],
    )
    def test_that_cannot_be_are_refused(self, ask, metadata):
        reply = ask(model_metadata=metadata)

        assert (reply.status, reply.json) == (422, {"detail": "Validation error"})

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("behavior", "detail"),
        [
            ("err-401", "401: Unauthorized"),
            ("err-429", "429: Too Many Requests"),
            ("err-503", "503: Service Unavailable"),
            ("toolong", "400: Bad Request"),
            ("garbage", "500: Internal Server Error"),
        ],
    )
    def test_that_fail_are_a_421_also_before_a_stream_begins(self, ask, behavior, detail, stream):
        reply = ask(behavior=behavior, stream=stream)

        assert (reply.status, reply.json) == (421, {"detail": detail})

    def test_that_break_off_in_mid_stream_end_no_stream_cleanly(self, ask):
        started = ask.start(behavior="cut-midstream", stream=True)

        with closing(started.pieces), pytest.raises(StreamBroken):
            b"".join(started.pieces)

        assert started.reply.status == 200


class TestReasoning:
    @pytest.mark.parametrize("stream", [False, True])
    def test_is_taken_out_and_the_record_holds_what_was_delivered(self, ask, stream):
        reply = ask(behavior="think", stream=stream)

        text = reply.body.decode() if stream else reply.json
        assert text == TEXT
        record = InferenceRecord.objects.get()
        answer = InferenceContent.objects.get(record_id=record.pk, kind=ContentKind.ANSWER)
        assert json.loads(answer.body)["text"] == TEXT


class TestRoles:
    def test_are_system_and_user_and_no_opened_answer(self, ask, backend):
        ask("chat/issue_reader", INPUTS["chat_issue_reader"])

        messages = backend.calls[0].body["messages"]
        assert [message["role"] for message in messages] == ["system", "user"]

    def test_have_no_system_for_gemma(self, ask, backend):
        ask(EXPLAIN, SELECTION, model_metadata=ask.metadata(name="codegemma"))

        messages = backend.calls[0].body["messages"]
        assert [message["role"] for message in messages] == ["user"]
