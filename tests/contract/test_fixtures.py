"""What GitLab and its editors send is served as they expect, or the difference is listed.

The fixtures (`fixtures/requests.json`) are requests as GitLab 17 to 19 writes them, with facts
about the answer that its code relies on: the status, a body, the keys it reads.
"""

import json
import re

import pytest

from tests.contract.replay import compact, differences, fixtures
from tests.rig.backend import TEXT, vector_of

FIXTURES = fixtures()
DIFFERENT = differences()["fixtures"]
PREFLIGHT = "033_completion_direct_cors_preflight"
COMPLETIONS = ("/v2/code/completions", "/v2/completions")
GENERATIONS = ("/v2/code/generations", "/v3/code/completions", "/v4/code/suggestions")
AGENT = "/v2/chat/agent"
# What GitLab looks for in the message of an error event.
TOO_LONG = "prompt is too long"
SERVED = sorted(
    name
    for name, fixture in FIXTURES.items()
    if fixture["expect"]["status"] == 200 and name not in DIFFERENT
)
REFUSED = sorted(FIXTURES.keys() - set(SERVED) - DIFFERENT.keys() - {PREFLIGHT})


class TestFixtures:
    @pytest.mark.parametrize("name", [n for n in SERVED if FIXTURES[n]["path"] in COMPLETIONS])
    def test_completes_code(self, replay, name):
        reply = replay.send_fixture(FIXTURES[name])

        assert (reply.status, reply.end) == (200, "clean")
        answer = json.loads(reply.text)
        assert [choice["text"] for choice in answer["choices"]] == [TEXT]
        assert answer["choices"][0].keys() == {"text", "index", "finish_reason"}
        assert {"engine", "name", "lang"} <= answer["model"].keys()

    @pytest.mark.parametrize("name", [n for n in SERVED if FIXTURES[n]["path"] in GENERATIONS])
    def test_generates_code(self, replay, name):
        reply = replay.send_fixture(FIXTURES[name])

        assert (reply.status, reply.end) == (200, "clean")
        if FIXTURES[name]["body"].get("stream"):
            assert reply.text == TEXT
        else:
            answer = json.loads(reply.text)
            assert [choice["text"].lstrip("\n") for choice in answer["choices"]] == [TEXT]
            assert answer["choices"][0].keys() == {"text", "index", "finish_reason"}
            assert {"engine", "name", "lang"} <= answer["model"].keys()

    @pytest.mark.parametrize("name", [n for n in SERVED if "/prompts/" in FIXTURES[n]["path"]])
    def test_answers_a_prompt(self, replay, name):
        reply = replay.send_fixture(FIXTURES[name])

        is_streamed = FIXTURES[name]["body"].get("stream")
        assert (reply.status, reply.end) == (200, "clean")
        assert reply.text == (TEXT if is_streamed else compact(TEXT))

    @pytest.mark.parametrize("name", [n for n in SERVED if FIXTURES[n]["path"] == AGENT])
    def test_chats(self, replay, name):
        wanted = FIXTURES[name]["expect"].get("line")

        reply = replay.send_fixture(FIXTURES[name])

        events = [json.loads(line) for line in reply.text.splitlines()]
        assert (reply.status, reply.text[-1:]) == (200, "\n")
        if wanted is None:
            *deltas, usage = events
            assert "".join(delta["data"]["text"] for delta in deltas) == TEXT
            assert {delta["type"] for delta in deltas} == {"final_answer_delta"}
            assert (usage["type"], reply.end) == ("usage", "clean")
        else:
            (event,) = events
            assert (event["type"], event["data"]["retryable"]) == (
                wanted["type"],
                wanted["data"]["retryable"],
            )
            assert (TOO_LONG in event["data"]["message"]) == (TOO_LONG in wanted["data"]["message"])

    @pytest.mark.parametrize("name", [n for n in SERVED if "/v1/chat/" in FIXTURES[n]["path"]])
    def test_answers_a_chat_of_an_old_version(self, replay, name):
        reply = replay.send_fixture(FIXTURES[name])

        assert (reply.status, reply.text, reply.end) == (200, TEXT, "clean")

    def test_embeds_texts(self, replay):
        fixture = FIXTURES["118_embeddings_code_index_newest"]

        reply = replay.send_fixture(fixture)

        predictions = json.loads(reply.text)["predictions"]
        assert [prediction["embedding"] for prediction in predictions] == [
            vector_of(text) for text in fixture["body"]["contents"]
        ]

    def test_describes_libraries(self, replay):
        reply = replay.send_fixture(FIXTURES["115_xray_libraries"])

        assert (reply.status, json.loads(reply.text)) == (200, {"response": TEXT.strip()})

    def test_defines_models(self, replay):
        fixture = FIXTURES["120_models_definitions"]

        reply = replay.send_fixture(fixture)

        assert reply.status == 200
        answer = json.loads(reply.text)
        for wanted in fixture["expect"]["body_keys"]:
            part, _, key = wanted.partition("[].")
            assert answer[part]
            assert all(key in item for item in answer[part])

    def test_searches_the_documentation(self, replay):
        reply = replay.send_fixture(FIXTURES["114_search_gitlab_docs"])

        first = json.loads(reply.text)["response"]["results"][0]
        assert (reply.status, reply.end) == (200, "clean")
        assert first.keys() == {"id", "content", "metadata"}
        assert re.fullmatch("[0-9a-z]+", first["id"])
        assert {"filename", "title", "source_url"} <= first["metadata"].keys()

    @pytest.mark.parametrize("name", REFUSED)
    def test_refuses_with_the_status_that_gitlab_reads(self, replay, name):
        wanted = FIXTURES[name]["expect"]

        reply = replay.send_fixture(FIXTURES[name])

        assert reply.status == wanted["status"]
        assert reply.headers["content-type"] == "application/json"
        if isinstance(wanted.get("body"), dict):
            assert reply.text == compact(wanted["body"])

    @pytest.mark.parametrize("name", sorted(DIFFERENT))
    def test_differs_as_listed(self, replay, name):
        ours = DIFFERENT[name]["ours"]

        reply = replay.send_fixture(FIXTURES[name])

        answer = json.loads(reply.text)
        assert (reply.status, answer.get("code")) == (ours["status"], ours.get("code"))
        if "json" in ours:
            assert answer == ours["json"]

    def test_answers_a_browsers_preflight(self, replay):
        fixture = FIXTURES[PREFLIGHT]

        reply = replay.send_fixture(fixture)

        asked = fixture["headers"]["Access-Control-Request-Headers"].split(",")
        allowed = reply.headers["access-control-allow-headers"].replace(" ", "").split(",")
        assert (reply.status, reply.text) == (200, "OK")
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "POST" in reply.headers["access-control-allow-methods"]
        assert set(asked) <= set(allowed)

    def test_are_the_ones_this_release_serves(self):
        assert len(FIXTURES) == 85
        assert len(SERVED) + len(REFUSED) + len(DIFFERENT) + 1 == 85
