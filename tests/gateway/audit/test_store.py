"""Promises of gateway/audit/store.py, on the database that the tests run on."""

from datetime import timedelta

import orjson
import pytest
from django.db import connection
from django.utils import timezone

from gateway.audit import store
from gateway.audit.chain import lanes
from gateway.audit.models import ContentKind, InferenceContent, InferenceRecord, State
from gateway.audit.records import Outcome, closing
from gateway.ids import new_id

pytestmark = pytest.mark.django_db(transaction=True)


def opening(**facts):
    now = timezone.now()
    return {
        **store.BLANK,
        "id": new_id(),
        "state": "queued",
        "opened_at": now,
        "deadline_at": now + timedelta(seconds=50),
        "caller_kind": "instance",
        "instance_id": "instance",
        "user_id": "42",
        "global_user_id": "",
        "feature": "code_completions",
        "endpoint": "/v2/code/completions",
        "is_streamed": False,
        "correlation_id": "abc/1",
        "config_version": 3,
        "revision_id": 7,
        "model_name": "Müller's model",
        "web_process": "web1",
        "request": orjson.dumps({"prompt": {"text": "a\x00b\u2028ü"}}).decode(),
        **facts,
    }


def closed(row, **facts):
    outcome = Outcome(**{"state": State.ANSWERED, "answer": "done", **facts})
    return closing(row["id"], outcome, worker="worker1")


class Chained:
    """A store whose rows are chained as the writer chains them."""

    def __init__(self):
        self.store = store.for_connection()
        self.claim = self.store.claim
        self.lane = lanes.begin("test")

    def open(self, rows):
        self.store.open(rows, self.lane.opened(rows))

    def close(self, rows):
        return self.store.close(rows, self.lane.closed(rows))


@pytest.fixture
def rows():
    return Chained()


class TestOpen:
    def test_writes_what_the_model_reads(self, rows):
        row = opening()

        rows.open([row])

        record = InferenceRecord.objects.get(pk=row["id"])
        assert record.state == State.QUEUED
        assert record.opened_at == row["opened_at"]
        assert record.model_name == "Müller's model"
        assert record.claimed_at is None
        assert record.is_streamed is False

    def test_keeps_the_request_apart_and_to_the_byte(self, rows):
        row = opening()

        rows.open([row])

        content = InferenceContent.objects.get(record_id=row["id"], kind=ContentKind.REQUEST)
        assert orjson.loads(content.body) == {"prompt": {"text": "a\x00b\u2028ü"}}

    def test_needs_no_request(self, rows):
        row = opening(request=None, state="refused")

        rows.open([row])

        assert not InferenceContent.objects.filter(record_id=row["id"]).exists()

    def test_writes_a_batch_or_nothing(self, rows):
        good, twin = opening(), opening()
        rows.open([twin])

        with pytest.raises(Exception, match=r"(?i)unique"):
            rows.open([good, twin])
        connection.close()

        assert not InferenceRecord.objects.filter(pk=good["id"]).exists()


class TestClaim:
    def test_gives_the_request_to_one_worker_only(self, rows):
        row = opening()
        rows.open([row])

        won = rows.claim([row["id"]], worker="worker1", now=timezone.now())
        lost = rows.claim([row["id"]], worker="worker2", now=timezone.now())

        assert [claim.id for claim in won] == [row["id"]]
        assert won[0].request == {"prompt": {"text": "a\x00b\u2028ü"}}
        assert won[0].deadline_at == row["deadline_at"]
        assert won[0].revision_id == 7
        assert lost == []
        assert InferenceRecord.objects.get(pk=row["id"]).worker_process == "worker1"

    def test_leaves_closed_and_unknown_records_alone(self, rows):
        row = opening(state="refused")
        rows.open([row])

        assert rows.claim([row["id"], new_id()], worker="worker1", now=timezone.now()) == []

    def test_takes_a_whole_batch(self, rows):
        batch = [opening() for _ in range(20)]
        rows.open(batch)

        won = rows.claim([row["id"] for row in batch], worker="worker1", now=timezone.now())

        assert {claim.id for claim in won} == {row["id"] for row in batch}


class TestClose:
    def test_writes_the_outcome_and_the_answer(self, rows):
        row = opening()
        rows.open([row])
        rows.claim([row["id"]], worker="worker1", now=timezone.now())

        assert rows.close([closed(row, completion_tokens=5, total_ms=1.5)]) == {row["id"]}

        record = InferenceRecord.objects.get(pk=row["id"])
        answer = InferenceContent.objects.get(record_id=row["id"], kind=ContentKind.ANSWER)
        assert (record.state, record.completion_tokens, record.total_ms) == ("answered", 5, 1.5)
        assert record.closed_at is not None
        assert orjson.loads(answer.body)["text"] == "done"

    def test_is_refused_to_a_worker_that_does_not_hold_the_claim(self, rows):
        row = opening()
        rows.open([row])
        rows.claim([row["id"]], worker="another", now=timezone.now())

        assert rows.close([closed(row)]) == set()

        assert InferenceRecord.objects.get(pk=row["id"]).state == State.RUNNING
        assert not InferenceContent.objects.filter(
            record_id=row["id"], kind=ContentKind.ANSWER
        ).exists()

    def test_happens_once(self, rows):
        row = opening()
        rows.open([row])
        rows.claim([row["id"]], worker="worker1", now=timezone.now())
        rows.close([closed(row)])

        assert rows.close([closed(row, answer="another")]) == set()

        answer = InferenceContent.objects.get(record_id=row["id"], kind=ContentKind.ANSWER)
        assert orjson.loads(answer.body)["text"] == "done"

    def test_closes_the_open_ones_of_a_batch(self, rows):
        first, second = opening(), opening()
        rows.open([first, second])
        rows.claim([first["id"]], worker="worker1", now=timezone.now())

        assert rows.close([closed(first), closed(second)]) == {first["id"]}
