"""What is loaded: one class for each way to run a gateway, and the model server itself.

To add a target, write a subclass of Target and list it in `line_up`. It has to start its programs,
write the HTTP request for a workload, and say what its log holds, if it keeps one.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psycopg

from benchmarks import processes, services, workloads
from benchmarks.processes import Program
from benchmarks.workloads import Workload

REPOSITORY = Path(__file__).resolve().parent.parent
# The client overwrites the zeros for each request and expects its own number in every token.
ID = "bench-id:00000000"
ABOVE = (
    '"""Totals of an order, with the discounts of the customer."""\n\n'
    "from decimal import Decimal\n\n\n"
    + "".join(
        f"def line_total_{n}(price: Decimal, quantity: int, discount: Decimal) -> Decimal:\n"
        f'    """Return the price of line {n} after its discount."""\n'
        "    return price * quantity * (1 - discount)\n\n\n"
        for n in range(1, 6)
    )
    + f"# {ID}\ndef order_total(lines):\n    "
)
BELOW = (
    "\n\n\ndef test_order_total() -> None:\n"
    "    lines = [(Decimal(10), 2, Decimal(0)), (Decimal(5), 1, Decimal('0.1'))]\n\n"
    "    assert order_total(lines) == Decimal('24.5')\n\n\n"
    'if __name__ == "__main__":\n    test_order_total()\n'
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Log:
    """What a target's log holds: records by state, and answered ones with both halves stored."""

    by_state: Mapping[str, int]
    pairs: int


class Target:
    """Something that answers the workloads' requests on a port of 127.0.0.1.

    `ends_with_done`: its streams end in "[DONE]", as OpenAI's do. `is_peer`: somebody else's.
    """

    slug: ClassVar[str]
    label: ClassVar[str]
    ends_with_done: ClassVar[bool] = False
    is_peer: ClassVar[bool] = False

    def __init__(self, *, directory: Path, stub_port: int) -> None:
        """Nothing runs before `start`; everything the target writes goes into the directory."""
        self.directory = directory
        self.stub_port = stub_port
        self.port = 0
        self.programs: list[Program] = []

    def start(self) -> None:
        """Start the programs and return when the target can answer.

        Raises:
            Missing: a program that it needs is not installed.
            DidNotStart: one of them failed.
        """
        raise NotImplementedError

    def request(self, workload: Workload) -> bytes:
        """Return the whole HTTP request of a workload; it holds ID once."""
        raise NotImplementedError

    def log(self) -> Log | None:
        """Return what the log holds, read from the database; None where there is no log."""
        return None

    def stop(self) -> None:
        """Stop the programs, the youngest first."""
        for program in reversed(self.programs):
            program.stop()


class Direct(Target):
    """The model server, asked without anything between."""

    slug = "direct"
    label = "direct"
    ends_with_done = True

    def start(self) -> None:
        self.port = self.stub_port

    def request(self, workload: Workload) -> bytes:
        return http_request("/v1/chat/completions", self.port, {}, chat_body(workload))


