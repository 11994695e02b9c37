"""Promises of POST /v2/code/generations: GitLab 16 and 17 get code, in whatever shape they ask."""

import pytest

from features import snapshot
from gateway.audit.models import InferenceRecord
from models_registry.families import FAMILIES
from tests.factories import make_model, make_rule
from tests.gateway.api.conftest import USER_TOKEN, post
from tests.rig.backend import TEXT

PATH = "/v2/code/generations"
PROMPT_ID = "code_suggestions/generations"


@pytest.fixture
def ask(trusted, embedded, named):
    """A function that sends a body as GitLab 17 does and returns the answer."""
    make_rule(feature="code_generations")
    snapshot.refresh()

    def send(behavior="stub", *, headers=None, **changes):
        usual = {"prompt_version": 2, "prompt": "words of GitLab", "prompt_id": PROMPT_ID}
        body = named(behavior, **{**usual, **changes})
        return post(PATH, body, headers=headers or trusted.headers())

    return send


class TestCodeGenerations:
    def test_is_answered_and_recorded(self, ask):
        # Recordings v2gen-family-*.
        reply = ask(current_file=file("def add(a, b):\n"), model_name="mistral")

        assert reply.status == 200
        assert isinstance(reply.json["created"], int)
        assert reply.json | {"created": 0} == {
            "id": "id",
            "model": {
                "engine": "agent",
                "name": "Mistral 7B Code Generations",
                "lang": "python",
                "tokens_consumption_metadata": None,
                "region": "us-central1",
            },
            "experiments": [],
            "object": "text_completion",
            "created": 0,
            "choices": [{"text": TEXT, "index": 0, "finish_reason": "length"}],
            "metadata": {"enabled_feature_flags": []},
        }
        record = InferenceRecord.objects.get()
        assert (record.feature, record.endpoint) == ("code_generations", PATH)

    @pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"embedding"}))
    def test_serves_every_family(self, ask, family):
        reply = ask(model_name=family)

        assert (reply.status, len(reply.json["choices"])) == (200, 1)

    def test_begins_a_line_of_its_own(self, ask, backend):
        backend.answer("bare", "return a + b")

        reply = ask("bare", current_file=file("# add two numbers"))

        assert reply.json["choices"][0]["text"] == "\nreturn a + b"

    def test_repeats_no_comment_that_is_there_already(self, ask, backend):
        backend.answer("echoing", "# add two numbers\n", "def add(a, b):\n")

        reply = ask("echoing", current_file=file("# add two numbers\n"))

        assert reply.json["choices"][0]["text"] == "def add(a, b):\n"

    def test_streams_raw_text_line_by_line(self, ask, backend):
        backend.answer("wrapped", "```python\n", "x =", " 1\n", "```")

        reply = ask("wrapped", stream=True)

        assert (reply.status, reply.body.decode()) == (200, "x = 1\n")
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"

    def test_is_refused_without_its_scope(self, ask, trusted):
        headers = trusted.headers(trusted.token(scopes=["complete_code"]))

        reply = ask(headers=headers)

        assert reply.status == 403
        assert reply.json == {"detail": "Unauthorized to access code generations"}

    def test_is_refused_to_an_editors_own_token(self, ask, trusted, signing_key):
        token = post(USER_TOKEN, {}, headers=trusted.headers()).json["token"]

        assert ask(headers=trusted.headers(token)).status == 403

    def test_failures_are_json(self, ask):
        reply = ask("err-500")

        assert (reply.status, reply.json["code"]) == (503, "backend_failed")


class TestPromptVersions:
    def test_1_has_no_prompt(self, ask, backend):
        # Recording v2gen-pv1.
        reply = ask(prompt_version=1, prompt=None)

        assert reply.status == 200
        assert "words of GitLab" not in backend.calls[0].user_message

    def test_2_with_a_prompts_id_leaves_the_words_to_us(self, ask, backend):
        # Fixture 041.
        assert ask().status == 200
        assert "words of GitLab" not in backend.calls[0].user_message

    def test_2_without_a_prompts_id_brings_the_words(self, ask, backend):
        # Recording v2gen-legacy-litellm-pv2.
        reply = ask(prompt_id=None)

        assert reply.json["model"]["engine"] == "litellm"
        assert reply.json["model"]["name"] == "custom_openai/codegemma"
        assert "words of GitLab" in backend.calls[0].user_message

    def test_2_may_bring_an_empty_text(self, ask):
        assert ask(prompt="").status == 200

    @pytest.mark.parametrize("prompt_id", [PROMPT_ID, None])
    def test_3_brings_messages(self, ask, backend, prompt_id):
        # Recordings v2gen-pv3, v2gen-legacy-litellm-stream; fixture 042.
        turns = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Write it"}]

        reply = ask(prompt_version=3, prompt=turns, prompt_id=prompt_id)

        assert reply.status == 200
        assert "Be brief\n\nWrite it" in backend.calls[0].user_message

    @pytest.mark.parametrize(
        "changes",
        [
            {"prompt_version": 2, "prompt": None},
            {"prompt_version": 2, "prompt": [{"role": "user", "content": "x"}]},
            {"prompt_version": 3, "prompt": None},
            {"prompt_version": 3, "prompt": "x"},
            {"prompt_version": 3, "prompt": [{"role": "robot", "content": "x"}]},
            {"prompt_version": 3, "prompt": [{"role": "user"}]},
            {"prompt_version": 4},
            {"current_file": None},
            {"model_name": "nosuchmodel", "model_endpoint": None},
            {"model_endpoint": "x"},
            {"prompt_id": 5},
        ],
    )
    def test_that_do_not_fit_are_refused(self, ask, changes):
        reply = ask(**changes)

        assert (reply.status, reply.json) == (422, {"detail": "Validation error"})

    def test_of_another_prompt_are_refused(self, ask):
        reply = ask(prompt_id="chat/explain_code")

        assert (reply.status, reply.json["code"]) == (400, "prompt_not_found")


class TestModel:
    def test_may_be_named_by_metadata(self, ask, backend, unnamed, trusted):
        body = unnamed(prompt_id=PROMPT_ID) | {
            "model_metadata": {
                "provider": "openai",
                "name": "llama3",
                "endpoint": backend.endpoint,
                "identifier": "custom_openai/metadata",
            }
        }

        reply = post(PATH, body, headers=trusted.headers())

        assert reply.json["model"]["name"] == "LLaMA3 Code Generations"
        assert backend.calls[0].model == "metadata"

    @pytest.mark.parametrize("named_by", [{}, {"model_provider": "gitlab", "model_name": ""}])
    def test_is_the_assigned_one_where_none_is_named(
        self, embedded, trusted, backend, unnamed, named_by
    ):
        # Recording v2gen-nomodel (500), fixture 044.
        house = make_model(endpoint=backend.endpoint, identifier="house", family="gpt")
        make_rule(feature="code_generations", model=house)
        snapshot.refresh()

        reply = post(PATH, unnamed(**named_by), headers=trusted.headers())

        assert reply.status == 200
        assert reply.json["model"]["engine"] == "agent"
        assert reply.json["model"]["name"] == "GPT Code Generations"
        assert backend.calls[0].model == "house"


def file(above):
    return {"file_name": "app.py", "content_above_cursor": above, "content_below_cursor": ""}
