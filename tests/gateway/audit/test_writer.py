"""Promises of gateway/audit/writer.py, with the real store."""

import time
from queue import SimpleQueue

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from gateway.audit import store
from gateway.audit.chain.formats import link_id
from gateway.audit.models import (
    ContentKind,
    InferenceContent,
    InferenceRecord,
    Lane,
    Link,
    State,
)
from gateway.audit.writer import ClaimJob, CloseJob, OpenJob, Writer
from tests.gateway.audit.chain.test_verify import look
from tests.gateway.audit.test_store import closed, opening

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def writer():
    writer = Writer()
    writer.start()
    yield writer
    writer.stop()


class BrokenStore(store.Store):
    """A database that is away."""

    def open(self, *args, **facts):
        raise OperationalError

    claim = close = together = open


@pytest.fixture
def outage(monkeypatch):
    real = store.for_connection
    monkeypatch.setattr(store, "for_connection", BrokenStore)
    return lambda: monkeypatch.setattr(store, "for_connection", real)


def submit_open(writer, row):
    done = SimpleQueue()
    writer.submit(OpenJob(row=row, then=done.put))
    return done


def submit_close(writer, row):
    done, late = SimpleQueue(), SimpleQueue()
    writer.submit(CloseJob(row=row, then=done.put, when_late=lambda: late.put(True)))
    return done, late


class TestWriter:
    def test_tells_after_the_commit(self, writer):
        row = opening()

        error = submit_open(writer, row).get(timeout=5)

        assert error is None
        assert InferenceRecord.objects.filter(pk=row["id"]).exists()

    def test_commits_what_waits_together(self, monkeypatch):
        batches = []
        real_open = store.SqliteStore.open if _is_sqlite() else store.PostgresqlStore.open
        cls = type(store.for_connection())
        monkeypatch.setattr(
            cls,
            "open",
            lambda self, rows, link: (batches.append(len(rows)), real_open(self, rows, link))[1],
        )
        writer = Writer()
        done = [submit_open(writer, opening()) for _ in range(50)]

        writer.start()

        assert [queue.get(timeout=5) for queue in done] == [None] * 50
        assert batches == [50]
        writer.stop()

    def test_fails_only_the_bad_row_of_a_batch(self):
        writer = Writer()
        good, bad, other = opening(), opening(model_name=None), opening()
        done = [submit_open(writer, row) for row in (good, bad, other)]

        writer.start()

        results = [queue.get(timeout=5) for queue in done]
        assert results[0] is None
        assert results[1] is not None
        assert results[2] is None
        writer.stop()

    def test_gives_each_claim_job_its_own_records(self, writer):
        first, second = opening(), opening()
        submit_open(writer, first).get(timeout=5)
        submit_open(writer, second).get(timeout=5)
        won, also = SimpleQueue(), SimpleQueue()

        writer.submit(ClaimJob(ids=[first["id"]], worker="worker1", then=won.put))
        writer.submit(ClaimJob(ids=[second["id"]], worker="worker1", then=also.put))

        assert [claim.id for claim in won.get(timeout=5)] == [first["id"]]
        assert [claim.id for claim in also.get(timeout=5)] == [second["id"]]

    def test_gives_a_claim_to_one_job_only_when_a_message_came_twice(self):
        writer = Writer()
        row = opening()
        opened, first, second = submit_open(writer, row), SimpleQueue(), SimpleQueue()
        for won in (first, second):
            writer.submit(ClaimJob(ids=[row["id"]], worker="worker1", then=won.put))

        writer.start()

        assert opened.get(timeout=5) is None
        assert len(first.get(timeout=5)) + len(second.get(timeout=5)) == 1
        writer.stop()

    def test_tells_opens_and_claims_at_once_that_the_database_is_away(self, outage, writer):
        started_at = time.monotonic()
        claimed = SimpleQueue()

        error = submit_open(writer, opening()).get(timeout=5)
        writer.submit(ClaimJob(ids=[opening()["id"]], worker="worker1", then=claimed.put))

        assert isinstance(error, OperationalError)
        assert isinstance(claimed.get(timeout=5), OperationalError)
        assert time.monotonic() - started_at < 1

    def test_closes_once_the_database_is_back(self, writer, outage):
        restore = outage
        restore()
        row = opening()
        submit_open(writer, row).get(timeout=5)

        done, _ = submit_close(writer, closed(row) | {"worker": None})

        assert done.get(timeout=5) is True
        assert InferenceRecord.objects.get(pk=row["id"]).state == State.ANSWERED

    def test_says_that_a_close_is_late_and_goes_on_trying(self, monkeypatch, settings):
        settings.GATEWAY_AUDIT_TIMEOUT_S = 1.0
        writer = Writer()
        writer.start()
        row = opening()
        submit_open(writer, row).get(timeout=5)
        real = store.for_connection
        monkeypatch.setattr(store, "for_connection", BrokenStore)
        outcome = closed(row) | {"worker": None}

        done, late = submit_close(writer, outcome)
        assert late.get(timeout=3) is True
        outcome["state"] = "failed"
        monkeypatch.setattr(store, "for_connection", real)
        deadline = time.monotonic() + 5
        while InferenceRecord.objects.get(pk=row["id"]).state == State.QUEUED:
            assert time.monotonic() < deadline
            time.sleep(0.05)

        assert InferenceRecord.objects.get(pk=row["id"]).state == State.FAILED
        assert done.empty()
        writer.stop()

    def test_gives_a_close_up_that_the_database_refuses(self, writer):
        row = opening()
        submit_open(writer, row).get(timeout=5)

        done, late = submit_close(writer, closed(row) | {"worker": None, "error_code": None})

        assert late.get(timeout=3) is True
        after, _ = submit_close(writer, closed(row) | {"worker": None})
        assert after.get(timeout=5) is True
        assert done.empty()

    def test_tells_who_came_second(self, writer):
        row = opening()
        submit_open(writer, row).get(timeout=5)
        first, _ = submit_close(writer, closed(row) | {"worker": None})
        assert first.get(timeout=5) is True

        second, _ = submit_close(writer, closed(row) | {"worker": None})

        assert second.get(timeout=5) is False

    def test_finishes_what_was_handed_in_before_it_stops(self):
        writer = Writer()
        writer.start()
        rows = [opening(opened_at=timezone.now()) for _ in range(20)]
        for row in rows:
            submit_open(writer, row)

        writer.stop()

        assert InferenceRecord.objects.filter(pk__in=[row["id"] for row in rows]).count() == 20


