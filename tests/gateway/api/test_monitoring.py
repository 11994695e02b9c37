"""Promises of gateway/api/monitoring.py: alive, and able to serve."""

import pytest
from django.db import InterfaceError, OperationalError

from gateway import bus, maintenance
from tests.gateway.api.conftest import send
from tests.rig.processes import wait_until


class TestHealthz:
    def test_is_an_empty_object_for_anybody(self):
        answer = send("GET", "/monitoring/healthz")

        assert (answer.status, answer.body) == (200, b"{}")

    def test_asks_nobody(self, monkeypatch):
        monkeypatch.setattr(maintenance, "_missing", ["the audit log"])

        assert send("GET", "/monitoring/healthz").status == 200


class TestReady:
    @pytest.fixture
    def missing(self, monkeypatch):
        def is_missing(*parts):
            monkeypatch.setattr(maintenance, "_missing", list(parts))

        return is_missing

    def test_is_not_so_before_the_first_look(self, missing):
        missing("the first look")

        answer = send("GET", "/monitoring/ready")

        assert (answer.status, answer.json) == (503, {"detail": "Not ready: the first look."})

    @pytest.mark.parametrize("part", ["the audit log", "the queue"])
    def test_names_what_is_missing(self, missing, part):
        missing(part)

        answer = send("GET", "/monitoring/ready")

        assert (answer.status, answer.json) == (503, {"detail": f"Not ready: {part}."})

    def test_is_so_once_a_process_has_started(self, embedded):
        wait_until(lambda: not maintenance.missing(), within_s=5, what="the first look")

        answer = send("GET", "/monitoring/ready")

        assert (answer.status, answer.body) == (200, b"{}")

    @pytest.mark.parametrize("error", [OperationalError, InterfaceError])
    def test_follows_the_database(self, embedded, monkeypatch, error):
        def away(*_, **__):
            raise error

        monkeypatch.setattr(maintenance, "LOOK_EVERY_S", 0.05)
        with monkeypatch.context() as outage:
            outage.setattr(maintenance, "renew_lease", away)
            wait_until(lambda: maintenance.missing() == ["the audit log"], within_s=5, what="red")
            assert send("GET", "/monitoring/ready").status == 503

        wait_until(lambda: not maintenance.missing(), within_s=5, what="green")
        assert send("GET", "/monitoring/ready").status == 200

    def test_follows_the_queue(self, embedded, monkeypatch):
        monkeypatch.setattr(maintenance, "LOOK_EVERY_S", 0.05)
        monkeypatch.setattr(bus, "is_reachable", lambda: False)

        wait_until(lambda: maintenance.missing() == ["the queue"], within_s=5, what="red")

        assert send("GET", "/monitoring/ready").status == 503