class Enclave(Target):
    """Enclave in one process with SQLite; its subclasses add Redis, a worker and PostgreSQL."""

    slug = "embedded"
    label = "Enclave embedded (SQLite)"
    has_redis: ClassVar[bool] = False
    has_postgresql: ClassVar[bool] = False

    def start(self) -> None:
        self._start_services()
        self._manage("migrate", "--verbosity", "0")
        self._configure()
        self.port = services.free_port()
        self._run(
            "web",
            *("gunicorn", "gateway.wsgi:application", "-c", "gateway/gunicorn_conf.py"),
            *("-b", f"127.0.0.1:{self.port}"),
        )
        if self.has_redis:
            self._run(
                "worker",
                *("celery", "-A", "gateway", "worker", "-P", "gevent", "-c", "1000"),
                *("-Q", "inference", "-l", "WARNING"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            )
        processes.wait_until(self._is_healthy, what=self.label, programs=self.programs, within_s=60)

    def request(self, workload: Workload) -> bytes:
        body = {
            "prompt_version": 1,
            "current_file": {
                "file_name": "app.py",
                "content_above_cursor": ABOVE,
                "content_below_cursor": BELOW,
            },
            "stream": workload.is_streamed,
        }
        headers = {"Authorization": f"Bearer {self._facts['keys'][workload.model]}"}
        return http_request("/v2/code/completions", self.port, headers, body)

    def log(self) -> Log:
        record, content = self._facts["record_table"], self._facts["content_table"]
        states = self._rows(f"SELECT state, count(*) FROM {record} GROUP BY state")  # noqa: S608
        pairs = self._rows(
            f"SELECT count(*) FROM {record} AS r"  # noqa: S608  # our own table names
            f" JOIN {content} AS asked ON asked.record_id = r.id AND asked.kind = 1"
            f" JOIN {content} AS told ON told.record_id = r.id AND told.kind = 2"
            " WHERE r.state = 'answered'"
        )
        return Log(by_state=dict(states), pairs=pairs[0][0])

    def _start_services(self) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "LANG": "C.UTF-8",
            "DJANGO_SETTINGS_MODULE": "gateway.settings.development",
            "GATEWAY_DATA_DIR": str(self.directory),
            "SECRET_KEY": base64.b64encode(os.urandom(48)).decode(),
            "GATEWAY_ENCRYPTION_KEYS": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            # Set, though empty: a developer's .env must not reach the benchmark.
            "DATABASE_URL": "",
            "REDIS_URL": "",
        }
        if self.has_postgresql:
            program, url = services.start_postgresql(self.directory, self._environment)
            self.programs.append(program)
            self._environment["DATABASE_URL"] = url
        if self.has_redis:
            program, url = services.start_redis(self.directory, self._environment)
            self.programs.append(program)
            self._environment["REDIS_URL"] = url

    def _configure(self) -> None:
        endpoint = f"http://127.0.0.1:{self.stub_port}/v1"
        wanted = {"endpoint": endpoint, "models": workloads.models()}
        told = self._python("-m", "benchmarks.configure", given=json.dumps(wanted))
        self._facts = json.loads(told.splitlines()[-1])

    def _manage(self, *words: str) -> None:
        self._python("manage.py", *words)

    def _python(self, *words: str, given: str = "") -> str:
        done = subprocess.run(
            [sys.executable, *words],
            input=given,
            env=self._environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise processes.DidNotStart(f"{' '.join(words)} failed:\n{done.stderr[-2_000:]}")
        return done.stdout

    def _run(self, role: str, *command: str) -> None:
        self.programs.append(
            processes.start(
                role,
                [sys.executable, "-m", *command],
                environment=self._environment,
                directory=REPOSITORY,
                log=self.directory / f"{role}.log",
            )
        )

    def _is_healthy(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.port}/monitoring/healthz"
            with urllib.request.urlopen(url, timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def _rows(self, statement: str) -> list[tuple[str, int]]:
        if self.has_postgresql:
            address = f"host={self.directory}/postgresql user=enclave dbname=enclave"
            with psycopg.connect(address) as connection:
                return connection.execute(statement).fetchall()
        path = self.directory / "enclave.sqlite3"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(statement).fetchall()


class EnclaveServerSqlite(Enclave):
    """Enclave's web process and worker, with Redis between them and SQLite under them."""

    slug = "server-sqlite"
    label = "Enclave server (Redis + SQLite)"
    has_redis = True


class EnclaveServerPostgresql(Enclave):
    """Enclave's web process and worker, with Redis between them and PostgreSQL under them."""

    slug = "server-postgresql"
    label = "Enclave server (Redis + PostgreSQL)"
    has_redis = True
    has_postgresql = True


def chat_body(workload: Workload) -> dict[str, object]:
    """Return the JSON of a workload's request in OpenAI's chat format."""
    return {
        "model": workload.model,
        "messages": [{"role": "user", "content": ABOVE + BELOW}],
        "max_tokens": 256,
        "temperature": 0,
        "stream": workload.is_streamed,
    }


def http_request(
    path: str, port: int, headers: Mapping[str, str], body: Mapping[str, object]
) -> bytes:
    """Return the bytes of a POST with a JSON body, as a client with a kept connection sends it."""
    content = json.dumps(body, separators=(",", ":")).encode()
    lines = {
        "Host": f"127.0.0.1:{port}",
        "Accept": "*/*",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content
