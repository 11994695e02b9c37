"""Promises of gateway/dispatch.py: no request hangs, none lies, and each closes its record."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue

import pytest
from django.db import connection

from gateway import dispatch, pipeline
from gateway.audit import store
from gateway.audit.models import InferenceRecord
from gateway.errors import (
    AuditUnavailable,
    ClientLeft,
    GatewayError,
    InferenceFailed,
    ReplyTimedOut,
    StreamBroken,
    WorkerLost,
)
from gateway.frames import Broken, Chunk, End
from models_registry.providers.types import ToolCall
from tests.gateway.audit.test_writer import BrokenStore
from tests.gateway.conftest import answer_on_record, closed_record, make_call, record
from tests.rig.backend import TEXT
from tests.rig.processes import wait_until


@pytest.fixture
def nobody_serves(embedded, scripted_model):
    """A process whose records no worker takes; returns a function that answers in its place."""
    scripted_model()
    embedded.send = lambda ids: None

    def reply(*frames):
        wait_until(lambda: len(embedded.waiters) == 1, within_s=5, what="a waiting request")
        wait_until(InferenceRecord.objects.exists, within_s=5, what="the record")
        for frame in frames:
            embedded.waiters.deliver(record().pk, frame)

    return reply


def chunk(number, text, last=None):
    return Chunk(number=number, last=number if last is None else last, text=text)


def later(function, *args):
    """Run something while the test waits."""

    def run():
        try:
            function(*args)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def failure_of(function, *args):
    """Return the error that a function raises."""
    with pytest.raises(GatewayError) as failed:
        function(*args)
    return failed.value


class HeldWriter:
    """A writer that hands its jobs to the test."""

    def __init__(self, jobs):
        self.submit = jobs.put


class SlowStore:
    """The real store behind a database that takes its time to open records."""

    delay_s = 0.0

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        if name in ("open", "write"):
            time.sleep(self.delay_s)
        return getattr(self._real, name)


class TestAnswer:
    def test_comes_after_its_outcome_was_committed(self, scripted_model):
        model = scripted_model()

        answer = pipeline.answer(make_call())

        assert (answer.text, answer.family) == (TEXT, model.family)
        assert (record().state, answer.record_id) == ("answered", record().pk)
        assert answer_on_record() == TEXT

    def test_leaves_nobody_waiting(self, embedded, scripted_model):
        scripted_model()

        pipeline.answer(make_call())

        assert len(embedded.waiters) == 0

    def test_tells_what_the_record_says_of_a_failure(self, scripted_model):
        scripted_model("err-429")

        with pytest.raises(InferenceFailed) as failed:
            pipeline.answer(make_call())

        assert (failed.value.code, failed.value.retry_after_s) == ("backend_rate_limited", 7.0)
        assert record().error_code == "backend_rate_limited"

    def test_is_not_trusted_where_it_comes_in_pieces(self, nobody_serves):
        later(nobody_serves, chunk(0, "a"))

        with pytest.raises(InferenceFailed) as failed:
            pipeline.answer(make_call())

        assert failed.value.code == "reply_lost"
        assert closed_record().state == "failed"

    def test_is_waited_for_until_the_deadline_and_no_longer(self, nobody_serves):
        started_at = time.monotonic()

        with pytest.raises(ReplyTimedOut):
            pipeline.answer(make_call(deadline_s=0.2))

        assert time.monotonic() - started_at < 0.2 + dispatch.GRACE_S + 1.5
        assert (closed_record().state, record().error_code) == ("failed", "reply_timed_out")

    def test_is_given_up_where_the_worker_died(self, nobody_serves):
        later(nobody_serves, Broken(error=WorkerLost()))

        with pytest.raises(WorkerLost):
            pipeline.answer(make_call())

        assert (closed_record().state, record().error_code) == ("interrupted", "worker_lost")


class TestRecordFirst:
    def test_nothing_is_sent_that_could_not_be_recorded(self, scripted_model, backend, monkeypatch):
        scripted_model()
        monkeypatch.setattr(store, "for_connection", BrokenStore)
        started_at = time.monotonic()

        with pytest.raises(InferenceFailed) as failed:
            pipeline.answer(make_call())

        assert failed.value.code == "audit_unavailable"
        assert time.monotonic() - started_at < 1
        assert not backend.calls

    def test_a_commit_that_comes_too_late_sends_nothing(
        self, scripted_model, backend, monkeypatch, settings
    ):
        scripted_model()
        settings.GATEWAY_AUDIT_TIMEOUT_S = 0.8
        real = store.for_connection
        monkeypatch.setattr(store, "for_connection", lambda: SlowStore(real()))
        monkeypatch.setattr(SlowStore, "delay_s", 1.8)
        started_at = time.monotonic()

        with pytest.raises(AuditUnavailable):
            pipeline.stream(make_call(is_streamed=True))

        assert time.monotonic() - started_at < 1.7
        row = closed_record()
        assert (row.state, row.error_code) == ("failed", "audit_unavailable")
        assert not backend.calls

    def test_a_commit_that_comes_just_as_the_request_gives_up_sends_nothing(
        self, embedded, scripted_model
    ):
        scripted_model()
        jobs, sent, got = SimpleQueue(), [], []
        writer, embedded.send = embedded.writer, sent.append
        embedded.writer = HeldWriter(jobs)
        thread = later(lambda: got.append(failure_of(pipeline.answer, make_call())))
        opening = jobs.get(timeout=5)
        (waiter,) = embedded.waiters.silent_for(-1)
        verdict = waiter.fault(time.monotonic() + 100)

        opening.then(None)
        embedded.writer = writer
        waiter.put(Broken(error=verdict))

        thread.join(5)
        assert sent == []
        assert got == [verdict]

    def test_the_last_byte_waits_for_the_outcome(self, scripted_model, monkeypatch):
        scripted_model("slow-20ms")
        real = store.for_connection

        class NeverCloses(SlowStore):
            def __getattr__(self, name):
                if name in ("close", "write"):
                    raise OSError
                return super().__getattr__(name)

        stream = pipeline.stream(make_call(is_streamed=True))
        monkeypatch.setattr(store, "for_connection", lambda: NeverCloses(real()))
        got = []

        with pytest.raises(StreamBroken):
            got.extend(stream.pieces)

        assert "".join(got) == TEXT


class TestToolCalls:
    CALL = ToolCall(id="call_1", name="lookup", arguments="{}")

    def test_are_part_of_an_answer(self, nobody_serves):
        later(nobody_serves, End(state="answered", tool_calls=(self.CALL,)))

        answer = pipeline.answer(make_call())

        assert (answer.text, answer.tool_calls) == ("", (self.CALL,))

    def test_are_known_when_a_stream_has_ended(self, nobody_serves):
        end = End(number=2, state="answered", tool_calls=(self.CALL,), finish_reason="tool_calls")
        later(nobody_serves, chunk(0, ""), chunk(1, "a"), end)

        pieces, ending = [], None
        stream = pipeline.stream(make_call(is_streamed=True))
        while ending is None:
            try:
                pieces.append(next(stream.pieces))
            except StopIteration as stop:
                ending = stop.value

        assert pieces == ["", "a"]
        assert (ending.finish_reason, ending.tool_calls) == ("tool_calls", (self.CALL,))

    def test_that_never_came_were_never_delivered(self, nobody_serves):
        later(nobody_serves, chunk(0, ""), Broken(error=WorkerLost()))

        stream = pipeline.stream(make_call(is_streamed=True))
        with pytest.raises(StreamBroken):
            list(stream.pieces)

        assert closed_record().state == "interrupted"
        assert answer_on_record() is None


class TestStream:
    def test_begins_when_the_first_piece_is_there(self, scripted_model):
        scripted_model("ttft-300ms")
        started_at = time.monotonic()

        stream = pipeline.stream(make_call(is_streamed=True))

        assert time.monotonic() - started_at >= 0.3
        assert "".join(stream.pieces) == TEXT
        assert record().state == "answered"

    def test_that_never_begins_is_an_error_like_any_other(self, scripted_model):
        scripted_model("err-500")

        with pytest.raises(InferenceFailed) as failed:
            pipeline.stream(make_call(is_streamed=True))

        assert failed.value.code == "backend_failed"

    @pytest.mark.parametrize(
        "frames",
        [
            pytest.param((chunk(0, "a"), chunk(2, "c")), id="a piece is missing"),
            pytest.param((chunk(0, "a"), chunk(0, "a")), id="a piece comes twice"),
            pytest.param(
                (chunk(0, "a"), End(number=2, state="answered")), id="the last is missing"
            ),
            pytest.param((chunk(0, "a"), chunk(1, "bc", last=2), chunk(2, "c")), id="they overlap"),
        ],
    )
    def test_that_lost_a_piece_is_broken_off(self, nobody_serves, frames):
        later(nobody_serves, *frames)

        stream = pipeline.stream(make_call(is_streamed=True))
        with pytest.raises(StreamBroken):
            list(stream.pieces)

        row = closed_record()
        assert (row.state, row.error_code) == ("failed", "reply_lost")
        assert answer_on_record().startswith("a")

    def test_takes_joined_pieces_for_what_they_are(self, nobody_serves):
        later(nobody_serves, chunk(0, "a"), chunk(1, "bc", last=2), End(number=3, state="answered"))

        stream = pipeline.stream(make_call(is_streamed=True))

        assert "".join(stream.pieces) == "abc"

    def test_whose_first_piece_is_lost_never_begins(self, nobody_serves):
        later(nobody_serves, chunk(1, "b"))

        with pytest.raises(InferenceFailed) as failed:
            pipeline.stream(make_call(is_streamed=True))

        assert failed.value.code == "reply_lost"

    def test_that_fails_in_the_middle_is_broken_off(self, nobody_serves):
        failure = End(number=1, state="failed", error_code="backend_failed", error_detail="Why.")
        later(nobody_serves, chunk(0, "a"), failure)

        stream = pipeline.stream(make_call(is_streamed=True))
        with pytest.raises(StreamBroken, match=r"Why\."):
            list(stream.pieces)

    def test_delivers_nothing_that_is_not_in_the_journal(
        self, embedded, nobody_serves, monkeypatch
    ):
        def full(*_):
            raise OSError("No space left on device")

        monkeypatch.setattr(embedded.journal, "append", full)
        later(nobody_serves, chunk(0, "a"))

        stream, got = pipeline.stream(make_call(is_streamed=True)), []
        with pytest.raises(StreamBroken):
            got.extend(stream.pieces)

        assert got == []
        row = closed_record()
        assert (row.state, row.error_code) == ("failed", "audit_unavailable")

    def test_forgets_its_journal_once_the_outcome_is_committed(self, embedded, scripted_model):
        scripted_model()

        list(pipeline.stream(make_call(is_streamed=True)).pieces)

        (segment,) = embedded.journal._segments
        assert not segment.records

    def test_tells_that_it_is_quiet_where_that_is_wanted(self, scripted_model):
        scripted_model("stall-1")

        stream = pipeline.stream(make_call(is_streamed=True, heartbeat_s=0.2))
        pieces = list(stream.pieces)

        assert "".join(pieces) == TEXT
        assert "" in pieces


class TestDeparture:
    def test_before_the_first_token_stops_the_model(self, scripted_model, backend):
        scripted_model("hang-20")
        started_at = time.monotonic()
        call = make_call(has_left=lambda: time.monotonic() - started_at > 0.3)

        with pytest.raises(ClientLeft):
            pipeline.answer(call)

        assert time.monotonic() - started_at < 2
        backend.wait_for_departure(within_s=3)
        row = closed_record()
        assert (row.state, row.error_code) == ("cancelled", "client_left")
        assert answer_on_record() is None

    def test_in_the_middle_keeps_what_was_delivered(self, scripted_model, backend):
        scripted_model("slow-50ms_tokens-200")
        stream = pipeline.stream(make_call(is_streamed=True))
        received = "".join(next(stream.pieces) for _ in range(4))

        stream.pieces.close()

        backend.wait_for_departure(within_s=3)
        assert (closed_record().state, record().error_code) == ("cancelled", "client_left")
        assert answer_on_record() == received

    def test_before_anything_was_read_is_one_too(self, scripted_model, backend):
        scripted_model("slow-50ms_tokens-200")
        stream = pipeline.stream(make_call(is_streamed=True))

        stream.pieces.close()

        assert closed_record().state == "cancelled"

    def test_is_not_what_a_bug_is_recorded_as(self, scripted_model, monkeypatch):
        scripted_model("slow-50ms_tokens-200")
        monkeypatch.setattr(dispatch._Inference, "_checked", lambda self, frame: 1 / 0)

        with pytest.raises(ZeroDivisionError):
            pipeline.stream(make_call(is_streamed=True))

        assert (closed_record().state, record().error_code) == ("failed", "internal_error")

    def test_that_cannot_be_asked_for_hangs_nobody(self, nobody_serves):
        def broken():
            raise RuntimeError("a bug")

        with pytest.raises(Exception, match="fault of Enclave"):
            pipeline.answer(make_call(has_left=broken))

        assert closed_record().state == "failed"
