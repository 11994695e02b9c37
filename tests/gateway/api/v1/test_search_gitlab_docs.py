"""Promises of POST /v1/search/gitlab-docs."""

import pytest

from features import snapshot
from gateway.audit.models import InferenceRecord
from gateway.documentation import index
from tests.factories import make_api_key, make_group, make_rule
from tests.gateway.api.conftest import post, send
from tests.gateway.documentation.conftest import build

PATH = "/v1/search/gitlab-docs"
BODY = {
    "type": "search-docs",
    "metadata": {"source": "GitLab EE", "version": "18.9.0"},
    "payload": {"query": "How do I cancel a pipeline?"},
}


@pytest.fixture
def chat_is_on(embedded):
    """Chat for everyone, and an index."""
    build()
    make_rule(feature="duo_chat")
    snapshot.refresh()


@pytest.fixture
def search(trusted, chat_is_on):
    """A function that searches as GitLab does; it returns the answer."""

    def ask(*, path=PATH, headers=None, **payload):
        body = BODY | {"payload": BODY["payload"] | payload}
        return post(path, body, headers=headers or trusted.headers())

    return ask


def results(answer):
    return answer.json["response"]["results"]


class TestAnswer:
    def test_holds_what_gitlab_makes_a_source_link_of(self, search, trusted):
        answer = search(page_size=1)

        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json["response"]["results"] == [
            {
                "id": results(answer)[0]["id"],
                "content": (
                    "# Pipelines / Stop a pipeline that is running\n\n"
                    "Select **Cancel pipeline** above its jobs. Jobs that have begun are "
                    "interrupted, the others never start."
                ),
                "metadata": {
                    "filename": "/ci/pipelines.md",
                    "title": "Pipelines / Stop a pipeline that is running",
                    "source_url": (
                        f"{trusted.url}/help/ci/pipelines.md#stop-a-pipeline-that-is-running"
                    ),
                },
            }
        ]
        assert answer.json["metadata"].keys() == {"provider", "timestamp"}

    def test_has_four_results_unless_said_otherwise(self, search):
        assert len(results(search(query="pipeline"))) == 4
        assert len(results(search(query="pipeline", page_size="7"))) == 7

    @pytest.mark.parametrize("path", [f"/ai{PATH}", f"/{PATH}"])
    def test_comes_below_every_base_path(self, search, path):
        assert len(results(search(path=path))) == 4

    @pytest.mark.parametrize("query", ["", "   ", "xyzzy", '"', "\x00", "*", "NEAR(", "\u202e"])
    def test_is_empty_where_nothing_is_found(self, search, query):
        answer = search(query=query)

        assert (answer.status, results(answer)) == (200, [])

    def test_is_empty_without_an_index(self, search):
        index.path().unlink()

        answer = search()

        assert (answer.status, results(answer)) == (200, [])

    def test_takes_the_longest_query_there_may_be(self, search):
        assert search(query="pipeline " * 44_444).status == 200
        assert search(query="x" * 400_001).status == 422

    def test_leads_to_help_pages_on_the_same_host_where_gitlab_is_unknown(self, chat_is_on):
        _, key = make_api_key()
        snapshot.refresh()

        answer = post(PATH, BODY, headers=api_key(key))

        assert results(answer)[0]["metadata"]["source_url"].startswith("/help/ci/pipelines.md#")


def api_key(text):
    return {"Authorization": f"Bearer {text}", "Content-Type": "application/json"}


class TestRefusals:
    @pytest.mark.parametrize(
        "changes",
        [
            {"type": None},
            {"type": "x" * 101},
            {"metadata": None},
            {"metadata": {"source": "x"}},
            {"metadata": {"source": "x", "version": 18}},
            {"metadata": {"source": "x" * 101, "version": "18"}},
            {"payload": None},
            {"payload": {}},
            {"payload": {"query": None}},
            {"payload": {"query": ["x"]}},
            {"payload": {"query": "x", "page_size": 0}},
            {"payload": {"query": "x", "page_size": 21}},
            {"payload": {"query": "x", "page_size": 1.5}},
            {"payload": {"query": "x", "page_size": "many"}},
            {"payload": {"query": "x", "page_size": None}},
        ],
        ids=str,
    )
    def test_a_body_that_does_not_fit_is_422(self, trusted, changes):
        answer = post(PATH, {**BODY, **changes}, headers=trusted.headers())

        assert (answer.status, answer.json) == (422, {"detail": "Validation error"})

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'"\\ud800"', b"[" * 100_000])
    def test_bytes_that_are_no_body_are_refused(self, trusted, body):
        assert send("POST", PATH, body=body, headers=trusted.headers()).status in (400, 422)

    def test_the_token_must_allow_it(self, search, trusted):
        answer = search(headers=trusted.headers(trusted.named_token("only_complete_code")))

        assert answer.status == 403
        assert answer.json == {"detail": "Unauthorized to search documentations"}
        assert not InferenceRecord.objects.exists()

    def test_policy_must_allow_it(self, trusted, embedded):
        build()
        snapshot.refresh()

        answer = post(PATH, BODY, headers=trusted.headers())

        assert (answer.status, answer.json["code"]) == (403, "feature_disabled")
        assert InferenceRecord.objects.get().state == "refused"

    def test_a_group_s_key_searches_if_its_group_may(self, search):
        group = make_group("payments")
        _, key = make_api_key(group)
        snapshot.refresh()
        assert search(headers=api_key(key)).status == 200
        make_rule(group, feature="duo_chat", state="off")
        snapshot.refresh()

        answer = search(headers=api_key(key))

        assert (answer.status, answer.json["code"]) == (403, "feature_disabled")

    def test_a_broken_index_is_a_clear_503(self, search):
        index.path().write_bytes(b"broken " * 1_000)

        answer = search()

        assert (answer.status, answer.json["code"]) == (503, "documentation_unavailable")
        assert "manage.py index_docs" in answer.json["detail"]
        assert str(index.path()) not in answer.json["detail"]
