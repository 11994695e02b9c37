"""Tests for models_registry/egress_ledger.py."""

from __future__ import annotations

import os
import time

import pytest

from models_registry import egress, egress_ledger
from models_registry.egress import fetch_json, validate_endpoint
from models_registry.egress_ledger import MODEL, OTHERS, Destination, Tally
from tests.models_registry import ANSWER, RawServer, answering

HERE = Destination("llm.example.com", 8000, MODEL)


class TestReached:
    def test_counts_and_keeps_the_first_and_the_last_time(self):
        before = time.time()
        egress_ledger.reached(*HERE)
        egress_ledger.reached(*HERE)

        (tally,) = egress_ledger.take().values()
        assert tally.reached == 2
        assert before <= tally.first_at <= tally.last_at <= time.time()
        assert tally.refused == 0

    def test_is_noted_for_every_request_also_on_a_kept_connection(self):
        with RawServer(answering(ANSWER)) as server:
            for _ in range(3):
                fetch_json(server.url)

        assert server.connections == 1
        tally = egress_ledger.take()[Destination("127.0.0.1", server.port, "GitLab")]
        assert tally.reached == 3

    def test_is_noted_although_nothing_came_of_it(self, authority):
        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            with pytest.raises(egress.BackendTlsFailed):
                fetch_json(server.url)

            assert egress_ledger.take()[("127.0.0.1", server.port, "GitLab")].reached == 1

    def test_is_not_noted_where_nobody_listens(self):
        with RawServer(answering(ANSWER)) as server:
            pass
        with pytest.raises(egress.BackendUnreachable):
            fetch_json(server.url)

        assert egress_ledger.take() == {}


class TestRefused:
    def test_is_noted_when_it_is_saved_and_when_it_is_dialed(self):
        with pytest.raises(egress.ValidationError):
            validate_endpoint("http://8.8.8.8:8000/v1")
        with pytest.raises(egress.EgressDenied):
            fetch_json("http://8.8.8.8:8000/v1", purpose=MODEL)

        tally = egress_ledger.take()[Destination("8.8.8.8", 8000, MODEL)]
        assert (tally.reached, tally.refused, tally.reason) == (0, 2, "not_listed")

    def test_keeps_the_last_reason(self):
        egress_ledger.refused(*HERE, reason="never_dialed")
        egress_ledger.refused(*HERE, reason="not_listed")

        assert egress_ledger.take()[HERE].reason == "not_listed"


class TestTake:
    def test_begins_anew(self):
        egress_ledger.reached(*HERE)

        assert len(egress_ledger.take()) == 1
        assert egress_ledger.take() == {}

    def test_holds_no_more_destinations_than_its_limit(self, monkeypatch):
        monkeypatch.setattr(egress_ledger, "DESTINATIONS_MAX", 3)
        for port in range(1, 11):
            egress_ledger.refused("10.0.0.1", port, MODEL, reason="not_listed")

        taken = egress_ledger.take()
        assert len(taken) == 4
        assert taken[Destination(OTHERS, 0, MODEL)].refused == 7


class TestPutBack:
    def test_loses_nothing(self):
        egress_ledger.reached(*HERE)
        egress_ledger.refused(*HERE, reason="not_listed")
        older = egress_ledger.take()
        egress_ledger.reached(*HERE)

        egress_ledger.put_back(older)

        tally = egress_ledger.take()[HERE]
        assert (tally.reached, tally.refused, tally.reason) == (2, 1, "not_listed")
        assert tally.first_at == older[HERE].first_at
        assert tally.last_at > older[HERE].last_at

    def test_takes_what_was_not_noted_since(self):
        egress_ledger.put_back({HERE: Tally(reached=2, first_at=1.0, last_at=2.0)})

        assert egress_ledger.take() == {HERE: Tally(reached=2, first_at=1.0, last_at=2.0)}


class TestFork:
    def test_leaves_to_the_parent_what_it_noted(self):
        egress_ledger.reached(*HERE)
        child = os.fork()
        if child == 0:
            os._exit(len(egress_ledger.take()))

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(egress_ledger.take()) == 1
