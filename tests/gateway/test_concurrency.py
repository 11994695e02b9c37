"""Promises of gateway/concurrency.py, in plain threads here and under gevent in a child process."""

import subprocess
import sys
import threading

import pytest

from gateway import concurrency
from gateway.concurrency import NativeThread


def under_gevent(code):
    """Run code in a process that gevent has patched and return what it printed."""
    patched = f"from gevent import monkey; monkey.patch_all()\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", patched], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.strip()


class TestIsGevent:
    def test_is_false_in_plain_threads(self):
        assert not concurrency.is_gevent()

    def test_is_true_where_gunicorn_or_celery_patched_the_process(self):
        code = "from gateway import concurrency; print(concurrency.is_gevent())"

        assert under_gevent(code) == "True"


class TestStart:
    def test_runs_beside_the_caller(self):
        here, done = threading.Event(), threading.Event()

        concurrency.start(lambda: (here.wait(5), done.set()))
        here.set()

        assert done.wait(5)

    def test_passes_arguments_and_names_the_thread(self):
        seen, done = [], threading.Event()

        def note(value):
            seen.append((value, threading.current_thread().name))
            done.set()

        concurrency.start(note, 7, name="writer")

        assert done.wait(5)
        assert seen == [(7, "writer")]

    def test_keeps_no_process_alive(self):
        code = (
            "import time; from gateway import concurrency\n"
            "concurrency.start(time.sleep, 60); print('ended')"
        )

        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True
        )

        assert done.stdout == "ended\n"

    def test_runs_a_greenlet_under_gevent(self):
        code = (
            "import gevent, time; from gateway import concurrency\n"
            "seen = []\n"
            "concurrency.start(lambda: seen.append(type(gevent.getcurrent()).__name__))\n"
            "time.sleep(0.01); print(*seen)"
        )

        assert under_gevent(code) == "Greenlet"


class TestNativeThread:
    def test_returns_what_the_function_returns(self):
        assert NativeThread().run(divmod, 7, 2) == (3, 1)

    def test_raises_what_the_function_raises(self):
        with pytest.raises(ZeroDivisionError):
            NativeThread().run(divmod, 7, 0)

    def test_stops_no_greenlet_while_c_code_blocks(self):
        # sqlite3 sleeps inside C when the database is locked, as it does here for half a second.
        code = """
import sqlite3, tempfile, time
from gateway import concurrency
path = tempfile.mkdtemp() + "/db"
one = sqlite3.connect(path, isolation_level=None)
one.execute("CREATE TABLE t (a)")
one.execute("BEGIN IMMEDIATE")
beats = []
def beat():
    while True:
        beats.append(time.monotonic())
        time.sleep(0.01)
concurrency.start(beat)
thread = concurrency.NativeThread()
two = thread.run(lambda: sqlite3.connect(path, timeout=0.5, isolation_level=None))
try:
    thread.run(lambda: two.execute("BEGIN IMMEDIATE"))
except sqlite3.OperationalError as exc:
    print(exc, max(b - a for a, b in zip(beats, beats[1:])) < 0.25, len(beats) > 10)
"""

        assert under_gevent(code) == "database is locked True True"

    def test_raises_into_the_greenlet_that_asked(self):
        code = (
            "from gateway.concurrency import NativeThread\n"
            "try: NativeThread().run(divmod, 1, 0)\n"
            "except ZeroDivisionError: print('raised')"
        )

        assert under_gevent(code) == "raised"
