"""Promises of gateway/maintenance.py: what was lost is found, and what died is cleaned up."""

from __future__ import annotations

import os
import platform
import threading
import time
from datetime import timedelta
from queue import SimpleQueue

import pytest
from django.db import DatabaseError
from django.utils import timezone

from gateway import maintenance, pipeline
from gateway.audit import journal
from gateway.audit.chain import guards
from gateway.audit.journal import Journal
from gateway.audit.models import (
    ContentKind,
    InferenceContent,
    InferenceRecord,
    Process,
    ProcessKind,
)
from gateway.audit.store import BLANK
from gateway.audit.writer import ClaimJob
from gateway.errors import StreamBroken, WorkerLost
from gateway.ids import new_id
from models_registry import egress_ledger, egress_report
from models_registry.models import EgressDestination
from tests.gateway.conftest import (
    CONVERSATION,
    answer_on_record,
    closed_record,
    make_call,
    record,
)
from tests.rig.backend import TEXT
from tests.rig.processes import wait_until

LEASE = timedelta(seconds=15)


@pytest.fixture(autouse=True)
def _suspicious(monkeypatch):
    """Take every request for one that has heard nothing for long."""
    monkeypatch.setattr(maintenance, "SUSPICIOUS_AFTER_S", 0.0)


@pytest.fixture
def quiet(embedded, settings):
    """A process whose own maintenance has ended, so that the test's looks are the only ones."""
    maintenance.stop()
    settings.GATEWAY_LEASE_S = LEASE.total_seconds()
    return embedded


def make_process(process_id, *, age=timedelta(0), host=None, kind=ProcessKind.WEB):
    now = timezone.now()
    return Process.objects.create(
        id=process_id,
        kind=kind,
        host=platform.node() if host is None else host,
        pid=1,
        started_at=now,
        seen_at=now - age,
    )


def make_record(web_process, *, age=10 * LEASE, **facts):
    opened_at = timezone.now() - age
    usual = {
        **BLANK,
        "id": new_id(),
        "state": "running",
        "opened_at": opened_at,
        "deadline_at": opened_at + timedelta(seconds=53),
        "feature": "code_completions",
        "is_streamed": True,
        "config_version": 1,
        "web_process": web_process,
    }
    return InferenceRecord.objects.create(**{**usual, **facts})


def ask_beside(ask, call):
    """Ask in another thread; returns it and where the outcome will be."""
    got = []

    def run():
        try:
            got.append(ask(call))
        except Exception as exc:
            got.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, got


class TestLease:
    def test_says_that_a_process_lives(self, quiet):
        now = timezone.now()

        maintenance.renew_lease("p" * 32, ProcessKind.WORKER, now=now)
        maintenance.renew_lease("p" * 32, ProcessKind.WORKER, now=now + LEASE)

        row = Process.objects.get(pk="p" * 32)
        assert (row.kind, row.pid, row.host) == ("worker", os.getpid(), platform.node())
        assert (row.started_at, row.seen_at) == (now, now + LEASE)

    def test_is_written_when_a_process_starts(self, embedded):
        wait_until(
            lambda: Process.objects.filter(pk=embedded.id, kind="web").exists(),
            within_s=5,
            what="the lease",
        )


class TestLostMessage:
    def test_is_sent_again(self, quiet, scripted_model):
        scripted_model()
        real, sent = quiet.send, []
        quiet.send = sent.append
        thread, got = ask_beside(pipeline.answer, make_call())
        wait_until(lambda: sent, within_s=5, what="the message that is lost")
        quiet.send = real

        maintenance.look_after_waiters(now=timezone.now())

        thread.join(5)
        assert got[0].text == TEXT
        assert record().model_calls == 1

    def test_is_not_looked_for_before_the_record_is_committed(self, quiet, monkeypatch):
        waiter = quiet.waiters.add(new_id(), lambda now: None)

        maintenance.look_after_waiters(now=timezone.now())

        assert waiter._frames.empty()
        quiet.waiters.remove(waiter)

    def test_costs_no_query_in_the_usual_case(self, quiet, django_assert_num_queries):
        with django_assert_num_queries(0):
            maintenance.look_after_waiters(now=timezone.now())


class Deaf:
    """An outbox that loses what it is given."""

    def push(self, web_process, record_id, frame):
        pass


