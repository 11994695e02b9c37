"""Promises of gateway/audit/writer.py, with the real store."""

import time
from queue import SimpleQueue

import pytest
from django.db import OperationalError
from django.utils import timezone

from gateway.audit import store
from gateway.audit.models import InferenceRecord, State
from gateway.audit.writer import ClaimJob, CloseJob, OpenJob, Writer
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


def _is_sqlite():
    return isinstance(store.for_connection(), store.SqliteStore)
