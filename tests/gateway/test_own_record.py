"""Promises of gateway/own_record.py: open before anything is done, closed whatever happens."""

import time

import pytest
from django.db import OperationalError

from features import snapshot
from features.policy import Decision
from gateway.audit import records, store
from gateway.audit.models import State
from gateway.audit.records import Outcome
from gateway.errors import AuditUnavailable, ClientLeft, DocumentationUnavailable
from gateway.own_record import OwnRecord
from models_registry.errors import BackendFailed, InferenceCancelled
from tests.gateway.audit.test_writer import BrokenStore
from tests.gateway.conftest import answer_on_record, closed_record, make_call, record

ANSWERED = Outcome(state=State.ANSWERED, answer="found")


class ClosesNothing(store.SqliteStore):
    """A database that goes away after the opening."""

    def close(self, rows, link):
        raise OperationalError("away")


@pytest.fixture
def own(embedded):
    """A record of this process's own, not open yet."""
    decision = Decision(is_allowed=True, reason="instance: on")
    config = snapshot.refresh()
    return OwnRecord(records.opening_alone(make_call(), decision, config, {"inputs": {}}))


class TestOwnRecord:
    def test_is_open_before_anything_is_done(self, own, embedded):
        with own:
            row = record()
            own.finish(ANSWERED)

        assert (row.state, row.worker_process) == (State.RUNNING, embedded.id)
        assert (row.policy, row.closed_at) == ("instance: on", None)

    def test_is_closed_with_its_outcome(self, own):
        with own:
            own.finish(ANSWERED)

            row = record()
            assert (row.state, row.error_code) == (State.ANSWERED, "")
            assert row.total_ms > 0
            assert answer_on_record() == "found"

    @pytest.mark.parametrize(
        ("error", "state", "code"),
        [
            (DocumentationUnavailable("It is broken."), State.FAILED, "documentation_unavailable"),
            (BackendFailed("It is broken."), State.FAILED, "backend_failed"),
            (ClientLeft("It is broken."), State.CANCELLED, "client_left"),
            (InferenceCancelled("It is broken."), State.CANCELLED, "client_left"),
            (GeneratorExit("It is broken."), State.CANCELLED, "client_left"),
        ],
    )
    def test_is_closed_with_the_reason_where_it_is_left(self, own, error, state, code):
        with pytest.raises(type(error)), own:
            raise error

        row = closed_record()
        assert (row.state, row.error_code) == (state, code)
        assert row.error_detail == (
            "It is broken." if state == State.FAILED else "The client closed its connection."
        )
        assert answer_on_record() is None

    def test_tells_no_secret_of_a_bug(self, own):
        with pytest.raises(ZeroDivisionError), own:
            raise ZeroDivisionError("sk-secret")

        row = closed_record()
        assert (row.state, row.error_code) == (State.FAILED, "internal_error")
        assert "sk-secret" not in row.error_detail

    def test_lets_nothing_be_done_that_cannot_be_recorded(self, own, monkeypatch):
        monkeypatch.setattr(store, "for_connection", BrokenStore)

        with pytest.raises(AuditUnavailable), own:
            pytest.fail("something was done")

    def test_is_closed_where_it_was_opened_too_late(self, own, monkeypatch, settings):
        def late(self, rows, link):
            time.sleep(0.3)
            return opened(self, rows, link)

        opened = store.SqliteStore.open
        monkeypatch.setattr(store.SqliteStore, "open", late)
        settings.GATEWAY_AUDIT_TIMEOUT_S = 0.1

        with pytest.raises(AuditUnavailable), own:
            pytest.fail("something was done")

        row = closed_record()
        assert (row.state, row.error_code) == (State.FAILED, "audit_unavailable")

    def test_gives_nothing_whose_outcome_cannot_be_recorded(self, own, monkeypatch):
        with own:
            monkeypatch.setattr(store, "for_connection", ClosesNothing)
            with pytest.raises(AuditUnavailable):
                own.finish(ANSWERED)
        monkeypatch.undo()

        row = closed_record()
        assert (row.state, row.error_code) == (State.FAILED, "audit_unavailable")

    def test_gives_nothing_where_somebody_else_closed_the_record(self, own):
        lost = Outcome(state=State.INTERRUPTED, error_code="process_lost")
        with own:
            records.close_soon(record().pk, lost)
            closed_record()
            with pytest.raises(AuditUnavailable):
                own.finish(ANSWERED)

        assert record().state == State.INTERRUPTED