class TestLostReply:
    """The second path: an outcome that was committed reaches its request from the database."""

    @pytest.mark.parametrize("behavior", ["stub", "empty"])
    def test_is_told_again(self, quiet, scripted_model, behavior):
        scripted_model(behavior)
        quiet.replies = Deaf()
        thread, got = ask_beside(pipeline.answer, make_call())
        closed_record()

        maintenance.look_after_waiters(now=timezone.now())

        thread.join(5)
        assert got[0].text == (TEXT if behavior == "stub" else "")
        assert got[0].finish_reason == "stop"
        assert got[0].completion_tokens == record().completion_tokens

    def test_is_told_again_with_the_tools_that_were_called(self, quiet, scripted_model):
        scripted_model("tools")
        quiet.replies = Deaf()
        thread, got = ask_beside(pipeline.answer, make_call(conversation=CONVERSATION))
        closed_record()

        maintenance.look_after_waiters(now=timezone.now())

        thread.join(5)
        assert [call.name for call in got[0].tool_calls] == ["lookup"]

    def test_of_a_failure_is_told_again(self, quiet, scripted_model):
        scripted_model("err-401")
        quiet.replies = Deaf()
        thread, got = ask_beside(pipeline.answer, make_call())
        closed_record()

        maintenance.look_after_waiters(now=timezone.now())

        thread.join(5)
        assert (got[0].code, got[0].backend_status) == ("backend_auth", 401)

    def test_of_a_stream_never_makes_a_short_answer_a_whole_one(self, quiet, scripted_model):
        scripted_model()
        quiet.replies = Deaf()
        thread, got = ask_beside(pipeline.stream, make_call(is_streamed=True))
        closed_record()

        maintenance.look_after_waiters(now=timezone.now() + timedelta(seconds=10))

        thread.join(5)
        assert got[0].code == "reply_lost"


class TestLostWorker:
    @pytest.fixture
    def held(self, quiet, scripted_model):
        """A request whose record a worker of this name has claimed."""
        scripted_model()
        quiet.send = lambda ids: None

        def ask(worker, call):
            thread, got = ask_beside(pipeline.answer, call)
            wait_until(InferenceRecord.objects.exists, within_s=5, what="the record")
            InferenceRecord.objects.update(state="running", worker_process=worker)
            return thread, got

        return ask

    def test_is_told_to_the_request_that_waits(self, held):
        make_process("dead", age=2 * LEASE, kind=ProcessKind.WORKER)
        thread, got = held("dead", make_call())

        maintenance.look_after_waiters(now=timezone.now())

        thread.join(5)
        assert isinstance(got[0], WorkerLost)
        assert (closed_record().state, record().error_code) == ("interrupted", "worker_lost")

    def test_that_was_never_seen_is_lost_too(self, held):
        thread, got = held("nobody", make_call())

        maintenance.look_after_waiters(now=timezone.now())

        thread.join(5)
        assert isinstance(got[0], WorkerLost)

    def test_that_lives_is_waited_for(self, held):
        make_process("alive", kind=ProcessKind.WORKER)
        thread, got = held("alive", make_call(deadline_s=0.3))

        maintenance.look_after_waiters(now=timezone.now())

        thread.join(5)
        assert got[0].code == "reply_timed_out"


class TestReap:
    def reap(self):
        return maintenance.reap(now=timezone.now())

    def test_closes_what_a_dead_process_held_with_what_it_delivered(self, quiet, settings):
        make_process("dead", age=2 * LEASE)
        row = make_record("dead")
        written = Journal("dead")
        written.append(row.pk, "def add")
        written.append(row.pk, "(a, b)")

        found = self.reap()

        closed = closed_record()
        assert found == 1
        assert (closed.state, closed.error_code) == ("interrupted", "process_lost")
        assert answer_on_record() == "def add(a, b)"

    def test_removes_the_journal_once_nothing_in_it_is_open(self, quiet):
        make_process("dead", age=2 * LEASE)
        Journal("dead").append(make_record("dead").pk, "text")
        self.reap()
        closed_record()

        self.reap()

        assert "dead" not in journal.owners()

    def test_keeps_the_journal_of_what_is_still_open(self, quiet):
        make_process("dead", age=2 * LEASE)
        Journal("dead").append(make_record("dead", age=LEASE / 2).pk, "text")

        self.reap()

        assert "dead" in journal.owners()

    def test_keeps_the_journals_of_the_living_and_its_own(self, quiet):
        make_process("alive")
        Journal("alive").append(new_id(), "text")
        quiet.journal.append(new_id(), "text")

        self.reap()

        assert {"alive", quiet.id} <= journal.owners()

    def test_closes_what_never_delivered_anything_too(self, quiet):
        make_record("dead", state="queued", is_streamed=False)

        self.reap()

        assert closed_record().state == "interrupted"
        assert answer_on_record() is None

    @pytest.mark.parametrize("state", ["answered", "failed", "refused", "cancelled"])
    def test_leaves_alone_what_is_closed(self, quiet, state):
        make_record("dead", state=state)

        assert self.reap() == 0

    def test_leaves_alone_what_a_living_process_holds(self, quiet):
        make_process("alive")
        make_record("alive", deadline_at=timezone.now() + LEASE)

        assert self.reap() == 0

    def test_leaves_alone_what_was_opened_just_now(self, quiet):
        make_record("not seen yet", age=LEASE / 2)

        assert self.reap() == 0

    def test_closes_what_a_living_process_forgot_past_its_deadline(self, quiet):
        make_process("alive")
        make_record("alive", deadline_at=timezone.now() - 3 * LEASE)

        self.reap()

        assert closed_record().error_code == "process_lost"

    @pytest.mark.parametrize(("age", "is_closed"), [(2 * LEASE, False), (5 * LEASE, True)])
    def test_leaves_another_machine_s_dead_to_it_for_a_while(self, quiet, age, is_closed):
        make_process("elsewhere", age=age, host="another machine")
        make_record("elsewhere")

        self.reap()
        is_written = SimpleQueue()
        quiet.writer.submit(ClaimJob(ids=[], worker=quiet.id, then=is_written.put))
        is_written.get(timeout=5)

        assert (record().closed_at is not None) == is_closed

    def test_happens_by_itself(self, embedded, monkeypatch):
        row = make_record("dead")
        monkeypatch.setattr(maintenance, "LOOK_EVERY_S", 0.05)
        maintenance.stop()

        maintenance.start(embedded.id, ProcessKind.WEB)

        assert closed_record().pk == row.pk


