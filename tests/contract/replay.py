"""Replays what the reference was asked, and says in the same words what Enclave answers.

A recording (`recordings/*.json`) holds a request, the reference's answer and what reached the model
(prompt texts left out). `expected` reduces the answer to what a client and a model can see;
`Replay.of` does the same with Enclave's. Where the two differ on purpose, `differences.json` says
what Enclave answers and why, and `docs/compatibility.md` shows the same table.

Masked, because they cannot be equal: times, token counts, tokens.
Source: exchanges with GitLab's AI Gateway of August 2026, in front of a stub model.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.rig.backend import Call, ScriptedBackend
from tests.rig.gateway import Gateway
from tests.rig.gitlab import INSTANCE_ID, USER_ID, FakeGitLab
from tests.rig.wire import Reply, exchange

HERE = Path(__file__).resolve().parent
JSON = "application/json"
VOLATILE = re.compile(
    r'"(created|timestamp|expires_at|input_tokens|output_tokens|context_tokens_sent'
    r'|context_tokens_used)": ?\d+'
)
CHUNKS = re.compile(r"(?:event: content_chunk\r\ndata: [^\r\n]*\r\n\r\n)+")
DELTAS = re.compile(r'(?:\{"type": "final_answer_delta".* "finish_reason": null\}\}\n)+')
# The reference's patience is not what is tested: a second shows as much as half a minute.
SHORTENED = {"hang-30": "hang-1", "hang-35": "hang-1"}
# What a fixture says of the model server, and the behavior that is so.
UPSTREAM = {
    "model server answers 401": "err-401",
    "context window exceeded": "toolong",
    "model overloaded": "err-503",
}
TOKEN = re.compile(r'"token":"[\w-]+\.[\w-]+\.[\w-]+"')
# What the reference's client library adds on its own and no model needs.
HEADERS = {
    "Content-Type": JSON,
    "Accept": JSON,
    "X-Gitlab-Authentication-Type": "oidc",
    "X-Gitlab-Instance-Id": INSTANCE_ID,
    "X-Gitlab-Realm": "self-managed",
    "X-Gitlab-Global-User-Id": USER_ID,
    "X-Gitlab-Host-Name": "gitlab.example.com",
    "X-Gitlab-Version": "18.9.0",
    "User-Agent": "Ruby",
}

Recording = dict[str, Any]


def load(path: Path) -> dict[str, Any]:
    """Return a data file."""
    text = path.read_text()
    for long, short in SHORTENED.items():
        text = text.replace(f'/{long}"', f'/{short}"').replace(f'"{long}"', f'"{short}"')
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def recordings() -> dict[str, Recording]:
    """Return every recording by its name."""
    return {
        name: recording
        for path in sorted((HERE / "recordings").glob("*.json"))
        for name, recording in load(path).items()
    }


def fixtures() -> dict[str, Recording]:
    """Return every request as GitLab and its editors send it, by name."""
    return {
        name: fixture
        for path in sorted((HERE / "fixtures").glob("*.json"))
        for name, fixture in load(path).items()
    }


def differences() -> dict[str, Any]:
    """Return where Enclave differs on purpose: `reasons`, `recordings` and `fixtures`."""
    return load(HERE / "differences.json")


def spelled_out(value: Any, **places: str) -> Any:
    """Return a value with its placeholders filled and its repetitions written out."""
    if isinstance(value, str):
        for name, text in places.items():
            value = value.replace("{" + name + "}", text)
        return value
    if isinstance(value, list):
        return [spelled_out(item, **places) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"repeat", "characters"}:
        text, count = value["repeat"], value["characters"]
        return (text * (count // len(text) + 1))[:count]
    if set(value) == {"repeat", "items"}:
        return [value["repeat"]] * value["items"]
    return {name: spelled_out(item, **places) for name, item in value.items()}


def compact(value: Any) -> str:
    """Return JSON as the reference writes it: no blanks, no escapes for letters."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def masked(text: str) -> str:
    """Return an answer's text with what cannot be equal masked; everything else stays."""
    text = CHUNKS.sub(lambda run: joined(run[0]), text)
    text = DELTAS.sub(lambda run: joined_deltas(run[0]), text)
    return TOKEN.sub('"token":"(a token)"', VOLATILE.sub(r'"\1":0', text))


