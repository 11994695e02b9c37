"""Promises of gateway/documentation/lookup.py: policy decides, and everything is on record."""

import logging

import orjson
import pytest
from django.utils import timezone

from features import snapshot
from features.errors import FeatureDisabled
from gateway.audit.models import ContentKind, InferenceContent
from gateway.calls import Caller
from gateway.documentation import index, lookup
from gateway.errors import DocumentationUnavailable
from tests.factories import make_group, make_rule
from tests.gateway.conftest import answer_on_record, closed_record, make_call, record
from tests.gateway.documentation.conftest import build


@pytest.fixture
def documentation(embedded):
    """A started process, an index, and chat for everyone."""
    build()
    make_rule(feature="duo_chat")
    snapshot.refresh()


def search(query="cancel a pipeline", *, limit=4, **changes):
    call = make_call(
        feature="duo_chat",
        prompt="",
        endpoint="/v1/search/gitlab-docs",
        inputs={"query": query, "page_size": str(limit)},
        **changes,
    )
    return lookup.find(call, limit=limit)


class TestFind:
    def test_puts_what_was_asked_and_found_on_record(self, documentation):
        found = search(limit=2)

        row = record()
        assert (row.state, row.feature, row.model_calls) == ("answered", "duo_chat", 0)
        assert (row.policy, row.endpoint) == ("instance: on", "/v1/search/gitlab-docs")
        (asked,) = InferenceContent.objects.filter(kind=ContentKind.REQUEST)
        assert orjson.loads(asked.body) == {
            "inputs": {"query": "cancel a pipeline", "page_size": "2"}
        }
        answered = answer_on_record()
        assert len(found) == 2
        for item in found:
            assert f"{item.id} {item.page}#{item.anchor}" in answered
            assert lookup.content(item) in answered

    def test_has_the_outcome_committed_before_it_returns(self, documentation):
        search()

        assert record().closed_at is not None

    def test_is_refused_where_chat_is_off(self, documentation):
        group = make_group("payments", gitlab_id=7)
        make_rule(group, feature="duo_chat", state="off")
        snapshot.refresh()

        with pytest.raises(FeatureDisabled, match="group 'payments': off"):
            search(caller=Caller(kind="instance", namespace_ids=(7,)))

        row = record()
        assert (row.state, row.error_code, row.group_path) == (
            "refused",
            "feature_disabled",
            "payments",
        )

    def test_finds_nothing_without_an_index_and_says_how_to_make_one(self, documentation, caplog):
        index.path().unlink()

        with caplog.at_level(logging.WARNING):
            assert search() == []

        assert (record().state, record().error_detail) == ("answered", lookup.NO_INDEX)
        assert answer_on_record() == ""
        assert [line.message for line in caplog.records] == ["documentation.no_index"]

    def test_writes_no_query_into_the_log(self, documentation, caplog):
        index.path().unlink()

        with caplog.at_level(logging.DEBUG):
            search("a secret question")

        assert "secret question" not in caplog.text

    def test_is_on_record_where_the_index_is_broken(self, documentation):
        index.path().write_bytes(b"broken " * 1_000)

        with pytest.raises(DocumentationUnavailable):
            search()

        row = closed_record()
        assert (row.state, row.error_code) == ("failed", "documentation_unavailable")

    def test_is_cut_where_the_results_get_too_long(self, documentation, monkeypatch):
        found = search("pipeline", limit=20)
        room = sum(lookup.estimate_tokens(lookup.content(item)) for item in found[:3])
        monkeypatch.setattr(lookup, "RESULTS_MAX_TOKENS", room)

        assert search("pipeline", limit=20) == found[:3]

    def test_gives_a_usual_page_whole_however_long_its_sections_are(self, documentation):
        with index.building() as draft:
            for number in range(8):
                draft.add(f"{number}.md", f"# Zebras {number}\n\n" + "zebra " * 2_000)
            draft.finish(version="", now=timezone.now())

        assert len(search("zebra", limit=4)) == 4
        assert len(search("zebra", limit=20)) == 4
