"""Duo: what GitLab sends for the features that a person uses, and how it reads the answers.

One method for one thing that a person does; each returns what GitLab would show or do, and raises
`rails.Unreadable` where GitLab would show an error. Every call carries an id of its own, which
`sent` remembers, so that a test can look for its record.
Source: gitlab-client.md 1.2 to 1.9 and 4.4 (as facts; the code is ours).
"""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from tests.rig import rails
from tests.rig.gateway import Gateway
from tests.rig.gitlab import INSTANCE_ID, USER_ID
from tests.rig.wire import Reply, exchange

EDITOR_TIMEOUT_S = 5
WORKHORSE_TIMEOUT_S = 55
ROUNDS_MAX = 10
FILE = {
    "file_name": "app.py",
    "language_identifier": "python",
    "content_above_cursor": "def double(value):\n    ",
    "content_below_cursor": "\n\nprint(double(2))\n",
}


class Duo:
    """The GitLab of one person, whose administrator chose one model for everything."""

    def __init__(self, gateway: Gateway, metadata: dict[str, str]) -> None:
        """Remember which model GitLab names: `metadata` is the JSON of `model_metadata`."""
        self._gateway = gateway
        self._metadata = metadata
        self._numbers = count()
        self.sent: list[str] = []

    # The administrator

    def test_connection(self) -> str:
        """Return what "Test connection" shows."""
        reply = self._ask("/v1/prompts/model_configuration%2Fcheck", {"inputs": {}}, timeout_s=3)
        return _plain(reply)

    # The editor

    def complete_directly(self, prefix: str) -> str:
        """Return the suggestion of an editor that asks us without GitLab between."""
        token = _json(self._ask("/v1/code/user_access_token", None))["token"]
        body = {
            "prompt_version": 1,
            "project_path": "group/project",
            "current_file": {**FILE, "content_above_cursor": prefix},
            "stream": False,
        }
        headers = {
            "Authorization": f"Bearer {token}",
            "X-Gitlab-Authentication-Type": "oidc",
            "X-Gitlab-Instance-Id": INSTANCE_ID,
            "X-Gitlab-Realm": "self-managed",
            "X-Gitlab-Global-User-Id": USER_ID,
            "Content-Type": " application/json",
        }
        reply = self._send("/v2/completions", body, headers, timeout_s=EDITOR_TIMEOUT_S)
        return str(_json(reply)["choices"][0]["text"])

    def complete(self, prefix: str) -> str:
        """Return the suggestion that GitLab passes on to an editor."""
        metadata = self._metadata
        body = {
            "current_file": {**FILE, "content_above_cursor": prefix},
            "telemetry": [],
            "stream": False,
            "prompt_version": 2,
            "prompt": None,
            "model_provider": "litellm",
            "model_name": metadata["name"],
            "model_endpoint": metadata["endpoint"],
            "model_api_key": metadata["api_key"],
            "model_identifier": metadata["identifier"],
        }
        reply = self._ask("/v2/code/completions", body, names_model=False)
        return str(_json(reply)["choices"][0]["text"])

    def generate(self, instruction: str) -> str:
        """Return the code that an editor puts in, from the events that it reads."""
        payload = {
            **FILE,
            "stream": True,
            "prompt_id": "code_suggestions/generations",
            "prompt_version": "^1.0.0",
            "prompt_enhancer": {
                "examples_array": [],
                "trimmed_content_above_cursor": FILE["content_above_cursor"],
                "trimmed_content_below_cursor": FILE["content_below_cursor"],
                "related_files": [],
                "related_snippets": [],
                "libraries": [],
                "user_instruction": instruction,
            },
        }
        component = {"type": "code_editor_generation", "payload": payload}
        reply = self._ask(
            "/v4/code/suggestions",
            {"prompt_components": [component]},
            timeout_s=WORKHORSE_TIMEOUT_S,
            headers={"X-Supports-Sse-Streaming": "true"},
        )
        if reply.headers.get("x-streaming-format") != "sse":
            raise rails.Unreadable(reply.text)
        return rails.parse_suggestion(reply.text)

    # Chat

    def chat(self, question: str, observations: dict[str, str]) -> str:
        """Return the final answer; a tool that is called finds what `observations` say of it.

        Two of the tools ask us again, as GitLab's do.
        """
        steps: list[dict[str, Any]] = []
        for _ in range(ROUNDS_MAX):
            event = self._step(question, steps)
            if isinstance(event, str):
                return event
            tool = event["tool"]
            if tool not in observations:
                raise rails.Unreadable(f"unknown tool {tool}")
            if tool.endswith("_reader"):
                self.read(tool, question, suggestions=event["thought"])
            else:
                self.search(event["tool_input"], question=event["thought"])
            steps.append(
                {
                    "action": {name: event[name] for name in ("thought", "tool", "tool_input")},
                    "observation": observations[tool],
                }
            )
        raise rails.Unreadable("A1006: too many rounds")

    def _step(self, question: str, steps: list[dict[str, Any]]) -> dict[str, Any] | str:
        messages: list[dict[str, Any]] = [
            {
                "role": "user",
                "content": question,
                "context": {"type": "issue", "title": "Protect main"},
                "current_file": None,
                "additional_context": [
                    {"category": "file", "id": "app.py", "content": "x = 1\n", "metadata": {}}
                ],
            }
        ]
        if steps:
            messages.append({"role": "assistant", "agent_scratchpad": steps})
        reply = self._ask("/v2/chat/agent", {"messages": messages, "unavailable_resources": []})
        return rails.parse_step(reply.text)

    def read(self, tool: str, text: str, *, suggestions: str) -> tuple[str, str]:
        """Return the resource that a reader finds in a text."""
        inputs = {"input": text, "suggestions": suggestions}
        return rails.parse_identifier(self.say(f"chat/{tool}", inputs))

    def search(self, query: str, *, question: str) -> tuple[str, list[str]]:
        """Return an answer from the documentation, and the ids of the pages behind it."""
        body = {
            "type": "search-docs",
            "metadata": {"source": "GitLab EE", "version": "18.9.0"},
            "payload": {"query": query},
        }
        reply = self._ask("/v1/search/gitlab-docs", body, names_model=False)
        documents = _json(reply)["response"]["results"]
        if not documents:
            raise rails.Unreadable("M2000: nothing found")
        inputs = {
            "question": question,
            "content_id": "ATTRS",
            "documents": [{**document, "id": str(n)} for n, document in enumerate(documents, 1)],
        }
        text = self.say("chat/documentation_search", inputs)
        return rails.parse_sources(text, "ATTRS")

    def say(self, prompt: str, inputs: dict[str, Any]) -> str:
        """Return the answer to a slash command or a tool, which GitLab shows as it comes."""
        body = {"stream": True, "inputs": inputs, "prompt_version": "^1.0.0"}
        reply = self._ask(f"/v1/prompts/{prompt}", body)
        if not reply.text:
            raise rails.Unreadable("nothing was said")
        return reply.text

    # The project's pages

    def write(self, prompt: str, inputs: dict[str, Any], *, version: str = "^1.0.0") -> str:
        """Return an answer that GitLab waits for."""
        reply = self._ask(f"/v1/prompts/{prompt}", {"inputs": inputs, "prompt_version": version})
        return _plain(reply)

    # How calls are made

    def _ask(
        self,
        path: str,
        body: dict[str, Any] | None,
        *,
        names_model: bool = True,
        timeout_s: float = 60,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        if names_model and body is not None:
            body = {**body, "model_metadata": self._metadata}
        return self._send(
            path, body, self._gateway.gitlab.headers() | (headers or {}), timeout_s=timeout_s
        )

    def _send(
        self, path: str, body: dict[str, Any] | None, headers: dict[str, str], *, timeout_s: float
    ) -> Reply:
        name = f"{self._metadata['name']} {next(self._numbers)} {path}"
        reply = exchange(
            self._gateway.url,
            "POST",
            path,
            headers={**headers, "X-Request-ID": name},
            body=b"" if body is None else json.dumps(body).encode(),
            timeout_s=timeout_s,
        )
        if reply.status != 200 or reply.end != "clean":
            raise rails.Unreadable(f"{path}: {reply.status}, {reply.end}, {reply.text}")
        if body is not None:
            self.sent.append(name)
        return reply


def _json(reply: Reply) -> Any:
    return json.loads(reply.text)


def _plain(reply: Reply) -> str:
    value = _json(reply)
    if not isinstance(value, str):
        raise rails.Unreadable(reply.text)
    return value
