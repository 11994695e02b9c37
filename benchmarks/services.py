"""Throw-away Redis and PostgreSQL servers, as an operator would run them, with all their data in
a temporary directory."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from signal import SIGINT

import psycopg

from benchmarks import processes
from benchmarks.processes import Program

# Sizes for a small server; durability (fsync, full_page_writes, synchronous_commit) is untouched.
POSTGRESQL_SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "listen_addresses": "",
}


class Missing(Exception):
    """A server program is not installed; the message is one sentence."""


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    """Test whether somebody listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start_redis(directory: Path, environment: Mapping[str, str]) -> tuple[Program, str]:
    """Return a running Redis without persistence, and its URL.

    Raises:
        Missing: there is neither redis-server nor valkey-server.
    """
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    if server is None:
        raise Missing("There is no redis-server or valkey-server on PATH.")
    port = free_port()
    program = processes.start(
        "Redis",
        [
            *(server, "--bind", "127.0.0.1", "--port", str(port)),
            *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
        ],
        environment=environment,
        directory=directory,
        log=directory / "redis.log",
    )
    processes.wait_until(lambda: accepts(port), what="Redis", programs=[program], within_s=10)
    return program, f"redis://127.0.0.1:{port}/0"


def start_postgresql(directory: Path, environment: Mapping[str, str]) -> tuple[Program, str]:
    """Return a running PostgreSQL with an empty database `enclave`, and its URL.

    Raises:
        Missing: the server programs are not installed.
    """
    home, user = directory / "postgresql", _unprivileged_user()
    home.mkdir()
    if user:
        shutil.chown(home, user)
        for parent in (directory, *directory.parents):
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
    options = [word for item in POSTGRESQL_SETTINGS.items() for word in ("-c", "=".join(item))]
    subprocess.run(
        [
            *(server_program("initdb"), "-D", str(home / "data"), "-U", "enclave"),
            *("-A", "trust", "-E", "UTF8", "--locale", "C", "--no-sync"),
        ],
        env=dict(environment),
        cwd=home,
        user=user,
        capture_output=True,
        check=True,
    )
    program = processes.start(
        "PostgreSQL",
        [server_program("postgres"), "-D", str(home / "data"), "-k", str(home), *options],
        environment=environment,
        directory=home,
        log=directory / "postgresql.log",
        user=user,
        stop_signal=SIGINT,  # "fast": ends sessions instead of waiting for them
    )
    address = f"host={home} user=enclave dbname=postgres"
    processes.wait_until(
        lambda: _connects(address), what="PostgreSQL", programs=[program], within_s=20
    )
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE DATABASE enclave")
    return program, f"postgres://enclave@/enclave?host={home}"


def _connects(address: str) -> bool:
    try:
        psycopg.connect(address).close()
    except psycopg.OperationalError:
        return False
    return True


def _unprivileged_user() -> str | None:
    """Return whom PostgreSQL runs as: it refuses root."""
    if os.geteuid() != 0:
        return None
    names = {line.split(":")[0] for line in Path("/etc/passwd").read_text().splitlines()}
    return next(name for name in ("postgres", "nobody") if name in names)


def server_program(name: str) -> str:
    """Return the path; Debian keeps PostgreSQL's server programs off PATH."""
    newest_first = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"),
        key=lambda path: int(path.parts[-3]),
        reverse=True,
    )
    found = shutil.which(name) or next(map(str, newest_first), None)
    if found is None:
        raise Missing(f"PostgreSQL's {name} was found neither on PATH nor in /usr/lib/postgresql.")
    return found


def fdatasync_ms(directory: Path) -> float:
    """Return the median time that the disk under the directory needs to make 8 KiB durable."""
    times = []
    with (directory / "fdatasync.probe").open("wb") as probe:
        for _ in range(200):
            probe.write(b"\0" * 8192)
            probe.flush()
            began = time.perf_counter()
            os.fdatasync(probe.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return sorted(times)[len(times) // 2]
