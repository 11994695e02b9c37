"""BedrockStandIn: AWS Bedrock's Converse on 127.0.0.1, which checks signatures as AWS does.

Signatures are computed here from AWS's description, without AWS's own library. The model's id
selects what happens; parts are separated by `.`, `/` or `:`:

    (anything else)     the sixteen tokens of the scripted backend
    tools               a call of the first tool, unless a tool's result is the last thing said
    err-NNN             HTTP NNN (429 sends Retry-After: 7)
    (a key of SAID)     HTTP 400 with what Bedrock says of this mistake
    exception-NAME      a stream with this exception in its middle
    cut-midstream       the connection ends in the middle of a stream
    damaged             a stream with one wrong byte in its middle

Source: AWS Signature Version 4; Amazon Bedrock API reference (Converse, ConverseStream); Smithy
specification, Amazon Event Stream.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote, unquote
from zlib import crc32

from tests.rig.backend import ARGUMENTS, TOKENS, Call, _Server

ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION = "eu-west-1"
CLOCK_SKEW = timedelta(minutes=5)
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>[^,]+), "
    r"SignedHeaders=(?P<signed>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)
SAID = {
    "toolong": "Input is too long for requested model.",
    "profile": (
        "Invocation of model ID x with on-demand throughput isn't supported. Retry your request"
        " with the ID or ARN of an inference profile that contains this model."
    ),
    "form": "Model use case details have not been submitted for this account.",
    "prefill": "This model does not support assistant message prefill.",
    "access": "You don't have access to the model with the specified model ID.",
    "invalid": "The provided request is not valid",
}


def signature_of(
    *,
    secret: str,
    scope: str,
    at: str,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    signed: str,
    body: bytes,
) -> str:
    """Return the signature of a request; `headers` have lower-case names."""
    lines = [f"{name}:{' '.join(headers[name].split())}" for name in signed.split(";")]
    # Every service but S3 encodes the path of the request line once more.
    canonical = [method, quote(path, safe="/~"), query, *lines, "", signed]
    request = "\n".join([*canonical, hashlib.sha256(body).hexdigest()])
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return _hmac(key, f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}").hex()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def frame(payload: bytes, **headers: str) -> bytes:
    """Return one frame of an event stream; `message_type` becomes `:message-type`."""
    encoded = b""
    for name, value in headers.items():
        name = ":" + name.replace("_", "-")
        encoded += struct.pack("B", len(name)) + name.encode()
        encoded += struct.pack(">BH", 7, len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(encoded) + len(payload), len(encoded))
    message = prelude + struct.pack(">I", crc32(prelude)) + encoded + payload
    return message + struct.pack(">I", crc32(message))


def event(name: str, value: Any) -> bytes:
    """Return the frame of an event."""
    return frame(
        json.dumps(value).encode(),
        message_type="event",
        event_type=name,
        content_type="application/json",
    )


def exception(name: str, message: str) -> bytes:
    """Return the frame of an exception."""
    payload = json.dumps({"message": message}).encode()
    return frame(payload, message_type="exception", exception_type=name)


class BedrockStandIn:
    """A server that believes `secret` and `session`, and any Bedrock API key in `bearers`."""

    def __init__(
        self, *, session: str = "", bearers: tuple[str, ...] = (), secret: str = SECRET_KEY
    ) -> None:
        """Start listening on a free port."""
        self.session, self.bearers, self.secret = session, bearers, secret
        self.calls: list[Call] = []
        handler = type("Handler", (_Handler,), {"bedrock": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fault_in(self, call: Call) -> str:
        """Return what is wrong with the credentials of a call, or nothing."""
        given = call.headers.get("authorization", "")
        if given.startswith("Bearer "):
            is_known = given.removeprefix("Bearer ") in self.bearers
            return "" if is_known else "UnrecognizedClientException"
        found = AUTHORIZATION.fullmatch(given)
        at = call.headers.get("x-amz-date", "")
        if not found or not at:
            return "MissingAuthenticationTokenException"
        age = datetime.now(UTC) - datetime.strptime(at + "+0000", "%Y%m%dT%H%M%SZ%z")
        is_ours = found["key"] == ACCESS_KEY
        if not is_ours or call.headers.get("x-amz-security-token", "") != self.session:
            return "UnrecognizedClientException"
        must = {"host", "x-amz-date"} | ({"x-amz-security-token"} if self.session else set())
        expected = signature_of(
            secret=self.secret,
            scope=f"{at[:8]}/{REGION}/bedrock/aws4_request",
            at=at,
            method=call.method,
            path=call.path,
            query="",
            headers=call.headers,
            signed=found["signed"],
            body=call.raw,
        )
        is_right = hmac.compare_digest(expected, found["signature"])
        if not is_right or abs(age) > CLOCK_SKEW or not must <= set(found["signed"].split(";")):
            return "InvalidSignatureException"
        return ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bedrock: BedrockStandIn

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the rig records calls instead."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(
            method="POST",
            path=self.path,
            headers=headers,
            raw=raw,
            body=json.loads(raw),
            at=time.monotonic(),
            connection=self.client_address[1],
        )
        self.bedrock.calls.append(call)
        if fault := self.bedrock.fault_in(call):
            return self._refuse(
                403, fault, "The security token included in the request is invalid."
            )
        _, kind, model_id, action = self.path.split("/")
        words = set(re.split(r"[./:]", unquote(model_id)))
        for word in words:
            if word in SAID:
                return self._refuse(400, "ValidationException", SAID[word])
            if word.startswith("err-"):
                return self._refuse(int(word[4:]), "SomeException", "the script says so")
        if kind != "model" or action not in ("converse", "converse-stream"):
            return self._refuse(404, "UnknownOperationException", "no such operation")
        if action == "converse":
            return self._send(200, json.dumps(_whole(call.body, words)).encode())
        return self._stream(call.body, words)

    def _refuse(self, status: int, kind: str, message: str) -> None:
        more = {"x-amzn-ErrorType": kind, **({"Retry-After": "7"} if status == 429 else {})}
        self._send(status, json.dumps({"message": message}).encode(), **more)

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, body: dict[str, Any], words: set[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for data in _events(body, words):
            # In two pieces, so that no reader may take a chunk for a frame.
            for piece in (data[:7], data[7:]):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if "cut-midstream" in words:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")


def _called(body: dict[str, Any], words: set[str]) -> str:
    """Return the name of the tool that the answer calls, if it calls one."""
    last = body["messages"][-1]["content"][-1]
    if "tools" not in words or "toolResult" in last:
        return ""
    return str(body["toolConfig"]["tools"][0]["toolSpec"]["name"])


def _usage(body: dict[str, Any]) -> dict[str, int]:
    asked = max(1, len(json.dumps(body)) // 4)
    return {
        "inputTokens": asked,
        "outputTokens": len(TOKENS),
        "totalTokens": asked + len(TOKENS),
        "cacheReadInputTokens": 0,
    }


def _whole(body: dict[str, Any], words: set[str]) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"text": "".join(TOKENS)}]
    name = _called(body, words)
    if name:
        arguments = json.loads("".join(ARGUMENTS))
        content = [{"toolUse": {"toolUseId": "tooluse_1", "name": name, "input": arguments}}]
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": "tool_use" if name else "end_turn",
        "usage": _usage(body),
        "metrics": {"latencyMs": 1},
    }


def _events(body: dict[str, Any], words: set[str]) -> Iterator[bytes]:
    yield event("messageStart", {"role": "assistant"})
    name = _called(body, words)
    deltas: list[dict[str, Any]] = [{"text": token} for token in TOKENS]
    if name:
        start = {"toolUse": {"toolUseId": "tooluse_1", "name": name}}
        yield event("contentBlockStart", {"contentBlockIndex": 0, "start": start})
        deltas = [{"toolUse": {"input": piece}} for piece in ARGUMENTS]
    for position, delta in enumerate(deltas):
        data = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": delta})
        if position == len(deltas) // 2:
            if "cut-midstream" in words:
                yield data[: len(data) // 2]
                return
            if "damaged" in words:
                data = data[:-10] + b"?" + data[-9:]
            if broken := next((w for w in words if w.startswith("exception-")), ""):
                yield exception(broken.removeprefix("exception-"), "the script says so")
                return
        yield data
    yield event("contentBlockStop", {"contentBlockIndex": 0})
    yield event("messageStop", {"stopReason": "tool_use" if name else "end_turn"})
    yield event("metadata", {"usage": _usage(body), "metrics": {"latencyMs": 1}})
