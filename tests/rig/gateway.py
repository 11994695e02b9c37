"""Gateway: the product itself, started as processes for a test.

gateway = Gateway(directory, gitlab=gitlab, redis=redis_server)   # web and worker
gateway = Gateway(directory, gitlab=gitlab)                       # embedded: no Redis, no worker
gateway.switch_on("code_completions")
gateway.post("/v2/code/completions", json={...}, headers=gitlab.headers())
gateway.records()                                                 # what the log says
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import redis
import requests
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.rig.gitlab import FakeGitLab, rsa_key
from tests.rig.processes import DidNotStart, end, free_port, send_to_family, wait_until
from tests.rig.services import RedisServer

ROOT = Path(__file__).resolve().parents[2]
START_S = 30
CONFIG_VERSION = re.compile(r'"snapshot.loaded","config_version":(\d+)')
# What a child needs of our environment; the rest of the developer's shell stays out.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START")

_migrated: list[bytes] = []


class Gateway:
    """The running product: a web process, and a worker where there is a Redis."""

    def __init__(
        self,
        directory: Path,
        *,
        gitlab: FakeGitLab,
        redis_server: RedisServer | None = None,
        database_url: str | None = None,
        environment: dict[str, str] | None = None,
        web_options: tuple[str, ...] = (),
    ) -> None:
        """Migrate the database and start everything.

        `environment` adds to, or replaces, what the processes are told.
        """
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.gitlab = gitlab
        self.redis_server = redis_server
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.encryption_key = Fernet.generate_key().decode()
        self.secret_key = "rig-secret-" + os.urandom(24).hex()
        self.signing_key_file = directory / "signing_key.pem"
        self.signing_key_file.write_bytes(
            rsa_key("enclave").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self.signing_key_file.chmod(0o600)
        self.database_url = database_url or f"sqlite:///{directory / 'enclave.sqlite3'}"
        self.environment = {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "DJANGO_SETTINGS_MODULE": "gateway.settings.development",
            "SECRET_KEY": self.secret_key,
            "GATEWAY_ENCRYPTION_KEYS": self.encryption_key,
            "GATEWAY_SIGNING_KEY_FILE": str(self.signing_key_file),
            "GATEWAY_DATA_DIR": str(directory),
            "DATABASE_URL": self.database_url,
            "GATEWAY_GITLAB_URL": gitlab.url,
            "GATEWAY_SNAPSHOT_POLL_S": "0.1",
            "PYTHONUNBUFFERED": "1",
            **({"REDIS_URL": redis_server.url} if redis_server else {}),
            **(environment or {}),
        }
        self.web_options = web_options
        self.session = requests.Session()
        self.session.trust_env = False
        self.web: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self._create_tables()
        self.start()

    def _create_tables(self) -> None:
        """Migrate, once for all SQLite databases of this session: it takes a second and a half."""
        if not self.database_url.startswith("sqlite"):
            self.manage("migrate", "--verbosity", "0")
            return
        path = Path(self.database_url.removeprefix("sqlite:///"))
        if path.exists():
            return
        if not _migrated:
            self.manage("migrate", "--verbosity", "0")
            _migrated.append(path.read_bytes())
        path.write_bytes(_migrated[0])

    # Processes

    def start(self) -> None:
        """Start web and worker and wait until both take work."""
        self.start_web(wait=False)
        if self.redis_server:
            self.start_worker()
        self._wait_for_web()

    def start_web(self, *, wait: bool = True) -> None:
        """Start the web process."""
        self.web = self._start(
            "web",
            *("gunicorn", "gateway.wsgi:application", "-c", "gateway/gunicorn_conf.py"),
            *("--bind", f"127.0.0.1:{self.port}", *self.web_options),
        )
        if wait:
            self._wait_for_web()

    def start_worker(self) -> None:
        """Start the worker and wait until it listens to its queue."""
        self.worker = self._start(
            "worker",
            *("celery", "-A", "gateway", "worker", "-P", "gevent", "-c", "1000", "-Q", "inference"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        )
        self._wait("worker", self.worker, self._worker_listens)

    def _start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with self.log_path(name).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def _wait_for_web(self) -> None:
        assert self.web is not None
        self._wait("web", self.web, self._web_answers)

    def _wait(self, name: str, process: subprocess.Popen[bytes], condition: Any) -> None:
        def ready() -> bool:
            if process.poll() is not None:
                raise DidNotStart(f"{name} ended:\n{self.log(name)[-4000:]}")
            return bool(condition())

        try:
            wait_until(ready, within_s=START_S, what=name)
        except DidNotStart as exc:
            log = self.log(name)[-4000:]
            self.stop()
            raise DidNotStart(f"{exc}\n{log}") from None

    def _web_answers(self) -> bool:
        try:
            return self.get("/monitoring/healthz").status_code == 200
        except requests.ConnectionError:
            return False  # not there yet, or the last of the one before

    def _worker_listens(self) -> bool:
        assert self.redis_server is not None
        client = redis.Redis.from_url(self.redis_server.url)
        try:
            return any(c["cmd"] == "brpop" for c in client.client_list())
        finally:
            client.close()

    def kill_web(self) -> None:
        """Kill the web process and its children, as a crash would."""
        self._kill(self.web)

    def kill_worker(self) -> None:
        """Kill the worker, as a crash would."""
        self._kill(self.worker)

    def _kill(self, process: subprocess.Popen[bytes] | None) -> None:
        assert process is not None
        send_to_family(process, signal.SIGKILL)
        process.wait(10)

    def stop(self) -> None:
        """End everything, as a service manager would."""
        self.session.close()
        running = [process for process in (self.web, self.worker) if process is not None]
        for process in running:
            process.terminate()
        for process in running:
            end(process)

    def discard(self) -> None:
        """Kill what still runs: a test that is over need not wait for an orderly end."""
        self.session.close()
        for process in (self.web, self.worker):
            if process is not None and process.poll() is None:
                self._kill(process)

    # Requests

    def get(self, path: str, **options: Any) -> requests.Response:
        """Send a GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        """Send a POST; the options are those of requests: json, data, headers, stream."""
        return self.request("POST", path, **options)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send any request; no proxy, no redirect is followed."""
        options = {"timeout": 30, "allow_redirects": False, **options}
        return self.session.request(method, self.url + path, **options)

    # Configuration

    def manage(self, *arguments: str, check: bool = True) -> str:
        """Run a management command and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            raise RuntimeError(f"manage.py {arguments[0]}: {done.stderr[-4000:]}")
        return done.stdout

    def run(self, code: str) -> str:
        """Run Python with the product's models imported, and return what it printed."""
        return self.manage("shell", "--verbosity", "0", "--command", code)

    def switch_on(self, *features: str, model: int | None = None) -> None:
        """Allow features to the whole instance, with a default model if one is given."""
        self.run(
            "from features.models import FeatureRule\n"
            f"for feature in {features!r}:\n"
            "    FeatureRule.objects.filter(group=None, feature=feature).delete()\n"
            f"    FeatureRule(feature=feature, model_id={model!r}).save()\n"
        )
        self.wait_for_configuration()

    def add_model(self, **fields: Any) -> int:
        """Register a model and return its id; the fields are those of SelfHostedModel."""
        return int(
            self.run(
                "from models_registry.models import SelfHostedModel\n"
                f"model = SelfHostedModel(**{fields!r})\n"
                "model.save()\n"
                "print(model.pk)"
            )
        )

    def wait_for_configuration(self) -> None:
        """Return once the web process serves with the configuration as it stands now."""
        (row,) = self.query("SELECT number FROM models_registry_configversion")
        wait_until(
            lambda: row["number"] in map(int, CONFIG_VERSION.findall(self.log("web"))),
            within_s=5,
            what=f"configuration {row['number']}",
        )

    # What it left behind

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a SELECT, read beside the product."""
        if self.database_url.startswith("sqlite"):
            path = self.database_url.removeprefix("sqlite:///")
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            connection.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in connection.execute(sql)]
            finally:
                connection.close()
        import psycopg
        from psycopg.rows import dict_row

        with psycopg.connect(
            self.database_url,
            row_factory=dict_row,
            options="-c default_transaction_read_only=on",
        ) as rows:
            return rows.execute(sql.encode()).fetchall()

    def records(self) -> list[dict[str, Any]]:
        """Return the inference records, oldest first."""
        return self.query("SELECT * FROM audit_inferencerecord ORDER BY opened_at, id")

    def contents(self, record_id: object) -> dict[str, Any]:
        """Return the content of a record: {"request": …, "answer": …}, as far as there is one."""
        kinds = {1: "request", 2: "answer"}
        wanted = UUID(str(record_id))
        return {
            kinds[row["kind"]]: json.loads(row["body"])
            for row in self.query("SELECT record_id, kind, body FROM audit_inferencecontent")
            if UUID(str(row["record_id"])) == wanted
        }

    def log_path(self, name: str) -> Path:
        """Return where the output of `web` or `worker` goes."""
        return self.directory / f"{name}.log"

    def log(self, *names: str) -> str:
        """Return what the processes wrote so far: of these, or of all."""
        paths = [self.log_path(name) for name in names or ("web", "worker")]
        return "".join(path.read_text(errors="replace") for path in paths if path.exists())