def joined(run: str) -> str:
    """Return chunks of a stream of events as one: those that come at once may travel together."""
    lines = [line.removeprefix("data: ") for line in run.split("\r\n") if line[:5] == "data:"]
    content = "".join(json.loads(line)["choices"][0]["delta"]["content"] for line in lines)
    value = {"choices": [{"delta": {"content": content}, "index": 0}]}
    return f"event: content_chunk\r\ndata: {json.dumps(value)}\r\n\r\n"


def joined_deltas(run: str) -> str:
    """Return the deltas of a final answer as one, for the same reason."""
    deltas = [json.loads(line) for line in run.splitlines()]
    deltas[0]["data"]["text"] = "".join(delta["data"]["text"] for delta in deltas)
    return json.dumps(deltas[0]) + "\n"


def as_recorded(recording: Recording, **places: str) -> dict[str, Any]:
    """Return what the reference answered, as the client and the model saw it."""
    response, backend = recording["response"], recording.get("backend", {"calls": 0})
    text = response["text"] if "text" in response else compact(response["json"])
    return {
        "status": response["status"],
        "headers": response["headers"],
        "text": masked(text),
        "end": response.get("end", "clean"),
        **spelled_out(backend, **places),
    }


def expected(name: str, recording: Recording, **places: str) -> dict[str, Any]:
    """Return what Enclave is to answer: as the reference, except for what `differences` says.

    Shape of a difference's `ours`, every key optional:
        like: the name of a recording whose answer and call take the place of this one's.
        engine, name: what the answer says of the model.
        status, headers, text, end, json: the answer.
        code: instead of a text, for an error whose words are free and whose stable code is this.
        calls: how often the model is asked.
        first: how it is asked, where the reference asked otherwise or not at all.
        authorization, body, roles, user: how; None takes a parameter out of the body.
    """
    ours = differences()["recordings"].get(name, {}).get("ours", {})
    return {**_answer(ours, name, recording, places), **_calls(ours, name, recording, places)}


def _model_of(ours: dict[str, Any], name: str, recording: Recording) -> Recording:
    if "like" not in ours:
        return recording
    text = json.dumps(recordings()[ours["like"]]).replace(f"key-{ours['like']}", f"key-{name}")
    like: Recording = json.loads(text)
    if named := {part: ours[part] for part in ("engine", "name") if part in ours}:
        answer = like["response"]["json"]
        for said in (answer, answer["metadata"]):
            if "model" in said:
                said["model"] |= named
    return like


def _answer(
    ours: dict[str, Any], name: str, recording: Recording, places: dict[str, str]
) -> dict[str, Any]:
    answer = as_recorded(_model_of(ours, name, recording), **places)
    for key in ("calls", "first"):
        answer.pop(key, None)
    if "json" in ours or "code" in ours:
        answer["headers"] = {"content-type": JSON}
        answer["text"] = masked(compact(spelled_out(ours.get("json"), **places)))
        answer["end"] = "clean"
    answer["headers"] = {**answer["headers"], **ours.get("headers", {})}
    answer |= {key: ours[key] for key in ("status", "text", "end") if key in ours}
    if "code" in ours:
        del answer["text"]
        answer["code"] = ours["code"]
    return answer


def _calls(
    ours: dict[str, Any], name: str, recording: Recording, places: dict[str, str]
) -> dict[str, Any]:
    recorded = as_recorded(_model_of(ours, name, recording), **places)
    count = ours.get("calls", recorded["calls"])
    if not count:
        return {"calls": 0}
    first = ours.get("first") or recorded["first"]
    body = {**first["body"], **ours.get("body", {})}
    first["body"] = {key: value for key, value in body.items() if value is not None}
    first |= {key: ours[key] for key in ("authorization", "roles", "user") if key in ours}
    return {"calls": count, "first": first}


def call_as_seen(call: Call, *, with_user: bool) -> dict[str, Any]:
    """Return one call of the model in the words of a recording."""
    body = {name: value for name, value in call.body.items() if name not in ("messages", "prompt")}
    messages = call.body.get("messages")
    seen: dict[str, Any] = {
        "path": call.path,
        "authorization": call.headers.get("authorization"),
        "body": body,
    }
    if messages is not None:
        seen["roles"] = [message["role"] for message in messages]
        if with_user:
            seen["user"] = messages[-1]["content"]
    return seen


