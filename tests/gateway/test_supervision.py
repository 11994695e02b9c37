"""The supervisor with real child processes."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from gateway import supervision
from gateway.supervision import (
    GaveUp,
    Program,
    Supervisor,
    answers,
    find_port_trouble,
)
from tests.rig.processes import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def said():
    return []


@pytest.fixture
def supervisor(said):
    supervisor = Supervisor(say=said.append)
    yield supervisor
    supervisor.hurry.set()
    supervisor.stop()


@pytest.fixture
def program(tmp_path):
    def make(name="sleeper", code="import time; time.sleep(60)", *, drain_s=5.0):
        return Program(
            name=name,
            command=(sys.executable, "-c", textwrap.dedent(code)),
            environment=dict(os.environ),
            directory=tmp_path,
            drain_s=drain_s,
        )

    return make


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestWatch:
    def test_starts_again_what_died(self, supervisor, program, said):
        supervisor.add(program("web process"))
        child = supervisor.children[0]
        first = child.process.pid
        child.process.kill()

        supervisor.watch(until=lambda: child.is_running and child.process.pid != first)

        assert is_alive(child.process.pid)
        assert said == ["The web process stopped (status -9); starting it again."]

    def test_gives_up_on_what_never_lives_and_names_it(self, supervisor, program, monkeypatch):
        monkeypatch.setattr(supervision, "FIRST_PAUSE_S", 0.01)
        supervisor.add(program("web process", "raise SystemExit(3)"))

        with pytest.raises(GaveUp, match=r"^The web process stopped 5 times .* with status 3;"):
            supervisor.watch(until=lambda: False)

    def test_pauses_longer_after_each_quick_death(self, supervisor, program, tmp_path, monkeypatch):
        monkeypatch.setattr(supervision, "FIRST_PAUSE_S", 0.2)
        monkeypatch.setattr(supervision, "LOOK_S", 0.01)
        log = tmp_path / "starts"
        supervisor.add(
            program(code=f"import time; print(time.monotonic(), file=open({str(log)!r}, 'a'))")
        )

        with pytest.raises(GaveUp):
            supervisor.watch(until=lambda: False)

        starts = [float(line) for line in log.read_text().split()]
        pauses = [later - sooner for sooner, later in itertools.pairwise(starts)]
        assert len(starts) == 5
        assert all(later > sooner for sooner, later in itertools.pairwise(pauses))

    def test_forgets_quick_deaths_after_a_long_life(self, supervisor, program, monkeypatch):
        monkeypatch.setattr(supervision, "QUICK_S", 0.05)
        supervisor.add(program(code="import time; time.sleep(0.3)"))
        child = supervisor.children[0]
        seen = set()

        def lived_six_times():
            seen.add(child.process.pid if child.process else None)
            return len(seen - {None}) >= supervision.QUICK_DEATHS + 1

        assert supervisor.watch(until=lived_six_times)

    def test_says_what_cannot_be_started_at_all(self, supervisor, tmp_path):
        missing = Program(
            name="Redis",
            command=("/nowhere/redis-server",),
            environment={},
            directory=tmp_path,
            drain_s=1.0,
        )

        with pytest.raises(GaveUp, match=r"^The Redis cannot be started \(No such file"):
            supervisor.add(missing)

    def test_ends_when_it_is_interrupted(self, supervisor, program):
        supervisor.add(program())
        threading.Timer(0.3, supervisor.interrupt).start()

        assert supervisor.watch(until=lambda: False) is False


class TestStop:
    def test_lets_each_finish_before_the_next_is_told_in_reverse_order(
        self, supervisor, program, tmp_path
    ):
        log = tmp_path / "ends"
        code = """
            import signal, sys, time
            def end(*_):
                time.sleep(0.3)
                print("{name}", time.monotonic(), file=open({log!r}, "a"))
                sys.exit()
            signal.signal(signal.SIGTERM, end)
            open("{name}.ready", "w")
            time.sleep(60)
        """
        for name in ("redis", "worker", "web"):
            supervisor.add(program(name, code.format(name=name, log=str(log))))
            ready = tmp_path / f"{name}.ready"
            wait_until(ready.exists, within_s=10, what=name)

        supervisor.stop()

        ends = [line.split() for line in log.read_text().splitlines()]
        assert [name for name, _ in ends] == ["web", "worker", "redis"]
        assert all(
            float(later[1]) - float(sooner[1]) >= 0.3 for sooner, later in itertools.pairwise(ends)
        )

    def test_kills_what_does_not_end_in_time_with_all_it_started(
        self, supervisor, program, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(supervision, "HURRY_S", 0.2)
        code = """
            import os, signal, subprocess, sys, time
            for number in (signal.SIGTERM, signal.SIGQUIT):
                signal.signal(number, signal.SIG_IGN)
            grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            with open("pids.tmp", "w") as pids:
                print(os.getpid(), grandchild.pid, file=pids)
            os.rename("pids.tmp", "pids")
            time.sleep(60)
        """
        supervisor.add(program(code=code, drain_s=0.2))
        wait_until((tmp_path / "pids").exists, within_s=10, what="the program")
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]

        supervisor.stop()

        wait_until(lambda: not any(map(is_alive, pids)), within_s=2, what="the end of the group")

    def test_waits_no_longer_after_a_second_interrupt(self, supervisor, program, tmp_path):
        code = """
            import signal, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            open("ready", "w")
            time.sleep(60)
        """
        supervisor.add(program(code=code, drain_s=30.0))
        wait_until((tmp_path / "ready").exists, within_s=10, what="the program")
        supervisor.interrupt()
        threading.Timer(0.2, supervisor.interrupt).start()

        started = time.monotonic()
        supervisor.stop()

        assert time.monotonic() - started < 15

    def test_leaves_a_dead_program_alone(self, supervisor, program):
        supervisor.add(program(code=""))
        supervisor.children[0].process.wait()

        supervisor.stop()

        assert supervisor.children[0].process is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children")
class TestSupervisorThatIsKilled:
    def test_takes_its_children_along(self, tmp_path):
        code = """
            import os, sys, time
            from pathlib import Path
            from gateway.supervision import Program, Supervisor
            supervisor = Supervisor(say=print)
            supervisor.add(Program(
                name="child", command=(sys.executable, "-c", "import time; time.sleep(60)"),
                environment=dict(os.environ), directory=Path("."), drain_s=1.0,
            ))
            print(supervisor.children[0].process.pid, flush=True)
            time.sleep(60)
        """
        parent = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        child = int(parent.stdout.readline())

        parent.kill()
        parent.wait()
        parent.stdout.close()

        wait_until(lambda: not is_alive(child), within_s=5, what="the end of the child")

    def test_keeps_the_terminals_interrupt_from_its_children(self, supervisor, program):
        supervisor.add(program())

        pid = supervisor.children[0].process.pid

        assert os.getsid(pid) == pid != os.getsid(0)


class TestFindPortTrouble:
    def test_finds_none_on_a_free_port(self):
        assert find_port_trouble("127.0.0.1", free_port()) == ""

    def test_finds_none_where_a_server_has_just_ended(self):
        port = free_port()
        with socket.create_server(("127.0.0.1", port)) as server:
            client = socket.create_connection(("127.0.0.1", port))
            accepted, _ = server.accept()
            accepted.close()
            client.close()

        assert find_port_trouble("127.0.0.1", port) == ""

    def test_names_a_port_in_use_and_the_way_out_in_one_sentence(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]

            trouble = find_port_trouble("127.0.0.1", port)

        assert trouble == (
            f"Port {port} on 127.0.0.1 cannot be used (another program uses it);"
            f" choose another one, for example: make run PORT={port + 1}"
        )

    def test_knows_how_many_ports_there_are(self):
        assert find_port_trouble("127.0.0.1", 70_000).startswith("There is no port 70000;")

    def test_names_an_address_that_is_not_ours(self):
        assert "192.0.2.1" in find_port_trouble("192.0.2.1", 5052)


class TestAnswers:
    @pytest.mark.parametrize(
        ("status", "expected"), [("200 OK", True), ("503 Service Unavailable", False)]
    )
    def test_believes_only_a_200(self, status, expected):
        with socket.create_server(("127.0.0.1", 0)) as server:

            def reply():
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

            thread = threading.Thread(target=reply)
            thread.start()

            answered = answers("127.0.0.1", server.getsockname()[1], "/monitoring/healthz")

            thread.join()
        assert answered is expected

    def test_takes_nobody_for_not_yet(self):
        assert answers("127.0.0.1", free_port(), "/") is False

    def test_takes_silence_for_not_yet(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]

            assert answers("127.0.0.1", port, "/", timeout_s=0.2) is False
