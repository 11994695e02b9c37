"""Start everything on this machine: keys, database, Redis if it is found, worker, web process."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection

from gateway import data_dir
from gateway.audit.chain import keys
from gateway.management.commands import first_run
from gateway.supervision import GaveUp, Program, Supervisor, answers, find_port_trouble

READY_WITHIN_S = 60.0
DRAIN_S = 80.0  # gunicorn's graceful_timeout (75 s), and what it needs to notice
SOCKET_PATH_BYTES = 100  # the kernel takes 107
REDIS_SERVERS = ("redis-server", "valkey-server")
REDIS_OPTIONS = (
    *("--port", "0", "--unixsocketperm", "600", "--daemonize", "no"),
    # A wake-up signal and a reply channel: nothing worth keeping, nothing that may be evicted.
    *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
)
WORKER_OPTIONS = (
    *("-P", "gevent", "-c", "1000", "-Q", "inference", "--loglevel", "WARNING"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)
COMPLETION = {
    "prompt_version": 1,
    "current_file": {
        "file_name": "hello.py",
        "content_above_cursor": "def hello():\n    ",
        "content_below_cursor": "",
    },
}


class StartRefused(Exception):
    """Enclave cannot be started; the message is one sentence for an operator."""


class Command(BaseCommand):
    """Set up what is missing, start the processes, watch them until Ctrl-C or SIGTERM."""

    help = __doc__
    # The checks want keys, which the first start has yet to make: they run in `serve`.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the address and the size."""
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument("--port", type=int, default=5052)
        parser.add_argument("--workers", type=int, default=1, help="web processes")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until asked to stop; a reason not to start is one sentence on stderr."""
        try:
            self.serve(host=options["host"], port=options["port"], workers=options["workers"])
        except (StartRefused, data_dir.DataDirRefused, GaveUp) as refusal:
            self.stderr.write(str(refusal))
            raise SystemExit(1) from None

    def serve(self, *, host: str, port: int, workers: int) -> None:
        """Tell the whole story of a start, in order."""
        folder = settings.GATEWAY_DATA_DIR
        os.umask(0o077)
        data_dir.prepare(folder)
        if trouble := find_port_trouble(host, port):
            raise StartRefused(trouble)
        with data_dir.lock(folder):
            if lacks_secrets():
                self.make_secrets(folder)
            signing_key = settings.GATEWAY_SIGNING_KEY_FILE or data_dir.make_signing_key(folder)
            self.check()
            self.make_audit_keys()
            self.migrate()
            facts = first_run.prepare(base_url=base_url(host, port), data_dir=folder)
            environment = {
                **os.environ,  # noqa: TID251  # what the children inherit
                "GATEWAY_SIGNING_KEY_FILE": str(signing_key),
            }
            self.supervise(folder, environment, facts, host=host, port=port, workers=workers)

    def make_secrets(self, folder: Path) -> NoReturn:
        """Make this installation's keys and start again, for the settings are read once.

        Raises:
            StartRefused: they were made before, and the settings do not know them.
        """
        if not data_dir.make_secrets(folder):
            raise StartRefused(
                f"SECRET_KEY or GATEWAY_ENCRYPTION_KEYS is empty although {folder / 'secrets.env'}"
                " exists; put them back into that file, or into the environment."
            )
        self.say("Made the keys of this installation.")
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606  # ourselves, no shell

    def make_audit_keys(self) -> None:
        """Make the keys that prove the audit log, unless they are there.

        Raises:
            StartRefused: one of them cannot be used.
        """
        try:
            keys.require()
        except keys.KeyUnusable as error:
            raise StartRefused(str(error)) from error

    def migrate(self) -> None:
        """Bring the database up to date.

        Raises:
            StartRefused: it cannot be reached or written.
        """
        self.say("Preparing the database …")
        try:
            call_command("migrate", interactive=False, verbosity=0)
        except DatabaseError as error:
            reason = str(error).splitlines()[0]
            raise StartRefused(f"The database cannot be used: {reason}") from error

    def supervise(
        self,
        folder: Path,
        environment: Mapping[str, str],
        facts: Mapping[str, str],
        *,
        host: str,
        port: int,
        workers: int,
    ) -> None:
        """Start the processes, say when they answer, keep them running, stop them."""
        connection.close()
        supervisor = Supervisor(say=self.say)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, supervisor.interrupt)
        try:
            redis_url = settings.REDIS_URL or self.start_redis(supervisor, folder, environment)
            if redis_url:
                environment = {**environment, "REDIS_URL": redis_url}
                supervisor.add(worker(environment))
            supervisor.add(web(environment, host=host, port=port, workers=workers))
            self.say("Starting the web process …")
            if supervisor.watch(until=answering(reachable(host), port)):
                self.announce(facts, base_url=base_url(host, port))
                supervisor.watch(until=lambda: False)
        finally:
            self.say("Stopping: open requests may finish; Ctrl-C again to hurry.")
            supervisor.stop()
            self.say("Stopped.")

    def start_redis(
        self, supervisor: Supervisor, folder: Path, environment: Mapping[str, str]
    ) -> str:
        """Start a private Redis if this machine has one; return its URL, or nothing."""
        server = next(filter(None, map(shutil.which, REDIS_SERVERS)), None)
        if server is None:
            self.say("No Redis found: the web process calls the models itself.")
            return ""
        path = socket_path(folder)
        self.say(f"Starting {Path(server).name} and the worker …")
        supervisor.add(redis(server, path, folder, environment))
        supervisor.watch(until=path.exists)
        return f"unix://{path}"

    def announce(self, facts: Mapping[str, str], *, base_url: str) -> None:
        """Print what a person needs to use it, once."""
        key = facts.get("API_KEY", "YOUR_API_KEY")
        lines = ["", "Enclave is running. Ctrl-C stops it.", "", f"  Admin    {facts['ADMIN_URL']}"]
        if "ADMIN_PASSWORD" in facts:
            lines.append(f"  Login    {facts['ADMIN_USER']} / {facts['ADMIN_PASSWORD']}")
            lines.append(f"  API key  {key}")
        else:
            lines.append("  Login and API key were shown on the first start.")
        lines += ["", "Try it:", "", curl_line(base_url, key), ""]
        self.say("\n".join(lines))

    def say(self, text: str) -> None:
        """Show progress at once; a terminal that was closed stops nothing."""
        with suppress(OSError):
            self.stdout.write(text)
            self.stdout.flush()


def lacks_secrets() -> bool:
    """Test whether the settings hold no keys, or only the development stand-in."""
    stand_in = settings.SECRET_KEY.startswith("development-only")
    return stand_in or not settings.GATEWAY_ENCRYPTION_KEYS


def redis(server: str, path: Path, folder: Path, environment: Mapping[str, str]) -> Program:
    """Return a Redis that only this user can reach: a socket, and no port."""
    return Program(
        name="Redis",
        command=(server, *REDIS_OPTIONS, "--unixsocket", str(path)),
        environment=environment,
        directory=folder,
        drain_s=5.0,
        log=folder / "redis.log",
    )


def worker(environment: Mapping[str, str]) -> Program:
    """Return the Celery worker that calls the models."""
    # Celery's advice against root is four lines long; who runs this as root has decided.
    quiet = ("-W", "ignore:You're running the worker", "-m", "celery", "-q")
    return Program(
        name="worker",
        command=(sys.executable, *quiet, "-A", "gateway", "worker", *WORKER_OPTIONS),
        environment=environment,
        directory=settings.BASE_DIR,
        drain_s=DRAIN_S,
    )


def web(environment: Mapping[str, str], *, host: str, port: int, workers: int) -> Program:
    """Return the web server; its other settings stand in gateway/gunicorn_conf.py."""
    return Program(
        name="web process",
        command=(
            *(sys.executable, "-m", "gunicorn", "-c", "python:gateway.gunicorn_conf"),
            *("--bind", f"{bracketed(host)}:{port}", "--workers", str(workers)),
            "gateway.wsgi:application",
        ),
        environment=environment,
        directory=settings.BASE_DIR,
        drain_s=DRAIN_S,
    )


def answering(host: str, port: int) -> Callable[[], bool]:
    """Return the test for the web process being ready.

    Raises (the test): StartRefused, when it took too long.
    """
    deadline = time.monotonic() + READY_WITHIN_S

    def test() -> bool:
        if answers(host, port, "/monitoring/healthz"):
            return True
        if time.monotonic() > deadline:
            raise StartRefused(
                f"The web process did not answer within {READY_WITHIN_S:.0f} s; the lines above"
                " may say why."
            )
        return False

    return test


def socket_path(folder: Path) -> Path:
    """Return where Redis listens: the data directory, or a private one if that name is too long."""
    path = folder.resolve() / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    return Path(tempfile.mkdtemp(prefix="enclave-")) / "redis.sock"


def reachable(host: str) -> str:
    """Return the address to call for an address to listen on."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # looked up, not bound


def bracketed(host: str) -> str:
    """Return the address as it stands before a colon and a port."""
    return f"[{host}]" if ":" in host else host


def base_url(host: str, port: int) -> str:
    """Return the URL of our own web process."""
    return f"http://{bracketed(reachable(host))}:{port}"


def curl_line(base_url: str, key: str) -> str:
    """Return one line for a shell that gets a real answer."""
    words = ["curl", "-sS", f"{base_url}/v2/code/completions"]
    words += ["-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json"]
    return shlex.join([*words, "-d", json.dumps(COMPLETION)])
