"""`manage.py serve`, which is `make run` after the set-up, as a person meets it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

from tests.rig.gateway import INHERITED, ROOT
from tests.rig.processes import family_of, free_port, wait_until
from tests.rig.services import find_redis

START_S = 60
STOP_S = 20


class Served:
    """One `manage.py serve` with a data directory of its own."""

    def __init__(self, data_dir, *, programs, port=None):
        """Remember what is to be started; `programs` is all that it finds on PATH."""
        self.data_dir = data_dir
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "PATH": str(programs),
            "GATEWAY_DATA_DIR": str(data_dir),
            "PYTHONUNBUFFERED": "1",
        }
        self.printed = ""
        self.process = None

    @property
    def command(self):
        return [sys.executable, "manage.py", "serve", "--port", str(self.port)]

    def start(self):
        """Start and wait for the end of what is printed at the start; return the seconds."""
        started = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(
            lambda: "curl " in self.printed or self.process.poll() is not None,
            within_s=START_S,
            what="serve",
        )
        assert self.process.poll() is None, self.printed
        return time.monotonic() - started

    def _read(self):
        for line in self.process.stdout:
            self.printed += line

    def stop(self, number=signal.SIGTERM):
        """Send a signal, wait for the end, return the exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        status = self.process.wait(STOP_S)
        self._reader.join(STOP_S)
        self.process.stdout.close()
        return status

    def kill(self):
        """Leave nothing of it, whatever a test did."""
        if self.process is not None and self.process.poll() is None:
            pids = self.pids
            self.process.kill()
            self.wait()
            for pid in filter(is_alive, pids):
                os.kill(pid, signal.SIGKILL)

    def refusal(self):
        """Run a start that cannot succeed; return status and what was written to stderr."""
        done = subprocess.run(
            self.command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stderr

    def answers(self):
        """Test whether the web process is up."""
        try:
            return requests.get(f"{self.url}/monitoring/healthz", timeout=5).ok
        except requests.ConnectionError:
            return False

    def manage(self, code):
        """Run Python with the product's models, on the same data."""
        subprocess.run(
            [sys.executable, "manage.py", "shell", "--verbosity", "0", "--command", code],
            cwd=ROOT,
            env=self.environment,
            check=True,
        )

    @property
    def facts(self):
        """What first-run.env holds."""
        lines = (self.data_dir / "first-run.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    @property
    def curl_line(self):
        return re.search(r"^curl .*$", self.printed, re.MULTILINE)[0]

    @property
    def pids(self):
        return family_of(self.process.pid)


@pytest.fixture(scope="session")
def with_redis(tmp_path_factory):
    """A PATH on which there is a Redis and nothing else."""
    programs = tmp_path_factory.mktemp("bin")
    (programs / "redis-server").symlink_to(find_redis())
    return programs


@pytest.fixture(scope="session")
def without_redis(tmp_path_factory):
    """A PATH on which there is nothing."""
    return tmp_path_factory.mktemp("empty")


@pytest.fixture
def serve(tmp_path, with_redis):
    """Start one, or several in turn; all are gone after the test."""
    made = []

    def make(*, data_dir=tmp_path / "var", programs=with_redis, port=None):
        made.append(Served(data_dir, programs=programs, port=port))
        return made[-1]

    yield make
    for served in made:
        served.kill()


@pytest.fixture(scope="module")
def running(tmp_path_factory, with_redis):
    """A first start that tests only look at."""
    served = Served(tmp_path_factory.mktemp("running") / "var", programs=with_redis)
    served.start()
    yield served
    served.kill()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def run_curl(line):
    """Run the printed line as a person would; without curl, send what it would send."""
    if shutil.which("curl"):
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    words = shlex.split(line)
    headers = [words[at + 1] for at, word in enumerate(words) if word == "-H"]
    return requests.post(
        words[2],
        data=words[-1],
        headers=dict(header.split(": ", 1) for header in headers),
        timeout=60,
    ).json()


class TestFirstStart:
    def test_prints_a_curl_line_that_gets_a_real_answer(self, running):
        answer = run_curl(running.curl_line)

        assert answer["choices"][0]["text"]

    def test_gets_a_real_answer_where_there_is_no_redis(self, serve, without_redis):
        served = serve(programs=without_redis)
        served.start()

        answer = run_curl(served.curl_line)

        assert answer["choices"][0]["text"]
        assert "No Redis found: the web process calls the models itself." in served.printed
        assert not any("celery" in command_of(pid) for pid in served.pids)

    def test_prints_what_stands_in_a_private_file(self, running):
        facts = running.facts
        file = running.data_dir / "first-run.env"
        assert list(facts) == ["ADMIN_URL", "ADMIN_USER", "ADMIN_PASSWORD", "API_KEY"]
        assert facts["ADMIN_URL"] == f"{running.url}/admin/"
        assert all(value in running.printed for value in facts.values())
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(running.data_dir.stat().st_mode) == 0o700

    def test_lets_the_administrator_open_the_record_of_that_answer(self, running):
        run_curl(running.curl_line)

        with requests.Session() as browser:
            browser.trust_env = False
            log_in(browser, running.facts)
            records = browser.get(f"{running.url}/admin/audit/inferencerecord/", timeout=30)
            links = re.findall(r'href="(/admin/audit/inferencerecord/[^"?]+/)', records.text)
            record = browser.get(f"{running.url}{links[0]}", timeout=30)

        assert records.status_code == 200
        assert record.status_code == 200
        assert "code_completions" in record.text

    def test_leaves_nothing_that_others_may_read(self, running):

        open_files = [
            path.name for path in running.data_dir.rglob("*") if path.lstat().st_mode & 0o077
        ]

        assert open_files == []

    def test_opens_no_port_but_its_own(self, running):

        ports = {port for pid in running.pids for port in listening_ports(pid)}

        assert ports == {running.port}


def listening_ports(pid):
    """Return the TCP ports a process listens on: its sockets, looked up in the kernel's table."""
    files = Path(f"/proc/{pid}/fd").iterdir()
    sockets = {found[1] for file in files if (found := re.match(r"socket:\[(\d+)\]", link(file)))}
    tables = (Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6"))
    rows = (line.split() for table in tables for line in table.splitlines()[1:])
    listening = "0A"
    return {
        int(row[1].rsplit(":", 1)[1], 16)
        for row in rows
        if row[3] == listening and row[9] in sockets
    }


def link(file):
    try:
        return os.readlink(file)
    except FileNotFoundError:  # closed since
        return ""


def log_in(browser, facts):
    page = browser.get(f"{facts['ADMIN_URL']}login/", timeout=30)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    answer = browser.post(
        page.url,
        data={
            "username": facts["ADMIN_USER"],
            "password": facts["ADMIN_PASSWORD"],
            "csrfmiddlewaretoken": token,
            "next": "/admin/",
        },
        timeout=30,
    )
    assert "sessionid" in browser.cookies, answer.status_code


class TestSecondStart:
    def test_takes_seconds_and_keeps_login_and_key_on_another_port(self, serve):
        first = serve()
        first.start()
        before = first.facts
        first.stop()
        second = serve()

        seconds = second.start()

        assert seconds < 10
        assert second.facts == {**before, "ADMIN_URL": f"{second.url}/admin/"}
        assert run_curl(second.curl_line)["choices"]

    def test_tells_that_the_login_is_known_where_the_file_was_deleted(self, serve):
        first = serve()
        first.start()
        first.stop()
        (first.data_dir / "first-run.env").unlink()
        second = serve()

        second.start()

        assert "were shown on the first start" in second.printed
        assert "YOUR_API_KEY" in second.curl_line


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_ends_every_process_it_started(self, serve, number):
        served = serve()
        served.start()
        pids = served.pids

        status = served.stop(number)

        assert status == 0
        assert len(pids) >= 5  # the supervisor, Redis, the worker, gunicorn and its web process
        assert [pid for pid in pids if is_alive(pid)] == []
        assert not (served.data_dir / "redis.sock").exists()
        assert served.printed.endswith("Stopped.\n")

    @pytest.mark.parametrize("path", ["with_redis", "without_redis"])
    def test_lets_a_stream_finish(self, serve, backend, path, request):
        served = serve(programs=request.getfixturevalue(path))
        served.start()
        served.manage(
            "from models_registry.models import SelfHostedModel\n"
            "model = SelfHostedModel.objects.get(name='echo')\n"
            "model.provider, model.endpoint = 'openai_compatible', "
            f"{backend.url + '/v1'!r}\n"
            "model.identifier = 'tokens-30_slow-100ms'\n"
            "model.save()"
        )
        time.sleep(2)  # the processes look for changed configuration once a second
        body = {
            "prompt_version": 1,
            "stream": True,
            "current_file": {
                "file_name": "a.py",
                "content_above_cursor": "a",
                "content_below_cursor": "",
            },
        }
        headers = {"Authorization": f"Bearer {served.facts['API_KEY']}"}

        with requests.post(
            f"{served.url}/v2/code/completions", json=body, headers=headers, stream=True, timeout=30
        ) as answer:
            pieces = answer.iter_content(None)
            first = next(pieces)
            served.process.terminate()
            rest = b"".join(pieces)
        status = served.wait()

        assert status == 0
        assert len(backend.calls) == 1
        assert (first + rest).decode().count("def") >= 1
        assert len(first) < len(first + rest) / 2

    def test_takes_the_others_along_when_it_is_killed(self, serve):
        served = serve()
        served.start()
        pids = served.pids

        served.stop(signal.SIGKILL)

        wait_until(lambda: not any(map(is_alive, pids)), within_s=STOP_S, what="the others' end")


class TestSupervision:
    def test_starts_the_web_process_again(self, serve):
        served = serve()
        served.start()
        web = next(pid for pid in served.pids if "gunicorn" in command_of(pid))

        os.kill(web, signal.SIGKILL)

        wait_until(lambda: "starting it again" in served.printed, within_s=10, what="the notice")
        wait_until(served.answers, within_s=20, what="the web process")
        assert run_curl(served.curl_line)["choices"]

    def test_starts_the_worker_again(self, serve):
        served = serve()
        served.start()
        worker = next(pid for pid in served.pids if "celery" in command_of(pid))

        os.kill(worker, signal.SIGKILL)

        wait_until(lambda: "The worker stopped" in served.printed, within_s=10, what="the notice")
        assert run_curl(served.curl_line)["choices"]


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return ""


class TestRefusal:
    def test_names_a_busy_port(self, serve, running):
        status, error = serve(port=running.port).refusal()

        assert status == 1
        assert error == (
            f"Port {running.port} on 127.0.0.1 cannot be used (another program uses it); choose"
            f" another one, for example: make run PORT={running.port + 1}\n"
        )

    def test_names_a_data_directory_that_is_in_use(self, serve, running):
        status, error = serve(data_dir=running.data_dir).refusal()

        assert status == 1
        assert error.startswith("Enclave already runs with the data directory ")
        assert error.count("\n") == 1

    def test_names_a_folder_that_cannot_be_written(self, serve, tmp_path):
        (tmp_path / "file").touch()

        status, error = serve(data_dir=tmp_path / "file" / "var").refusal()

        assert status == 1
        assert error.startswith(f"The data directory {tmp_path}/file/var cannot be written (")
        assert error.count("\n") == 1

    @pytest.mark.parametrize("name", ["secrets.env", "signing_key.pem"])
    def test_names_keys_that_others_may_read(self, serve, tmp_path, name):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)

        status, error = serve(data_dir=tmp_path).refusal()

        assert status == 1
        assert "run: chmod 600 " in error
        assert error.count("\n") == 1

    def test_names_a_database_that_cannot_be_reached(self, serve):
        served = serve()
        served.environment["DATABASE_URL"] = f"postgres://enclave@127.0.0.1:{free_port()}/enclave"

        status, error = served.refusal()

        assert status == 1
        assert error.startswith("The database cannot be used: ")
        assert error.count("\n") == 1
