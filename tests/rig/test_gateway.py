"""The product runs as processes: with Redis and a worker, and embedded."""

import pytest
import requests

from tests.rig.backend import TEXT, ScriptedBackend
from tests.rig.gateway import Gateway
from tests.rig.processes import wait_until


def ask(gateway: Gateway, backend: ScriptedBackend, model: str = "stub", **fields) -> dict:
    body = {
        "prompt_version": 1,
        "current_file": {
            "file_name": "app.py",
            "content_above_cursor": "def add(a, b):\n",
            "content_below_cursor": "",
        },
        "model_provider": "litellm",
        "model_name": "codestral",
        "model_endpoint": backend.endpoint,
        "model_api_key": "key-of-the-model",
        "model_identifier": f"custom_openai/{model}",
        **fields,
    }
    return {"json": body, "headers": gateway.gitlab.headers()}


@pytest.fixture
def gateway(request, tmp_path, gitlab):
    """Web and worker, or with the parameter "embedded" the web process alone."""
    redis_server = None
    if getattr(request, "param", "server") == "server":
        redis_server = request.getfixturevalue("redis_server")
    started = Gateway(tmp_path / "gateway", gitlab=gitlab, redis_server=redis_server)
    started.switch_on("code_completions")
    yield started
    started.discard()


class TestGateway:
    @pytest.mark.parametrize("gateway", ["server", "embedded"], indirect=True)
    def test_answers_and_leaves_a_record(self, gateway, backend):
        answer = gateway.post("/v2/code/completions", **ask(gateway, backend))

        assert answer.json()["choices"][0]["text"] == TEXT
        (record,) = gateway.records()
        assert record["state"] == "answered"
        assert gateway.contents(record["id"])["answer"]["text"] == TEXT

    def test_runs_on_postgresql(self, tmp_path, gitlab, backend, redis_server, postgres_url):
        gateway = Gateway(
            tmp_path / "gateway",
            gitlab=gitlab,
            redis_server=redis_server,
            database_url=postgres_url,
        )
        gateway.switch_on("code_completions")

        answer = gateway.post("/v2/code/completions", **ask(gateway, backend))

        assert answer.json()["choices"][0]["text"] == TEXT
        (record,) = gateway.records()
        assert gateway.contents(record["id"])["answer"]["text"] == TEXT
        gateway.discard()

    def test_streams(self, gateway, backend):
        asked = ask(gateway, backend, "slow-20ms", stream=True)

        with gateway.post("/v2/code/completions", stream=True, **asked) as answer:
            pieces = list(answer.iter_content(None, decode_unicode=True))

        assert "".join(pieces) == TEXT
        assert len(pieces) > 1

    def test_comes_back_after_a_kill(self, gateway, backend):
        gateway.kill_worker()
        gateway.kill_web()
        with pytest.raises(requests.ConnectionError):
            gateway.get("/monitoring/healthz")

        gateway.start()

        assert gateway.post("/v2/code/completions", **ask(gateway, backend)).status_code == 200

    def test_ends_in_order_when_asked(self, gateway):
        gateway.stop()

        assert (gateway.web.returncode, gateway.worker.returncode) == (0, 0)

    def test_keeps_what_its_processes_wrote(self, gateway, backend):
        gateway.post("/v2/code/completions", **ask(gateway, backend))

        wait_until(lambda: "inference.closed" in gateway.log("worker"), within_s=5, what="a line")
        for secret in ("key-of-the-model", gateway.secret_key, gateway.encryption_key, "def add"):
            assert secret not in gateway.log()