class Replay:
    """A running Enclave in front of a scripted model server, ready for recordings."""

    def __init__(self, gateway: Gateway, gitlab: FakeGitLab, backend: ScriptedBackend) -> None:
        """Keep the parts."""
        self.gateway, self.gitlab, self.backend = gateway, gitlab, backend

    @property
    def places(self) -> dict[str, str]:
        """Return what the placeholders in data files stand for."""
        return {
            "BACKEND": self.backend.url,
            "BACKEND_TLS": self.backend.url.replace("http:", "https:"),
            "GITLAB": self.gitlab.url,
        }

    def issued_token(self) -> str:
        """Return a token that Enclave itself issued to an editor."""
        answer = self.gateway.post("/v1/code/user_access_token", headers=self.gitlab.headers())
        return str(answer.json()["token"])

    def send(self, name: str, request: dict[str, Any], **options: Any) -> Reply:
        """Send a recorded request as it was sent."""
        headers: dict[str, str | None] = {**HEADERS, "X-Request-ID": f"case-{name}"}
        if kind := request.get("token"):
            token = self.issued_token() if kind == "issued" else self.gitlab.named_token(kind)
            headers["Authorization"] = f"{request.get('scheme', 'Bearer')} {token}"
        headers |= request.get("headers", {})
        return exchange(
            self.gateway.url,
            request["method"],
            request["path"],
            headers={key: value for key, value in headers.items() if value is not None},
            body=self._body(request),
            version=request.get("version", "1.1"),
            **options,
        )

    def _body(self, request: dict[str, Any]) -> bytes:
        raw = request.get("raw")
        if raw is None:
            body = spelled_out(request.get("body"), **self.places)
            return b"" if body is None else json.dumps(body).encode()
        if "hex" in raw:
            return bytes.fromhex(raw["hex"])
        text = spelled_out(raw.get("text", raw), **self.places)
        return str(text).encode()

    def of(self, name: str, recording: Recording) -> dict[str, Any]:
        """Return what Enclave answers to a recorded request, in the words of `expected`."""
        wanted = expected(name, recording, **self.places)
        self.backend.forget()
        reply = self.send(name, recording["request"])
        seen: dict[str, Any] = {
            "status": reply.status,
            "headers": {key: reply.headers.get(key) for key in wanted["headers"]},
            "text": masked(reply.text),
            "end": reply.end,
            "calls": len(self.backend.calls),
        }
        if "code" in wanted:
            failure = json.loads(seen.pop("text"))
            assert set(failure) == {"detail", "code"}
            seen["code"] = failure["code"]
        if self.backend.calls:
            with_user = "user" in wanted.get("first", {})
            seen["first"] = call_as_seen(self.backend.calls[0], with_user=with_user)
        return seen

    def send_fixture(self, fixture: dict[str, Any]) -> Reply:
        """Send a request as GitLab or an editor sends it, its placeholders filled."""
        scopes = str(fixture["expect"].get("token", "")).removeprefix("scopes=[").rstrip("]")
        claims: dict[str, Any] = {"scopes": scopes.split(",")} if scopes else {}
        people = {"INSTANCE_UUID": INSTANCE_ID, "GLOBAL_USER_ID": USER_ID}
        headers = spelled_out(fixture["headers"], **people)
        if "{GATEWAY_USER_JWT}" in headers.get("Authorization", ""):
            headers = spelled_out(headers, GATEWAY_USER_JWT=self.issued_token())
        headers = spelled_out(
            headers,
            INSTANCE_JWT=self.gitlab.token(**claims),
            CUSTOMERSDOT_JWT=self.gitlab.token(iss="https://customers.gitlab.com", key="stranger"),
        )
        body = spelled_out(fixture["body"], **self.places)
        for words, behavior in UPSTREAM.items():
            if words in fixture["expect"].get("upstream", ""):
                body["model_metadata"]["identifier"] = behavior
        return exchange(
            self.gateway.url,
            fixture["method"],
            fixture["path"],
            headers=headers,
            body=b"" if body is None else json.dumps(body).encode(),
        )