class TestChain:
    """Whatever the writer does, the chain vouches for it."""

    def test_grows_with_each_commit(self, writer):
        row = opening()
        submit_open(writer, row).get(timeout=5)
        done, _ = submit_close(writer, closed(row) | {"worker": None})
        assert done.get(timeout=5) is True

        assert [row.pk for row in Link.objects.order_by("pk")] == [link_id(1, 1), link_id(1, 2)]
        assert look().findings == []

    def test_adds_no_commit_and_no_statement(self, writer, monkeypatch):
        """On PostgreSQL the link goes in the same statement, on SQLite in the same transaction."""
        submit_open(writer, opening()).get(timeout=5)  # its lane is begun
        rows = [opening(), opening()]
        commits = []
        real = writer._commit
        monkeypatch.setattr(writer, "_commit", lambda flush: (commits.append(flush), real(flush)))
        if connection.vendor == "postgresql":
            executed = []
            monkeypatch.setattr(
                store, "_postgresql", lambda real=store._postgresql: Spy(real(), executed)
            )

        for row in rows:
            submit_open(writer, row).get(timeout=5)

        assert len(commits) == 2
        if connection.vendor == "postgresql":
            assert len(executed) == 2

    def test_names_the_losers_of_a_race_and_raises_no_alarm(self, writer):
        row = opening()
        submit_open(writer, row).get(timeout=5)
        first, _ = submit_close(writer, closed(row) | {"worker": None})
        assert first.get(timeout=5) is True

        second, _ = submit_close(writer, closed(row, answer="too late") | {"worker": None})
        assert second.get(timeout=5) is False
        submit_open(writer, opening()).get(timeout=5)

        assert bytes(Link.objects.get(pk=link_id(1, 4)).lost) == b"\x00\x00"
        assert look().findings == []

    def test_keeps_two_closes_of_one_record_apart(self):
        """One statement would take the outcome of one and the answer of the other."""
        writer = Writer()
        row = opening()
        closes = [
            closed(row, state=state, answer=answer) | {"worker": None}
            for state, answer in (("cancelled", None), ("answered", "an answer"))
        ]
        opened = submit_open(writer, row)
        done = [submit_close(writer, close)[0] for close in closes]

        writer.start()

        assert opened.get(timeout=5) is None
        assert [queue.get(timeout=5) for queue in done] == [True, False]
        writer.stop()
        record = InferenceRecord.objects.get()
        assert (record.state, record.closed_link is None) == ("cancelled", False)
        assert not InferenceContent.objects.filter(kind=ContentKind.ANSWER).exists()
        assert look().findings == []

    def test_is_as_it_was_after_a_bad_row(self):
        writer = Writer()
        done = [submit_open(writer, row) for row in (opening(), opening(model_name=None))]

        writer.start()

        assert [queue.get(timeout=5) is None for queue in done] == [True, False]
        submit_open(writer, opening()).get(timeout=5)
        writer.stop()
        assert Lane.objects.count() == 1
        assert [row.pk for row in Link.objects.order_by("pk")] == [link_id(1, 1), link_id(1, 2)]
        assert look().findings == []

    def test_goes_on_in_another_lane_when_nobody_knows_what_was_committed(
        self, writer, monkeypatch
    ):
        """The connection breaks after the commit and before the answer to it."""
        row = opening()
        submit_open(writer, row).get(timeout=5)
        cls = type(store.for_connection())
        real = cls.close

        def breaks(self, rows, link):
            real(self, rows, link)
            monkeypatch.setattr(cls, "close", real)
            raise Broken

        monkeypatch.setattr(cls, "close", breaks)
        done, _ = submit_close(writer, closed(row) | {"worker": None})

        assert done.get(timeout=5) is False  # by our own first attempt
        submit_open(writer, opening()).get(timeout=5)
        assert Lane.objects.count() == 2
        assert look().findings == []

    def test_of_two_processes_goes_on_side_by_side(self):
        writers = [Writer("web"), Writer("worker")]
        for each in writers:
            each.start()
        rows = [opening() for _ in range(60)]
        opened = [submit_open(writers[0], row) for row in rows]
        assert [queue.get(timeout=10) for queue in opened] == [None] * 60

        done = [
            submit_close(writers[number % 2], closed(row) | {"worker": None})[0]
            for number, row in enumerate(rows + rows)
        ]
        won = [queue.get(timeout=10) for queue in done]

        for each in writers:
            each.stop()
        assert won.count(True) == 60
        assert Lane.objects.count() == 2
        report = look()
        assert (report.findings, report.records, report.closed) == ([], 60, 60)

    def test_begins_another_lane_after_a_day(self, writer):
        submit_open(writer, opening()).get(timeout=5)
        writer._lane.began_at -= 25 * 3600

        submit_open(writer, opening()).get(timeout=5)

        assert [row.pk for row in Link.objects.order_by("pk")] == [link_id(1, 1), link_id(2, 1)]
        assert look().findings == []


class Broken(OperationalError):
    """The server closed the connection unexpectedly."""


class Spy:
    """A connection that keeps what it is asked."""

    def __init__(self, real, executed):
        self.real = real
        self.executed = executed

    def execute(self, statement, *arguments, **options):
        self.executed.append(statement)
        return self.real.execute(statement, *arguments, **options)


def _is_sqlite():
    return isinstance(store.for_connection(), store.SqliteStore)
