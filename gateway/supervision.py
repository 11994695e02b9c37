"""Start programs, restart what dies, and let each finish its work before it is stopped.

The supervisor is one thread that looks every 0.2 s. Children run in sessions of their own, so the
terminal's Ctrl-C reaches only the supervisor, which decides; and on Linux they are told to stop
when the supervisor is gone, however it ended.
"""

from __future__ import annotations

import ctypes
import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

LOOK_S = 0.2
QUICK_S = 10.0  # a life shorter than this is a failed start
QUICK_DEATHS = 5  # in a row, and the supervisor gives up
FIRST_PAUSE_S = 0.5  # doubled by each quick death
HURRY_S = 3.0  # what a program gets to stop at once

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class GaveUp(Exception):
    """A program failed again and again; the message says which, in one sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """What to run. `drain_s`: how long it may take to finish its work when told to stop."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    drain_s: float
    log: Path | None = None


@dataclass(kw_only=True, slots=True)
class Child:
    """A program, the process that runs it now, and when it may be started again."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    resume_at: float = 0.0
    quick_deaths: int = 0

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    # Mutators

    def start(self, *, now: float) -> None:
        """Run the program.

        Raises:
            GaveUp: it cannot be run at all.
        """
        program, output = self.program, None
        try:
            output = program.log.open("ab") if program.log else None
            self.process = subprocess.Popen(  # noqa: S603  # commands come from `serve`
                program.command,
                env=dict(program.environment),
                cwd=program.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        except OSError as error:
            raise GaveUp(f"The {program.name} cannot be started ({error.strerror}).") from error
        finally:
            _close(output)
        self.started_at = now

    def look(self, *, now: float, say: Callable[[str], None]) -> None:
        """Notice a death; start again when its pause is over.

        Raises:
            GaveUp: it died too often.
        """
        if self.is_running:
            return
        if self.process is not None:
            self._bury(now=now, say=say)
        if now >= self.resume_at:
            self.start(now=now)

    def _bury(self, *, now: float, say: Callable[[str], None]) -> None:
        assert self.process is not None  # noqa: S101  # the caller looked
        status = self.process.returncode
        self._end_group()
        is_quick = now - self.started_at < QUICK_S
        self.quick_deaths = self.quick_deaths + 1 if is_quick else 0
        name = self.program.name
        if self.quick_deaths >= QUICK_DEATHS:
            where = self.program.log or "the lines above"
            raise GaveUp(
                f"The {name} stopped {QUICK_DEATHS} times within {QUICK_S:.0f} s of its start,"
                f" last with status {status}; see {where} for its reason."
            )
        self.resume_at = now + (FIRST_PAUSE_S * 2 ** (self.quick_deaths - 1) if is_quick else 0.0)
        say(f"The {name} stopped (status {status}); starting it again.")

    def signal(self, number: int) -> None:
        """Send a signal to the program itself, which tells its own children."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self, *, hurry: threading.Event) -> None:
        """Let the program finish its work; end what is left of it after that."""
        if self.process is None:
            return
        self.signal(signal.SIGTERM)
        if not self._ends_within(self.program.drain_s, unless=hurry):
            self.signal(signal.SIGQUIT)
            self._ends_within(HURRY_S)
        self._end_group()

    def _ends_within(self, limit_s: float, *, unless: threading.Event | None = None) -> bool:
        deadline, pause = time.monotonic() + limit_s, unless or threading.Event()
        while self.is_running and time.monotonic() < deadline:
            if pause.wait(0.05):
                break
        return not self.is_running

    def _end_group(self) -> None:
        """Kill what is left of the program's session, and reap the program."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


@dataclass(kw_only=True, slots=True)
class Supervisor:
    """The children in the order in which they are started; they are stopped in the reverse."""

    say: Callable[[str], None]
    children: list[Child] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    hurry: threading.Event = field(default_factory=threading.Event)

    def add(self, program: Program) -> None:
        """Start a program and watch it from now on.

        Raises:
            GaveUp: it cannot be run at all.
        """
        child = Child(program=program)
        self.children.append(child)
        child.start(now=time.monotonic())

    def interrupt(self, *_: object) -> None:
        """Ask for the end, as a signal handler; the second time, ask for haste."""
        if self.stopping.is_set():
            self.hurry.set()
        self.stopping.set()

    def watch(self, *, until: Callable[[], bool]) -> bool:
        """Keep the children running until the condition holds; False if the end was asked for.

        Raises:
            GaveUp: a child died too often.
        """
        while not self.stopping.wait(LOOK_S):
            for child in self.children:
                child.look(now=time.monotonic(), say=self.say)
            if until():
                return True
        return False

    def stop(self) -> None:
        """Stop every child; each has finished before the next is told."""
        for child in reversed(self.children):
            child.stop(hurry=self.hurry)


def find_port_trouble(host: str, port: int) -> str:
    """Return why nothing could listen on this address, as one sentence; empty if it could."""
    if not 0 < port < 65_536:
        return f"There is no port {port}; choose one from 1 to 65535."
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        reason = "another program uses it" if error.errno == errno.EADDRINUSE else error.strerror
        return (
            f"Port {port} on {host} cannot be used ({reason}); choose another one,"
            f" for example: make run PORT={port + 1}"
        )
    return ""


def answers(host: str, port: int, path: str, *, timeout_s: float = 1.0) -> bool:
    """Test whether our own web process answers 200 there."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end_with_parent() -> None:
    """Ask Linux for a SIGTERM when the supervisor is gone; runs in the child before `exec`."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _close(output: IO[bytes] | None) -> None:
    if output is not None:
        output.close()
