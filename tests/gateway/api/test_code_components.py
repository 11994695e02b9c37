"""Promises of gateway/api/code_components.py, kept by /v3 and /v4 alike."""

import json

import pytest

from features import snapshot
from gateway.audit.models import ContentKind, InferenceContent, InferenceRecord
from tests.factories import make_api_key, make_model, make_rule
from tests.gateway.api.conftest import ABOVE, BELOW, USER_TOKEN, component, context, post
from tests.rig.backend import TEXT

V3, V4 = "/v3/code/completions", "/v4/code/suggestions"
PROMPT_ID = "code_suggestions/generations"

both = pytest.mark.parametrize("path", [V3, V4])


@both
class TestCompletion:
    def test_is_answered_and_recorded(self, suggest, path, backend):
        reply = suggest(path, component("completion"))

        model = {"engine": "openai", "name": "codestral", "lang": "python"}
        timestamp = reply.json["metadata"].pop("timestamp")
        assert reply.status == 200
        assert isinstance(timestamp, int)
        assert reply.json | {"metadata": {}} == {
            "choices": [{"text": TEXT, "index": 0, "finish_reason": "length"}],
            "metadata": {},
            "model": model,
        }
        assert reply.json["metadata"] | {"timestamp": 0} == {
            "model": model,
            "timestamp": 0,
            "enabled_feature_flags": [],
            "region": None,
        }
        record = InferenceRecord.objects.get()
        assert (record.feature, record.endpoint, record.state) == (
            "code_completions",
            path,
            "answered",
        )
        assert backend.calls[0].user_message == f"<s>[SUFFIX]{BELOW}[PREFIX]{ABOVE}"

    def test_returns_the_flags_that_gitlab_sends(self, suggest, trusted, path):
        headers = trusted.headers(**{"X-Gitlab-Enabled-Feature-Flags": "a,b"})

        reply = suggest(path, component("completion"), headers=headers)

        assert sorted(reply.json["metadata"]["enabled_feature_flags"]) == ["a", "b"]

    def test_asks_no_model_about_an_unknown_language(self, suggest, path, backend):
        reply = suggest(path, component("completion", file_name="Noext", language_identifier=None))

        assert (reply.status, reply.json["choices"]) == (200, [])
        assert reply.json["model"] == {"engine": "openai", "name": "codestral", "lang": ""}
        assert backend.calls == []
        assert InferenceRecord.objects.get().state == "answered"

    @pytest.mark.parametrize(
        ("version", "is_used"),
        [
            ("7.17.1", True),
            ("7.40.0", True),
            ("8.0", True),
            ("7.17.1+build.5", True),
            ("7.17.0", False),
            ("7.17.1-rc1", False),
            ("7.17", False),
            ("6.99.99", False),
            ("nonsense", False),
            ("", False),
            ("9" * 300, False),
        ],
    )
    def test_takes_context_from_language_servers_that_ask_for_it(
        self, suggest, trusted, path, backend, version, is_used
    ):
        headers = trusted.headers(**{"X-Gitlab-Language-Server-Version": version})

        reply = suggest(path, component("completion"), context(), headers=headers)

        assert reply.status == 200
        assert ("U = 1" in backend.calls[0].user_message) is is_used

    def test_is_refused_to_an_editors_own_token(self, suggest, trusted, path, signing_key):
        token = post(USER_TOKEN, {}, headers=trusted.headers()).json["token"]

        reply = suggest(path, component("completion"), headers=trusted.headers(token))

        assert reply.status == 403
        assert reply.json == {"detail": "Unauthorized to access code suggestions"}


