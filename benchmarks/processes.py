"""Start real programs, read what they cost from /proc, and stop them again.

CPU is user and system time of a program and of everything it started, including children that have
ended. Memory is PSS: shared pages are divided by the number of processes that share them.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STOP_WITHIN_S = 15.0


class DidNotStart(Exception):
    """A program of a target did not come up; the message names it and the end of its log."""


@dataclass(kw_only=True)
class Program:
    """A running program. `role` is the column of the report that its CPU belongs to."""

    role: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: int = signal.SIGTERM

    def check_alive(self) -> None:
        """Complain if the program has ended.

        Raises:
            DidNotStart: it has; the message holds the end of its log.
        """
        if self.process.poll() is not None:
            raise DidNotStart(
                f"{self.role} ended with status {self.process.returncode}:\n{self.last_words()}"
            )

    def last_words(self) -> str:
        """Return the end of the log."""
        return self.log.read_text(errors="replace")[-2_000:]

    def stop(self) -> None:
        """Ask the program to end, then end its whole session."""
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_WITHIN_S)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start(
    role: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    log: Path,
    user: str | None = None,
    stop_signal: int = signal.SIGTERM,
) -> Program:
    """Start a program in a session of its own, writing to its log."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            user=user,
            group=user and _group_of(user),
            extra_groups=[] if user else None,
        )
    return Program(role=role, process=process, log=log, stop_signal=stop_signal)


def _group_of(user: str) -> int:
    return pwd.getpwnam(user).pw_gid


def cpu_s(programs: Sequence[Program]) -> dict[str, float]:
    """Return the CPU seconds used so far, by role."""
    children = _children()
    used: dict[str, float] = {}
    for program in programs:
        ticks = sum(_ticks(pid) for pid in _tree(program.process.pid, children))
        used[program.role] = used.get(program.role, 0.0) + ticks / TICKS_PER_S
    return used


def machine_busy_s() -> float:
    """Return the CPU seconds that anything on this machine has used since it started."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def pss_mib(programs: Sequence[Program]) -> dict[str, float]:
    """Return the memory in use now, by role."""
    children = _children()
    used: dict[str, float] = {}
    for program in programs:
        kib = sum(_pss_kib(pid) for pid in _tree(program.process.pid, children))
        used[program.role] = used.get(program.role, 0.0) + kib / 1024
    return used


@dataclass(kw_only=True)
class PeakMemory:
    """Look at the programs' memory twice a second while the context lasts; `peak` is by role."""

    programs: Sequence[Program]
    peak: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> PeakMemory:
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(0.5):
            for role, used in pss_mib(self.programs).items():
                self.peak[role] = max(used, self.peak.get(role, 0.0))


def wait_until(
    is_true: Callable[[], bool], *, what: str, programs: Sequence[Program], within_s: float
) -> None:
    """Wait for a condition while the programs live.

    Raises:
        DidNotStart: one of them ended, or the time is over.
    """
    until = time.monotonic() + within_s
    while not is_true():
        for program in programs:
            program.check_alive()
        if time.monotonic() > until:
            logs = "\n".join(f"--- {p.role}\n{p.last_words()}" for p in programs)
            raise DidNotStart(f"{what} took more than {within_s:.0f} s.\n{logs}")
        time.sleep(0.1)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat after the program's name; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _ticks(pid: int) -> int:
    # Own user and system time, and that of children that were waited for (proc(5), 14 to 17).
    return sum(int(value) for value in _stat(pid)[11:15])


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    return children


def _tree(pid: int, children: Mapping[int, list[int]]) -> list[int]:
    return [pid] + [deeper for child in children.get(pid, []) for deeper in _tree(child, children)]


def _pss_kib(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass
    return 0
