"""A real nginx with the delivered file passes calls on as they are and streams as they come."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import need
from tests.rig.backend import TEXT, ScriptedBackend
from tests.rig.gateway import Gateway
from tests.rig.gitlab import FakeGitLab
from tests.rig.processes import accepts, end, free_port, wait_until
from tests.rig.services import Missing
from tests.rig.wire import exchange

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "enclave.conf"
AROUND = """\
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    {server}
}}
"""


def find_nginx():
    """Return the program."""
    found = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        raise Missing("nginx was not found")
    return found


@pytest.fixture(scope="module")
def gateway(tmp_path_factory) -> Iterator[Gateway]:
    """The product in one process, with code completion on."""
    gitlab = FakeGitLab()
    gateway = Gateway(tmp_path_factory.mktemp("behind"), gitlab=gitlab)
    gateway.switch_on("code_completions")
    yield gateway
    gateway.stop()
    gitlab.close()


@pytest.fixture(scope="module")
def proxy(gateway, tmp_path_factory) -> Iterator[str]:
    """The address of an nginx in front of it; what a test has no use for, TLS, is taken out."""
    program, folder, port = need(find_nginx), tmp_path_factory.mktemp("nginx"), free_port()
    server = CONFIGURATION.read_text()
    server = server.replace("127.0.0.1:5052", f"127.0.0.1:{gateway.port}")
    server = server.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    server = "".join(line for line in server.splitlines(True) if "ssl_" not in line)
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, server=server))
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    wait_until(lambda: accepts(port), within_s=5, what="nginx")
    yield f"http://127.0.0.1:{port}"
    end(process)


@pytest.fixture
def ask(gateway, proxy, backend: ScriptedBackend):
    """A function that sends a completion through nginx."""

    def send(behavior="stub", *, stream=False, **options):
        body = {
            "prompt_version": 1,
            "current_file": {
                "file_name": "app.py",
                "content_above_cursor": "def add(a, b):\n    ",
                "content_below_cursor": "\n",
            },
            "stream": stream,
            "model_provider": "litellm",
            "model_name": "codegemma",
            "model_endpoint": backend.endpoint,
            "model_identifier": f"custom_openai/{behavior}",
        }
        return exchange(
            proxy,
            "POST",
            "/v2/code/completions",
            headers=gateway.gitlab.headers(),
            body=json.dumps(body).encode(),
            **options,
        )

    return send


class TestNginx:
    def test_passes_a_call_on(self, ask):
        reply = ask()

        assert reply.status == 200
        assert json.loads(reply.text)["choices"][0]["text"] == TEXT

    def test_passes_a_stream_on_piece_by_piece(self, ask):
        reply = ask("slow-50ms_tokens-20", stream=True)

        assert len(reply.chunks) >= 10
        assert reply.end == "clean"

    def test_lets_a_client_that_leaves_stop_the_model(self, ask, backend):
        ask("slow-100ms_tokens-200", stream=True, leave_after_chunks=2)
        left_at = time.monotonic()

        backend.wait_for_departure(within_s=3)

        assert time.monotonic() - left_at < 2.5

    def test_passes_a_refusal_on(self, proxy):
        reply = exchange(proxy, "POST", "/v2/code/completions", body=b"{}")

        assert (reply.status, reply.text) == (401, '{"error":"No authorization header presented"}')