@both
class TestGeneration:
    def test_is_answered_and_recorded(self, suggest, path, backend):
        reply = suggest(path, component("generation", prompt_id=PROMPT_ID, prompt_version="^1.0.0"))

        assert reply.status == 200
        assert reply.json["choices"] == [{"text": TEXT, "index": 0, "finish_reason": "length"}]
        assert reply.json["model"] == {
            "engine": "agent",
            "name": "Codestral 22B Code Generations",
            "lang": "python",
        }
        assert reply.json["metadata"]["model"] == reply.json["model"]
        assert InferenceRecord.objects.get().feature == "code_generations"
        assert f"{ABOVE}<CURSOR>{BELOW}" in backend.calls[0].user_message

    def test_tells_the_model_what_gitlab_adds(self, suggest, path, backend):
        enhancer = {
            "examples_array": [{"example": "# sub", "response": "<new_code>a-b"}],
            "trimmed_content_above_cursor": "trimmed above\n",
            "trimmed_content_below_cursor": "trimmed below\n",
            "related_files": ['<file_content file_name="u.py">\nX = 1\n</file_content>\n'],
            "related_snippets": "",
            "libraries": ["celery"],
            "user_instruction": "sum it",
        }

        reply = suggest(
            path, component("generation", prompt_id=PROMPT_ID, prompt_enhancer=enhancer)
        )

        assert reply.status == 200
        said = backend.calls[0].user_message
        parts = ("X = 1", "# sub\nAnswer:\na-b", "celery", "trimmed above\n<CURSOR>trimmed below")
        assert [part for part in (*parts, "sum it") if part not in said] == []
        assert "snippets" not in said
        assert ABOVE not in said

    @pytest.mark.parametrize("version", [None, "^1.0.0", "^2.0.1", "9.9.9", "", "nonsense", "*"])
    def test_takes_any_version(self, suggest, path, version):
        # Recording v4gen-unknown-version, where the reference answers 500.
        reply = suggest(path, component("generation", prompt_id=PROMPT_ID, prompt_version=version))

        assert reply.status == 200

    def test_refuses_another_prompt(self, suggest, path, backend):
        reply = suggest(path, component("generation", prompt_id="chat/explain_code"))

        assert (reply.status, reply.json["code"]) == (400, "prompt_not_found")
        assert backend.calls == []

    @pytest.mark.parametrize(
        ("prompt_id", "text"), [(PROMPT_ID, "return a + b"), (None, "\nreturn a + b")]
    )
    def test_begins_a_line_only_where_the_reference_does(
        self, suggest, path, backend, prompt_id, text
    ):
        backend.answer("bare", "return a + b")

        reply = suggest(path, component("generation", prompt_id=prompt_id), model="bare")

        assert reply.json["choices"][0]["text"] == text

    @pytest.mark.parametrize(
        "text",
        [
            "```python\nreturn a + b\n```",
            "<new_code>return a + b\n</new_code>",
            "<think>hm</think>\nreturn a + b\n",
        ],
    )
    def test_is_code_and_nothing_around_it(self, suggest, path, backend, text):
        backend.answer("wrapped", text)

        reply = suggest(path, component("generation", prompt_id=PROMPT_ID), model="wrapped")

        assert reply.json["choices"][0]["text"] == "return a + b\n"
        recorded = InferenceContent.objects.get(kind=ContentKind.ANSWER).body
        assert json.loads(recorded)["text"] == "return a + b\n"

    @pytest.mark.parametrize("model", ["empty", "blank"])
    def test_has_no_choice_where_the_model_wrote_nothing(self, suggest, path, backend, model):
        backend.answer("blank", " \n", "\n")

        reply = suggest(path, component("generation"), model=model)

        assert (reply.status, reply.json["choices"]) == (200, [])

    def test_does_not_need_to_know_the_language(self, suggest, path):
        reply = suggest(path, component("generation", file_name="Noext", language_identifier=None))

        assert (reply.status, reply.json["model"]["lang"]) == (200, "")
        assert reply.json["choices"] != []

    def test_is_refused_without_its_scope(self, suggest, trusted, path, backend):
        # Recording auth-scope-v4gen, where the reference answers 500.
        headers = trusted.headers(trusted.token(scopes=["complete_code"]))

        reply = suggest(path, component("generation"), headers=headers)

        assert reply.status == 403
        assert reply.json == {"detail": "Unauthorized to access code suggestions"}
        assert backend.calls == []


