"""The chain of a log that processes wrote which were killed: whole, and covered again soon."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import pytest
import requests

from tests.line.conftest import asker
from tests.rig.gateway import ROOT, Gateway
from tests.rig.processes import wait_until


@pytest.fixture(params=["server on SQLite", "server on PostgreSQL"])
def line(request, tmp_path, gitlab):
    gateway = Gateway(
        tmp_path / "gateway",
        gitlab=gitlab,
        redis_server=request.getfixturevalue("redis_server"),
        database_url=(
            request.getfixturevalue("postgres_url") if "PostgreSQL" in request.param else None
        ),
        environment={
            "GATEWAY_LEASE_S": "3",
            "GATEWAY_AUDIT_CHECKPOINT_S": "1",
            "GATEWAY_AUDIT_ANCHORS": f"file://{tmp_path}/outside.log",
        },
    )
    gateway.switch_on("code_completions")
    yield gateway
    gateway.stop()


def verify(line):
    """Return the exit status of `manage.py audit verify` and what it said."""
    done = subprocess.run(
        [sys.executable, "manage.py", "audit", "verify"],
        cwd=ROOT,
        env=line.environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@contextmanager
def load(ask, backend):
    """Ask all the time, for answers, streams and failures; returns with the first answers."""
    stopping = threading.Event()

    def run(behavior):
        while not stopping.is_set():
            with suppress(requests.exceptions.RequestException):
                ask(behavior, timeout=5, stream="tokens" in behavior).close()

    threads = [
        threading.Thread(target=run, args=(behavior,), daemon=True)
        for behavior in ("stub", "stub", "slow-20ms_tokens-50", "err-500")
    ]
    for thread in threads:
        thread.start()
    try:
        more = len(backend.calls) + 10
        wait_until(lambda: len(backend.calls) > more, within_s=30, what="the load")
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join(10)


class TestKilledProcesses:
    def test_leave_a_chain_without_a_flaw(self, line, backend):
        ask = asker(line, backend)
        assert ask().status_code == 200
        with load(ask, backend):
            line.kill_worker()
        line.start_worker()
        with load(ask, backend):
            line.kill_web()
        line.start_web()
        with load(ask, backend):
            pass

        def is_settled():
            still_open = [row for row in line.records() if not row["closed_at"]]
            return not still_open and "0 not yet anchored" in verify(line)[1]

        wait_until(is_settled, within_s=40, what="closed and covered records")
        status, said = verify(line)
        assert (status, "No sign of tampering." in said) == (0, True), said
        assert " 0 signed" in said
        assert len(line.records()) > 20
        assert len(line.query("SELECT id FROM audit_lane")) == 4

    def test_are_followed_by_a_checkpoint_of_others_within_the_minute(self, line, tmp_path):
        def numbers():
            lines = (tmp_path / "outside.log").read_text().splitlines()
            said = [json.loads(json.loads(text)["statement"])["number"] for text in lines]
            return sorted(set(said))

        wait_until((tmp_path / "outside.log").exists, within_s=10, what="a checkpoint")
        line.kill_web()
        before = numbers()[-1]

        wait_until(lambda: numbers()[-1] > before + 2, within_s=15, what="checkpoints")

        assert numbers() == list(range(numbers()[0], numbers()[-1] + 1))
