"""Promises of gateway/forwarding.py: each record is served once and closed, whatever happens."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from queue import SimpleQueue

import pytest
from django.utils import timezone

from features import snapshot
from gateway import forwarding, pipeline
from gateway.audit import records, store
from gateway.audit.models import ContentKind, InferenceRecord
from gateway.audit.writer import OpenJob
from gateway.errors import InferenceFailed
from gateway.frames import Chunk, End
from gateway.ids import new_id
from gateway.tasks import forward
from models_registry.models import ModelRevision, SelfHostedModel
from models_registry.providers.embedding import Embedding
from tests.gateway.audit.test_writer import BrokenStore
from tests.gateway.conftest import (
    CONVERSATION,
    answer_on_record,
    content_on_record,
    make_call,
    make_embedding,
    record,
)
from tests.rig.backend import TEXT, vector_of
from tests.rig.processes import wait_until


class Replies:
    """What the worker sends back, kept for the test."""

    def __init__(self):
        self.frames = []

    def push(self, web_process, record_id, frame):
        self.frames.append(frame)

    @property
    def text(self):
        return "".join(frame.text for frame in self.frames if isinstance(frame, Chunk))

    @property
    def end(self):
        """Return the one end there is."""
        (end,) = [frame for frame in self.frames if isinstance(frame, End)]
        return end


@pytest.fixture
def replies(embedded):
    embedded.replies = Replies()
    return embedded.replies


@pytest.fixture
def opened(embedded, scripted_model, replies):
    """A function that opens a record as a web process does, and returns its id."""

    def open_one(behavior="stub", *, changes=None, **facts):
        if behavior is not None:
            scripted_model(behavior)
        return open_record(embedded, make_call(**facts), changes or {})

    return open_one


@pytest.fixture
def opened_embedding(embedded, embedding_model, replies):
    """As `opened`, for texts to embed."""

    def open_one(behavior="stub", **facts):
        embedding_model(behavior)
        return open_record(embedded, make_embedding(**facts), {})

    return open_one


def open_record(parts, call, changes):
    """Open the record of a call, and return its id."""
    row = records.opening(call, pipeline.prepare(call)) | changes
    done = SimpleQueue()
    parts.writer.submit(OpenJob(row=row, then=done.put))
    assert done.get(timeout=5) is None
    return row["id"]


def serve_until_cancelled(record_id, backend):
    """Cancel a record once its model is being asked; return when it is no longer served."""
    serving = threading.Thread(target=forwarding.forward, args=([record_id],))
    serving.start()
    backend.wait_for_calls(1)
    forwarding.cancel(record_id)
    serving.join(3)
    assert not serving.is_alive()


class TestForward:
    def test_asks_the_model_and_closes_the_record(self, opened, replies, embedded):
        record_id = opened()

        forwarding.forward([record_id])

        row = record()
        assert (row.state, row.model_calls, row.worker_process) == ("answered", 1, embedded.id)
        assert row.claimed_at <= row.closed_at
        assert answer_on_record() == TEXT
        assert (replies.end.state, replies.end.text) == ("answered", TEXT)

    def test_serves_once_what_is_delivered_twice(self, opened, replies, backend):
        record_id = opened()

        forwarding.forward([record_id, record_id])
        forwarding.forward([record_id])

        assert len(backend.calls) == 1
        assert len(replies.frames) == 1

    def test_serves_once_what_two_workers_take_at_the_same_time(self, opened, backend):
        record_id = opened("slow-5ms")
        workers = [
            threading.Thread(target=forwarding.forward, args=([record_id],)) for _ in range(8)
        ]

        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(10)

        assert len(backend.calls) == 1

    def test_serves_the_records_of_a_batch_side_by_side(self, opened, backend):
        ids = [opened("slow-40ms"), *(opened(None) for _ in range(3))]
        started_at = time.monotonic()

        forwarding.forward(ids)

        assert time.monotonic() - started_at < 3 * 16 * 0.04
        assert InferenceRecord.objects.filter(state="answered").count() == 4

    def test_leaves_alone_what_it_does_not_find(self, opened, backend):
        opened()

        forwarding.forward([new_id() for _ in range(3)])

        assert not backend.calls

    def test_does_nothing_while_records_cannot_be_claimed(self, opened, backend, monkeypatch):
        record_id = opened()
        monkeypatch.setattr(store, "for_connection", BrokenStore)

        forwarding.forward([record_id])

        assert not backend.calls
        assert record().state == "queued"

    def test_is_what_the_celery_task_does(self, opened, replies):
        record_id = opened()

        forward(record_ids=[record_id.hex], unknown="a newer caller's")

        assert replies.end.state == "answered"

    def test_tells_the_line_and_nothing_of_the_content(self, opened, caplog):
        caplog.set_level("INFO")

        forwarding.forward([opened()])

        (line,) = [entry for entry in caplog.records if entry.message == "inference.closed"]
        assert (line.correlation_id, line.state, line.model_calls) == ("abc/1", "answered", 1)
        assert TEXT not in str(vars(line))


class TestStream:
    def test_numbers_its_pieces(self, opened, replies):
        forwarding.forward([opened(is_streamed=True)])

        chunks = replies.frames[:-1]
        assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
        assert (replies.end.number, replies.end.text) == (len(chunks), "")
        assert replies.text == answer_on_record() == TEXT

    def test_that_breaks_keeps_what_came(self, opened, replies):
        forwarding.forward([opened("cut-midstream", is_streamed=True)])

        assert (record().state, replies.end.state) == ("failed", "failed")
        assert answer_on_record() == replies.text
        assert TEXT.startswith(replies.text)

    def test_notes_when_the_first_token_came(self, opened):
        forwarding.forward([opened("slow-10ms", is_streamed=True)])

        assert 0 < record().first_token_ms < record().total_ms


class TestEmbedding:
    def test_is_asked_again_where_that_may_help(self, opened_embedding, backend, replies):
        forwarding.forward([opened_embedding("flaky-503")])

        assert (replies.end.state, record().model_calls) == ("answered", 2)
        assert [call.path for call in backend.calls] == ["/v1/embeddings"] * 2

    @pytest.mark.parametrize(
        ("behavior", "code"),
        [
            ("err-401", "backend_auth"),
            ("err-429", "backend_rate_limited"),
            ("garbage", "malformed_reply"),
            ("emptyjson", "malformed_reply"),
            ("huge", "batch_too_large"),
            ("toolong", "context_too_long"),
        ],
    )
    def test_that_fails_is_not(self, opened_embedding, backend, replies, behavior, code):
        forwarding.forward([opened_embedding(behavior)])

        assert (replies.end.error_code, record().error_code) == (code, code)
        assert len(backend.calls) == 1

    def test_is_sent_back_by_the_indices_of_its_vectors(self, opened_embedding, replies):
        forwarding.forward([opened_embedding("swapped")])

        assert Embedding.from_text(replies.end.text).vectors[0] == tuple(vector_of("one two"))

    @pytest.mark.parametrize("is_length_free", [True, False])
    def test_of_another_length_is_one_where_that_is_free(
        self, opened_embedding, replies, is_length_free
    ):
        forwarding.forward(
            [opened_embedding("fixed-length", dimensions=3, is_length_free=is_length_free)]
        )

        assert replies.end.state == ("answered" if is_length_free else "failed")

    def test_is_stopped_when_the_client_leaves(self, opened_embedding, backend):
        serve_until_cancelled(opened_embedding("hang-20"), backend)

        assert (record().state, record().error_code) == ("cancelled", "client_left")

    def test_whose_tokens_nobody_counts_has_them_estimated(self, opened_embedding):
        forwarding.forward([opened_embedding("nousage")])

        assert (record().prompt_tokens, record().completion_tokens) == (5, 0)
        assert record().are_tokens_estimated


class TestToolCalls:
    def test_come_with_the_end_and_are_on_record(self, opened, replies):
        forwarding.forward([opened("tools", conversation=CONVERSATION)])

        (call,) = replies.end.tool_calls
        assert (call.name, call.arguments) == ("lookup", '{"query": "tiny"}')
        assert content_on_record(ContentKind.ANSWER) == {
            "text": "",
            "finish_reason": "tool_calls",
            "tool_calls": [call.as_dict()],
        }

    def test_of_a_stream_come_with_its_end_too_and_are_announced(self, opened, replies):
        forwarding.forward([opened("tools", conversation=CONVERSATION, is_streamed=True)])

        announced, end = replies.frames
        assert announced == Chunk(number=0, last=0, text="")
        assert (end.number, [call.id for call in end.tool_calls]) == (1, ["call_0"])
        assert record().first_token_ms is not None
        assert content_on_record(ContentKind.ANSWER)["tool_calls"][0]["id"] == "call_0"

    def test_count_as_tokens_where_the_model_reports_none(self, opened):
        forwarding.forward([opened("tools_nousage", conversation=CONVERSATION)])

        assert record().are_tokens_estimated
        assert record().completion_tokens == 8


class TestRetry:
    """At most one, and only before the first byte (decisions.md, 4.7)."""

    @pytest.mark.parametrize("is_streamed", [True, False])
    def test_asks_a_second_time_where_that_may_help(self, opened, backend, is_streamed):
        forwarding.forward([opened("flaky-503", is_streamed=is_streamed)])

        assert (record().state, record().model_calls) == ("answered", 2)
        assert len(backend.calls) == 2

    @pytest.mark.parametrize("behavior", ["err-500", "refuse"])
    def test_gives_up_after_the_second(self, opened, backend, behavior):
        forwarding.forward([opened(behavior)])

        assert (record().state, record().model_calls) == ("failed", 2)
        assert len(backend.calls) == 2

    @pytest.mark.parametrize("behavior", ["err-400", "err-401", "err-404", "err-429", "garbage"])
    def test_does_not_where_it_cannot_help(self, opened, backend, behavior):
        forwarding.forward([opened(behavior)])

        assert (record().state, len(backend.calls)) == ("failed", 1)

    def test_never_after_the_first_byte(self, opened, backend, replies):
        forwarding.forward([opened("err-midstream", is_streamed=True)])

        assert replies.text
        assert len(backend.calls) == 1

    def test_not_where_the_deadline_is_near(self, opened, backend):
        forwarding.forward([opened("err-500", deadline_s=0.9)])

        assert len(backend.calls) == 1


class TestDeadline:
    def test_that_passed_in_the_queue_asks_nobody(self, opened, backend, replies):
        past = {"deadline_at": timezone.now() - timedelta(seconds=1)}

        forwarding.forward([opened(changes=past)])

        assert not backend.calls
        assert replies.end.error_code == "backend_timed_out"
        assert "waited for a worker" in replies.end.error_detail

    def test_counts_from_the_opening(self, opened, replies):
        started_at = time.monotonic()

        forwarding.forward([opened("hang-10", deadline_s=0.5)])

        assert time.monotonic() - started_at < 1.5
        assert (replies.end.error_code, record().state) == ("backend_timed_out", "failed")

    def test_of_the_model_counts_where_it_is_shorter(self, opened, scripted_model, replies):
        scripted_model("hang-10", deadline_s=0.3)
        started_at = time.monotonic()

        forwarding.forward([opened(None)])

        assert time.monotonic() - started_at < 1.5
        assert replies.end.error_code == "backend_timed_out"


class TestFailure:
    def test_says_what_the_backend_said_in_numbers_only(self, opened, replies):
        forwarding.forward([opened("err-429")])

        end = replies.end
        assert (end.error_code, end.backend_status, end.retry_after_s) == (
            "backend_rate_limited",
            429,
            7.0,
        )
        assert "the script says" not in end.error_detail + record().error_detail

    def test_of_a_revision_that_is_gone_is_the_model_s(self, opened, replies):
        record_id = opened()
        SelfHostedModel.objects.update(current=None)
        ModelRevision.objects.all().delete()

        forwarding.forward([record_id])

        assert replies.end.error_code == "model_misconfigured"

    def test_that_is_a_bug_closes_the_record_too(self, opened, replies, monkeypatch, caplog):
        record_id = opened()
        monkeypatch.setattr(forwarding, "get_provider", lambda name: 1 / 0)

        forwarding.forward([record_id])

        assert (record().state, record().error_code) == ("failed", "internal_error")
        assert replies.end.error_code == "internal_error"
        assert "inference.internal_error" in caplog.messages


class TestCancel:
    @pytest.mark.parametrize("is_streamed", [True, False])
    def test_stops_the_model(self, opened, backend, replies, is_streamed):
        serve_until_cancelled(opened("hang-20", is_streamed=is_streamed), backend)

        backend.wait_for_departure(within_s=3)
        assert (record().state, record().error_code) == ("cancelled", "client_left")
        assert record().model_calls == 1

    def test_of_a_record_that_is_not_here_does_nothing(self, embedded):
        forwarding.cancel(new_id())

    def test_leaves_nothing_behind(self, opened):
        forwarding.forward([opened()])

        assert not forwarding._running


class TestClose:
    def test_that_comes_too_late_is_no_success(self, opened, replies, monkeypatch, settings):
        settings.GATEWAY_AUDIT_TIMEOUT_S = 1.0
        record_id = opened("slow-20ms")
        real = store.for_connection
        serving = threading.Thread(target=forwarding.forward, args=([record_id],))
        serving.start()
        wait_until(lambda: record().state == "running", within_s=5, what="the claim")
        monkeypatch.setattr(store, "for_connection", BrokenStore)
        serving.join(5)
        told = replies.end

        monkeypatch.setattr(store, "for_connection", real)

        assert (told.state, told.error_code) == ("failed", "audit_unavailable")
        wait_until(lambda: record().state != "running", within_s=5, what="the close")
        assert (record().state, record().error_code) == ("failed", "audit_unavailable")

    def test_by_somebody_else_is_told_by_somebody_else(self, opened, replies, embedded):
        record_id = opened("slow-20ms")
        serving = threading.Thread(target=forwarding.forward, args=([record_id],))
        serving.start()
        wait_until(lambda: record().state == "running", within_s=5, what="the claim")

        closed = threading.Event()
        outcome = records.Outcome(state="cancelled", error_code="client_left")
        records.close_soon(record_id, outcome, then=closed.set)
        assert closed.wait(5)
        serving.join(5)

        assert replies.frames == []
        assert record().state == "cancelled"

    def test_says_when_tokens_are_only_estimated(self, opened):
        forwarding.forward([opened("nousage")])

        assert record().are_tokens_estimated
        assert record().completion_tokens > 0


class TestModelsOfTheWebProcess:
    def test_are_read_by_the_revision_that_the_record_names(self, opened, scripted_model, backend):
        record_id = opened("first")
        model = SelfHostedModel.objects.get()
        model.identifier = "second"
        model.save()
        snapshot.refresh()

        forwarding.forward([record_id])

        assert [call.model for call in backend.calls] == ["first"]


class TestErrors:
    def test_reach_the_web_process_as_codes(self, scripted_model):
        scripted_model("toolong")

        with pytest.raises(InferenceFailed) as failed:
            pipeline.answer(make_call())

        assert failed.value.code == "context_too_long"
