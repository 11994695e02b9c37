"""Child processes and free ports, as every part of the rig needs them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable


class DidNotStart(Exception):
    """A part did not come up in time; the message holds the end of its output."""


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(
    condition: Callable[[], object], *, within_s: float, what: str, every_s: float = 0.02
) -> None:
    """Return as soon as the condition holds.

    Raises:
        DidNotStart: it still does not hold after `within_s`.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise DidNotStart(f"{what}: not after {within_s:g} s")
        time.sleep(every_s)


def accepts(port: int) -> bool:
    """Test whether somebody listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def family_of(pid: int) -> list[int]:
    """Return a process and everything below it, the process first."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    pairs = [tuple(map(int, line.split())) for line in listing.splitlines()]
    found = [pid]
    for ancestor in found:
        found.extend(child for child, parent in pairs if parent == ancestor)
    return found


def send_to_family(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a process and everything below it; gone processes are no error."""
    for pid in family_of(process.pid):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end(process: subprocess.Popen[bytes], *, within_s: float = 10) -> None:
    """Ask a process to end and kill what does not."""
    if process.poll() is None:
        send_to_family(process, signal.SIGCONT)
        process.terminate()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        send_to_family(process, signal.SIGKILL)
        process.wait(within_s)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
