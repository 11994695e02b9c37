"""The whole product as processes, in each of the modes it is run in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig.backend import ScriptedBackend
from tests.rig.gateway import Gateway

MODES = ("embedded", "server on SQLite", "server on PostgreSQL")


@pytest.fixture
def line(request, tmp_path, gitlab) -> Iterator[Gateway]:
    """The product in the mode of the parameter, with code completion on; its own for each test."""
    mode = getattr(request, "param", "server on SQLite")
    is_server = mode != "embedded"
    gateway = Gateway(
        tmp_path / "gateway",
        gitlab=gitlab,
        redis_server=request.getfixturevalue("redis_server") if is_server else None,
        database_url=(
            request.getfixturevalue("postgres_url") if mode == "server on PostgreSQL" else None
        ),
        environment={"GATEWAY_LEASE_S": "4"},
    )
    gateway.switch_on("code_completions")
    yield gateway
    gateway.stop()


@pytest.fixture
def ask(line, backend: ScriptedBackend):
    """A function that sends a completion to the scripted model named by its behavior."""

    def send(behavior: str = "stub", *, headers=None, timeout=30, stream=False, **fields):
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
            "model_api_key": "key-of-the-model",
            "model_identifier": f"custom_openai/{behavior}",
            **fields,
        }
        return line.post(
            "/v2/code/completions",
            json=body,
            headers=headers or line.gitlab.headers(),
            timeout=timeout,
            stream=stream,
        )

    return send
