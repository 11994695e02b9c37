"""ScriptedBackend: an OpenAI-compatible model server for exact answers and for faults.

The model's name selects what happens; parts are separated by `_`, `.`, `/` or `:`, so that
`tokens-200_slow-50ms` is 200 tokens, one every 50 ms:

    (anything else)  the sixteen tokens of TOKENS
    tokens-N         N tokens
    think            the content starts with <think>…</think>
    echo             the content is the last message, or the prompt
    empty            well formed, no content
    react-action     the chat agent's form for an action (where the prompt asks for the agent's
                     forms, every other answer is a final answer in that form)
    tools            a call of each tool that was offered, unless the last message is a tool's
    slow-Nms         N ms between streamed tokens; a whole answer waits N ms for each token
    ttft-Nms         N ms before the first byte
    hang-N           N seconds before the first byte
    stall-N          N seconds of silence in the middle of a stream
    drip             one byte at a time, 20 ms apart (`drip-Nms`: N ms apart)
    err-NNN          HTTP NNN with an OpenAI error body (429 sends Retry-After: 7)
    flaky-NNN        HTTP NNN for the first call of this model name, then an answer
    toolong          HTTP 400 as servers say it when the context window is exceeded
    garbage          200, but no JSON (a stream: events that are no JSON)
    html-502         502 with an HTML body, as a proxy sends it
    emptyjson        200 with {}
    nousage          no usage block
    cut-midstream    the connection ends in the middle of the answer
    err-midstream    a stream with an error event in the middle
    nodone           a stream without its end marker
    redirect         307 to another path of this server
    gzip             the body is gzip, although nobody asked
    refuse           the connection is reset before an answer
    huge             an answer of 12 MB
    swapped          vectors in the opposite order of their texts, as their indices say
    fixed-length     vectors of VECTOR_SIZE numbers, however many were asked for

`/embeddings` answers each text with `vector_of(text)`.
    whole            answers whole although a stream was asked for
    chat-only        HTTP 404 on /completions

`/messages` speaks Anthropic's format. Azure's paths are served too
(`/openai/deployments/<name>/…?api-version=…`), each with its own header for the key.

Paths work with and without the `/v1` prefix, unless `needs_version`; `names` are the models that
are listed, and with an `api_key` everything else is 401.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import re
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

from tests.rig import messages
from tests.rig.processes import wait_until

# fmt: off
TOKENS = (
    "def", " add", "(", "a", ",", " b", "):", "\n",
    "    ", "return", " a", " +", " b", "\n", "\n", "#",
)
# fmt: on
TEXT = "".join(TOKENS)
VECTOR_SIZE = 8
ARGUMENTS = ('{"query":', ' "tiny"}')
THOUGHT = ("<think>", "let me", " think", "</think>", "\n")
# The forms of the chat agent; the tool is one that only older models were told of.
REACT_ACTION = (
    *("Thought: ", "I need", " the issue", "\n", "Action: ", "issue_reader", "\n"),
    *("Action Input: ", "#", "42"),
)
REACT_ANSWER = (
    *("Thought: ", "I can", " answer", "\n", "Action: ", "DirectAnswer", "\n"),
    "Final Answer: ",
)
CREATED = 1_700_000_000
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "invalid_api_key",
    404: "model_not_found",
    429: "rate_limit_exceeded",
}
_AZURE = re.compile(r"/openai/deployments/[^/]+(/[a-z/]+)\?api-version=[\w-]+")
_NUMBERED = re.compile(r"(err|flaky|hang|stall|slow|ttft|drip|tokens)-(\d+)(?:ms|s)?")
_WORDS = frozenset(
    {
        "chat-only",
        "cut-midstream",
        "drip",
        "echo",
        "empty",
        "emptyjson",
        "err-midstream",
        "fixed-length",
        "garbage",
        "gzip",
        "html-502",
        "huge",
        "nodone",
        "nousage",
        "react-action",
        "redirect",
        "refuse",
        "swapped",
        "think",
        "toolong",
        "tools",
        "whole",
    }
)


@dataclass(kw_only=True)
class Call:
    """What the backend received. `at` is time.monotonic(); header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    body: Any
    at: float
    connection: int

    @property
    def model(self) -> str:
        """Return the model's name, or nothing for a request without one."""
        return str(self.body.get("model", "")) if isinstance(self.body, dict) else ""

    @property
    def user_message(self) -> str | None:
        """Return the last user message of a chat."""
        said = [m["content"] for m in self.body.get("messages", ()) if m["role"] == "user"]
        return said[-1] if said else None


@dataclass(frozen=True, kw_only=True)
class Departure:
    """A client that left before its answer was complete."""

    model: str
    at: float
    tokens_sent: int


class _ClientLeft(Exception):
    """The other side closed its connection."""