class TestEgress:
    def test_is_written_down_while_the_process_runs_and_when_it_ends(self, embedded, monkeypatch):
        monkeypatch.setattr(maintenance, "LOOK_EVERY_S", 0.05)
        monkeypatch.setattr(maintenance, "EGRESS_EVERY_S", 0.05)
        maintenance.stop()
        egress_ledger.reached("10.0.0.1", 8000, "model")
        maintenance.start(embedded.id, ProcessKind.WEB)
        wait_until(EgressDestination.objects.exists, within_s=5, what="the destination")

        monkeypatch.setattr(maintenance, "EGRESS_EVERY_S", 60)
        egress_ledger.reached("10.0.0.2", 8000, "model")
        maintenance.stop()

        assert EgressDestination.objects.filter(host="10.0.0.2").exists()

    def test_is_written_the_next_time_if_that_fails(self, quiet, monkeypatch):
        egress_ledger.reached("10.0.0.1", 8000, "model")

        def away(*_):
            raise DatabaseError

        with monkeypatch.context() as patched:
            patched.setattr(egress_report, "_write", away)
            maintenance.write_egress()
        maintenance.write_egress()

        assert EgressDestination.objects.get().reached == 1


class TestOutage:
    def test_does_not_end_the_looks(self, embedded, monkeypatch):
        monkeypatch.setattr(maintenance, "LOOK_EVERY_S", 0.05)
        looks = []

        def broken(*, now):
            looks.append(now)
            raise RuntimeError("a bug")

        monkeypatch.setattr(maintenance, "look_after_waiters", broken)

        wait_until(lambda: len(looks) > 2, within_s=5, what="further looks")


class TestStop:
    def test_waits_for_the_look_that_is_under_way(self, embedded, monkeypatch):
        monkeypatch.setattr(maintenance, "LOOK_EVERY_S", 0.01)
        busy, is_over = threading.Event(), threading.Event()

        def slow(*_, **__):
            busy.set()
            time.sleep(0.2)
            is_over.set()

        monkeypatch.setattr(maintenance, "renew_lease", slow)
        assert busy.wait(5)

        maintenance.stop()

        assert is_over.is_set()

    def test_waits_no_longer_for_a_database_that_hangs(self, embedded, monkeypatch):
        monkeypatch.setattr(maintenance, "LOOK_EVERY_S", 0.01)
        monkeypatch.setattr(maintenance, "STOP_S", 0.2)
        busy, release = threading.Event(), threading.Event()

        def hangs(*_, **__):
            busy.set()
            release.wait(5)

        monkeypatch.setattr(maintenance, "renew_lease", hangs)
        assert busy.wait(5)
        started_at = time.monotonic()

        maintenance.stop()

        assert time.monotonic() - started_at < 1
        release.set()


class TestKilledStream:
    def test_leaves_a_record_no_shorter_than_what_was_delivered(self, quiet, scripted_model):
        """As if this process had been killed: its journal is there, its close is not."""
        scripted_model("cut-midstream")
        stream = pipeline.stream(make_call(is_streamed=True))
        got = []
        with pytest.raises(StreamBroken):
            got.extend(stream.pieces)
        row = closed_record()
        with guards.lifted():
            InferenceContent.objects.filter(kind=ContentKind.ANSWER).delete()
            InferenceRecord.objects.update(
                state="running",
                closed_at=None,
                web_process="dead",
                opened_at=row.opened_at - 9 * LEASE,
            )
        written = Journal("dead")
        for piece in got:
            written.append(row.pk, piece)

        maintenance.reap(now=timezone.now())

        assert closed_record().state == "interrupted"
        assert answer_on_record() == "".join(got)
