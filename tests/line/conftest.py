"""The whole product as processes, in each of the modes it is run in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import need
from tests.rig.backend import ScriptedBackend
from tests.rig.gateway import Gateway
from tests.rig.gitlab import FakeGitLab
from tests.rig.processes import wait_until
from tests.rig.services import RedisServer

CANARY_KEY = "sk-canary-key"

MODES = ("embedded", "server on SQLite", "server on PostgreSQL")


def start(request, directory, gitlab, mode: str) -> Gateway:
    """Return the product in a mode, with code completion on."""
    is_server = mode != "embedded"
    redis_server = request.getfixturevalue("line_redis") if is_server else None
    database_url = None
    if mode == "server on PostgreSQL":
        database_url = request.getfixturevalue("line_postgres_url")
    gateway = Gateway(
        directory,
        gitlab=gitlab,
        redis_server=redis_server,
        database_url=database_url,
        environment={"GATEWAY_LEASE_S": "4"},
    )
    gateway.switch_on("code_completions")
    return gateway


@pytest.fixture(scope="module")
def line_redis() -> Iterator[RedisServer]:
    """A Redis for this module's lines."""
    server = need(RedisServer)
    yield server
    server.close()


@pytest.fixture(scope="module")
def line_postgres_url(postgres_cluster) -> str:
    """A database for this module's lines."""
    return str(postgres_cluster.url(postgres_cluster.create_database()))


@pytest.fixture(scope="module")
def line(request, tmp_path_factory) -> Iterator[Gateway]:
    """The product in the mode of the parameter; shared, so a test looks for its own records."""
    gitlab = FakeGitLab()
    mode = getattr(request, "param", "server on SQLite")
    gateway = start(request, tmp_path_factory.mktemp("line"), gitlab, mode)
    yield gateway
    gateway.stop()
    gitlab.close()


@pytest.fixture
def ask(line, backend: ScriptedBackend):
    """A function that sends a completion to the scripted model named by its behavior."""
    return asker(line, backend)


def asker(line: Gateway, backend: ScriptedBackend):
    """Return a function that sends a completion to the scripted model named by its behavior."""

    def send(behavior: str = "stub", *, timeout=30, stream=False, request_id=None, **fields):
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
            "model_api_key": CANARY_KEY,
            "model_identifier": f"custom_openai/{behavior}",
            **fields,
        }
        return line.post(
            "/v2/code/completions",
            json=body,
            headers=line.gitlab.headers(**({"X-Request-ID": request_id} if request_id else {})),
            timeout=timeout,
            stream=stream,
        )

    return send


def record_of(line: Gateway, request_id: str, *, within_s: float = 8) -> dict[str, Any]:
    """Return the record of a request, once it is closed."""

    def closed() -> list[dict[str, Any]]:
        return [
            row
            for row in line.records()
            if row["correlation_id"] == request_id and row["closed_at"]
        ]

    wait_until(lambda: bool(closed()), within_s=within_s, what=f"the record of {request_id}")
    (record,) = closed()
    return record