@dataclass
class _Script:
    """What a model's name asks for."""

    numbers: dict[str, int] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, model: str) -> _Script:
        script = cls()
        for part in re.split(r"[_./:@]", model):
            if numbered := _NUMBERED.fullmatch(part):
                script.numbers[numbered[1]] = int(numbered[2])
            elif part in _WORDS:
                script.words.add(part)
        return script

    def __contains__(self, word: str) -> bool:
        return word in self.words or word in self.numbers

    def seconds(self, name: str, *, default_ms: int = 0) -> float:
        return self.numbers.get(name, default_ms) / 1000


class ScriptedBackend:
    """A model server on 127.0.0.1 that does what the model's name says."""

    def __init__(self) -> None:
        """Start listening on a free port."""
        self.calls: list[Call] = []
        self.departures: list[Departure] = []
        self.answers: dict[str, tuple[str, ...]] = {}
        self.names = ["stub", "codestral", "llama3"]
        self.needs_version = False
        self.api_key = ""
        self.seen: Counter[str] = Counter()
        self.numbers = count(1)
        self.stopped = threading.Event()
        self.connections: set[socket.socket] = set()
        handler = type("Handler", (_Handler,), {"backend": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.endpoint = f"{self.url}/v1"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def answer(self, model: str, *tokens: str) -> None:
        """Let a model name answer exactly these tokens."""
        self.answers[model] = tokens

    def forget(self) -> None:
        """Forget what was received and who left."""
        self.calls.clear()
        self.departures.clear()
        self.seen.clear()

    def wait_for_calls(self, count: int, *, within_s: float = 5) -> list[Call]:
        """Return the calls once there are at least `count`."""
        wait_until(
            lambda: len(self.calls) >= count,
            within_s=within_s,
            what=f"{count} calls (there are {len(self.calls)})",
        )
        return self.calls

    def wait_for_departure(self, *, within_s: float = 5) -> Departure:
        """Return the last departure once somebody left."""
        wait_until(lambda: self.departures, within_s=within_s, what="a departure")
        return self.departures[-1]

    def close(self) -> None:
        """Stop listening and end every connection."""
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that leaves is a case, not an error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    backend: ScriptedBackend
    script: _Script
    call: Call
    asked: Any
    is_messages: bool
    number: int
    tokens_sent: int

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = next(self.backend.numbers)
        self.backend.connections.add(self.connection)

    def finish(self) -> None:
        self.backend.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the rig records calls instead."""

    # Receiving

    def do_GET(self) -> None:
        self._receive()
        if self._is_refused():
            return None
        path = self.path.removeprefix("/v1").partition("?")[0]
        if path == "/models":
            return self._whole(200, {"object": "list", "data": _models(self.backend.names)})
        if path in ("/", "/health"):
            return self._whole(200, {"status": "ok"})
        return self._whole(404, _error(404, "no such route"))

    def do_POST(self) -> None:
        self._receive()
        if self._is_refused():
            return
        self.tokens_sent = 0
        try:
            self._answer()
        except (_ClientLeft, ConnectionError, TimeoutError):
            self.close_connection = True
            if not self.backend.stopped.is_set():
                self.backend.departures.append(
                    Departure(
                        model=self.call.model, at=time.monotonic(), tokens_sent=self.tokens_sent
                    )
                )

    def _receive(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        self.call = Call(
            method=self.command,
            path=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            raw=raw,
            body=body,
            at=time.monotonic(),
            connection=self.number,
        )
        self.is_messages = self.path.endswith("/messages")
        self.asked = messages.asked(body) if self.is_messages and body else body
        self.script = _Script.of(self.call.model)
        self.backend.seen[self.call.model] += 1
        self.backend.calls.append(self.call)

    # Answering

    def _is_refused(self) -> bool:
        """Answer those who have not the key, or look for a path without its version."""
        wanted = self.backend.api_key
        header, key = "authorization", f"Bearer {wanted}"
        if _AZURE.fullmatch(self.path):
            header, key = "api-key", wanted
        elif "anthropic-version" in self.call.headers:
            header, key = "x-api-key", wanted
        if wanted and self.call.headers.get(header) != key:
            self._whole(401, _error(401, "the key is wrong"))
        elif self.backend.needs_version and not self.path.startswith("/v1/"):
            self._whole(404, _error(404, "no such route"))
        else:
            return False
        return True

    def _answer(self) -> None:
        script, path = self.script, _AZURE.sub(r"\1", self.path.removeprefix("/v1"))
        self._wait(script.seconds("ttft") + script.numbers.get("hang", 0))
        if "refuse" in script:
            return self._reset()
        if "redirect" in script and not path.startswith("/elsewhere"):
            return self._whole(307, {}, location=f"{self.backend.url}/elsewhere{self.path}")
        if path not in ("/chat/completions", "/completions", "/embeddings", "/messages") or (
            path == "/completions" and "chat-only" in script
        ):
            return self._whole(404, _error(404, "no such route"))
        if self._fails():
            return None
        if path == "/embeddings":
            return self._embed()
        is_chat = path != "/completions"
        wants_stream = isinstance(self.call.body, dict) and self.call.body.get("stream")
        if wants_stream and "whole" not in script:
            return self._stream(is_chat=is_chat)
        return self._complete(is_chat=is_chat)

    def _fails(self) -> bool:
        script = self.script
        status = script.numbers.get("err")
        if "flaky" in script and self.backend.seen[self.call.model] == 1:
            status = script.numbers["flaky"]
        if status is not None:
            headers = {"retry_after": "7"} if status == 429 else {}
            self._whole(status, _error(status, f"the script says {status}"), **headers)
        elif "toolong" in script:
            self._whole(
                400,
                {
                    "error": {
                        "message": "This model's maximum context length is 2048 tokens.",
                        "type": "invalid_request_error",
                        "param": "messages",
                        "code": "context_length_exceeded",
                    }
                },
            )
        elif "html-502" in script:
            self._bytes(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", "text/html")
        else:
            return False
        return True

    def _tokens(self) -> tuple[str, ...]:
        script, body = self.script, self.asked
        if self.call.model in self.backend.answers:
            return self.backend.answers[self.call.model]
        if "empty" in script:
            return ()
        if "huge" in script:
            return ("x" * 65_536,) * 192
        if "echo" in script:
            messages = body.get("messages")
            said = messages[-1]["content"] if messages else body["prompt"]
            return tuple(re.findall(r"\s*\S+|\s+$", said))
        count = script.numbers.get("tokens", len(TOKENS))
        text = tuple(TOKENS[i % len(TOKENS)] for i in range(count))
        if any("Final Answer:" in m["content"] for m in body.get("messages", ())):
            text = REACT_ACTION if "react-action" in script else (*REACT_ANSWER, *text)
        return (*THOUGHT, *text) if "think" in script else text

    def _calls(self) -> list[dict[str, Any]]:
        body = self.asked
        if "tools" not in self.script or body["messages"][-1]["role"] == "tool":
            return []
        names = [tool["function"]["name"] for tool in body.get("tools", ())]
        return [
            {
                "id": f"call_{number}",
                "type": "function",
                "function": {"name": name, "arguments": "".join(ARGUMENTS)},
            }
            for number, name in enumerate(names)
        ]

    def _usage(self, tokens: tuple[str, ...]) -> dict[str, int]:
        asked = max(1, len(self.call.raw) // 4)
        return {
            "prompt_tokens": asked,
            "completion_tokens": len(tokens),
            "total_tokens": asked + len(tokens),
        }

    def _breaks(self) -> bool:
        if "garbage" in self.script:
            self._bytes(200, b"this is not json <<<", "text/plain")
        elif "emptyjson" in self.script:
            self._whole(200, {})
        else:
            return False
        return True

    def _embed(self) -> None:
        script, body = self.script, self.call.body
        if self._breaks():
            return None
        size = None if "fixed-length" in script else body.get("dimensions")
        size = 1_500_000 // len(body["input"]) if "huge" in script else size or VECTOR_SIZE
        items = [
            {"object": "embedding", "index": index, "embedding": vector_of(text, size)}
            for index, text in enumerate(body["input"])
        ]
        answer: dict[str, Any] = {
            "object": "list",
            "data": items[::-1] if "swapped" in script else items,
            "model": self.call.model,
        }
        if "nousage" not in script:
            asked = sum(len(text.split()) for text in body["input"])
            answer["usage"] = {"prompt_tokens": asked, "total_tokens": asked}
        return self._whole(200, answer)

    def _complete(self, *, is_chat: bool) -> None:
        script, tokens = self.script, self._tokens()
        if self._breaks():
            return None
        self._wait(script.seconds("slow") * len(tokens))
        text = "".join(tokens)
        said: dict[str, Any] = {"text": text}
        if is_chat:
            said = {"message": {"role": "assistant", "content": text}}
        reason = "stop"
        if calls := self._calls():
            said["message"] |= {"content": None, "tool_calls": calls}
            reason = "tool_calls"
        answer: dict[str, Any] = {
            "id": "chatcmpl-scripted" if is_chat else "cmpl-scripted",
            "object": "chat.completion" if is_chat else "text_completion",
            "created": CREATED,
            "model": self.call.model,
            "choices": [{"index": 0, **said, "finish_reason": reason, "logprobs": None}],
        }
        if "nousage" not in script:
            answer["usage"] = self._usage(tokens)
        return self._whole(200, messages.whole(answer) if self.is_messages else answer)

    def _stream(self, *, is_chat: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        if "gzip" in self.script:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        events = self._events(is_chat=is_chat)
        for event in messages.events(events) if self.is_messages else events:
            self._chunk(event)
        self.wfile.write(b"0\r\n\r\n")

    def _events(self, *, is_chat: bool) -> Iterator[bytes]:
        script, tokens = self.script, self._tokens()
        if "garbage" in script or "emptyjson" in script:
            yield _event("this is not json <<<" if "garbage" in script else {})
            yield _event("[DONE]")
            return
        if is_chat:
            yield self._delta({"role": "assistant", "content": ""}, is_chat=True)
        calls = self._calls()
        for index, call in enumerate(calls):
            yield from self._call_in_pieces(index, call)
        for position, token in enumerate(() if calls else tokens):
            if position == max(1, len(tokens) // 2):
                if "cut-midstream" in script:
                    return self._reset()
                if "err-midstream" in script:
                    yield _event(_error(500, "the script says: error in mid-stream"))
                    return None
                self._wait(script.numbers.get("stall", 0))
            yield self._delta({"content": token}, is_chat=is_chat)
            self.tokens_sent += 1
            self._wait(script.seconds("slow"))
        yield self._delta({}, is_chat=is_chat, finish_reason="tool_calls" if calls else "stop")
        wants_usage = (self.asked.get("stream_options") or {}).get("include_usage")
        if wants_usage and "nousage" not in script:
            yield _event(self._envelope(is_chat, []) | {"usage": self._usage(tokens)})
        if "nodone" not in script:
            yield _event("[DONE]")
        return None

    def _call_in_pieces(self, index: int, call: dict[str, Any]) -> Iterator[bytes]:
        named = {**call, "function": {**call["function"], "arguments": ""}}
        for part in (named, *({"function": {"arguments": piece}} for piece in ARGUMENTS)):
            yield self._delta({"tool_calls": [{"index": index, **part}]}, is_chat=True)
            self._wait(self.script.seconds("slow"))

    def _delta(
        self, delta: dict[str, Any], *, is_chat: bool, finish_reason: str | None = None
    ) -> bytes:
        said: dict[str, Any] = {"delta": delta} if is_chat else {"text": delta.get("content", "")}
        choice = {"index": 0, **said, "finish_reason": finish_reason}
        return _event(self._envelope(is_chat, [choice]))

    def _envelope(self, is_chat: bool, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": "chatcmpl-scripted" if is_chat else "cmpl-scripted",
            "object": "chat.completion.chunk" if is_chat else "text_completion",
            "created": CREATED,
            "model": self.call.model,
            "choices": choices,
        }

    # Bytes

    def _whole(self, status: int, value: object, **headers: str) -> None:
        self._bytes(status, _compact(value), "application/json", **headers)

    def _bytes(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        if "gzip" in self.script:
            body = gzip.compress(body)
            headers["content_encoding"] = "gzip"
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-").title(), value)
        self.end_headers()
        if "cut-midstream" in self.script:
            self._write(body[: len(body) // 2])
            return self._reset()
        return self._write(body)

    def _chunk(self, data: bytes) -> None:
        if "gzip" in self.script:
            data = gzip.compress(data)
        self._write(b"%x\r\n%s\r\n" % (len(data), data))

    def _write(self, data: bytes) -> None:
        if "drip" not in self.script:
            self.wfile.write(data)
            return
        pause = self.script.seconds("drip", default_ms=20)
        for byte in data:
            self.wfile.write(bytes([byte]))
            self._wait(pause)

    def _reset(self) -> None:
        """Close so that the client gets a reset, not an orderly end."""
        self.wfile.flush()
        if "refuse" in self.script:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _wait(self, seconds: float) -> None:
        """Wait, but notice at once that the client left or that the rig closes."""
        deadline = time.monotonic() + seconds
        while (remaining := deadline - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self.connection, select.POLLIN | select.POLLHUP | select.POLLERR)
            ready = poll.poll(min(remaining, 0.25) * 1000)
            if self.backend.stopped.is_set():
                raise _ClientLeft
            if not ready:
                continue
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise _ClientLeft
            # More bytes from the client: the next request, which waits for its turn.
            self.backend.stopped.wait(min(remaining, 0.02))


def vector_of(text: str, size: int = VECTOR_SIZE) -> list[float]:
    """Return the vector of a text: numbers that float32 holds exactly."""
    return [byte / 128 - 1 for byte in hashlib.shake_256(text.encode()).digest(size)]


def _event(value: object) -> bytes:
    data = value.encode() if isinstance(value, str) else _compact(value)
    return b"data: " + data + b"\n\n"


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _error(status: int, message: str) -> dict[str, Any]:
    kind = ERROR_TYPES.get(status, "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


def _models(names: list[str]) -> list[dict[str, Any]]:
    return [
        {"id": name, "object": "model", "created": CREATED, "owned_by": "rig"} for name in names
    ]