@both
class TestModel:
    @pytest.mark.parametrize("kind", ["completion", "generation"])
    @pytest.mark.parametrize(
        "named",
        [None, {"provider": "gitlab", "identifier": "", "feature_setting": "code_generations"}],
    )
    def test_is_the_assigned_one_where_gitlab_names_none(
        self, trusted, embedded, backend, path, kind, named
    ):
        model = make_model(endpoint=backend.endpoint, identifier="house", family="llama3")
        make_rule(feature=f"code_{kind}s", model=model)
        snapshot.refresh()
        body = {"prompt_components": [component(kind)], "model_metadata": named}

        reply = post(path, body, headers=trusted.headers())

        assert reply.status == 200
        assert [call.model for call in backend.calls] == ["house"]
        assert "llama3" in reply.json["model"]["name"].lower()

    def test_may_be_asked_by_an_api_key_and_is_the_assigned_one(self, embedded, backend, path):
        model = make_model(endpoint=backend.endpoint, identifier="house")
        make_rule(feature="code_generations", model=model)
        _, text = make_api_key()
        snapshot.refresh()

        reply = post(
            path,
            {"prompt_components": [component("generation")]},
            headers={"Authorization": f"Bearer {text}", "Content-Type": "application/json"},
        )

        assert (reply.status, backend.calls[0].model) == (200, "house")

    @pytest.mark.parametrize("family", ["general", "qwen", "gemini", "gpt", "codegemma"])
    @pytest.mark.parametrize("kind", ["completion", "generation"])
    def test_may_be_of_any_family(self, suggest, metadata, path, kind, family):
        reply = suggest(path, component(kind), model_metadata=metadata(name=family))

        assert (reply.status, reply.json["choices"][0]["text"].strip()) == (200, TEXT.strip())


@both
class TestRefusals:
    @pytest.mark.parametrize(
        "components",
        [
            None,
            [],
            {},
            "x",
            [{}],
            [{"type": "zzz", "payload": {}}],
            [component("completion", model_provider="litellm")],
            [component("generation", model_provider="litellm")],
            [component("generation", prompt="x" * 400_001)],
            [component("generation", prompt_enhancer="x")],
            [component("generation", prompt_version=1)],
            [component("completion", content_above_cursor="x" * 100_001)],
            [component("completion", file_name="x" * 256)],
            [component("completion"), context("x" * 100_001)],
            [component("completion")] * 101,
            [{"type": "code_editor_completion"}],
        ],
    )
    def test_bodies_that_do_not_fit(self, trusted, code_is_on, path, components):
        reply = post(path, {"prompt_components": components}, headers=trusted.headers())

        assert (reply.status, reply.json) == (422, {"detail": "Validation error"})

    @pytest.mark.parametrize(
        "changes",
        [
            {"name": "nosuchmodel", "endpoint": None},
            {"endpoint": ""},
            {"endpoint": "x"},
            {"provider": None},
        ],
    )
    def test_metadata_that_does_not_fit(self, suggest, metadata, path, changes):
        reply = suggest(path, component("completion"), model_metadata=metadata(**changes))

        assert (reply.status, reply.json) == (422, {"detail": "Validation error"})

    def test_a_family_that_nobody_knows_is_none_of_them(self, suggest, metadata, path):
        # Recordings v3comp-metadata-bad, v4comp-metadata-bad, where the reference answers 500.
        named = metadata(name="granite")

        reply = suggest(path, component("completion"), model_metadata=named)

        assert (reply.status, reply.json["model"]["name"]) == (200, "granite")
        assert "'granite', served as General" in InferenceRecord.objects.get().policy

    def test_context_that_comes_first_says_so(self, suggest, path, backend):
        # Recording v4comp-context-first, where the reference answers 500.
        reply = suggest(path, context(), component("completion"))

        assert reply.status == 422
        assert reply.json["detail"].startswith("The first component must be code_editor_completion")
        assert backend.calls == []

    @pytest.mark.parametrize("kind", ["completion", "generation"])
    @pytest.mark.parametrize("stream", [False, True])
    def test_of_the_model_are_json_before_the_first_byte(self, suggest, path, kind, stream):
        reply = suggest(path, component(kind, stream=stream), model="err-401")

        assert (reply.status, reply.json["code"]) == (503, "backend_auth")
        assert reply.headers["content-type"] == "application/json"
