"""ScriptedVendor: a gateway of the vendor's that records what it gets and answers as told.

vendor = ScriptedVendor()
vendor.answer({"choices": []})                             # whole, the same for every call
vendor.answer(b"<html>", status=502, Content_Type="text/html")
vendor.stream("one", "two", Content_Type="text/plain")     # in pieces
vendor.stream("one", "two", then="cut")                    # breaks off after the last piece
vendor.stream("one", "two", then="hang")                   # says nothing more until the end
vendor.calls[0].headers["authorization"]
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.rig.processes import wait_until

BASE_PATH = "/ai"


@dataclass(frozen=True, kw_only=True)
class VendorCall:
    """What the vendor received; header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class _Script:
    """What the vendor answers: its whole body, or pieces and what follows them."""

    status: int
    headers: dict[str, str]
    pieces: tuple[bytes, ...]
    is_streamed: bool
    then: str


class ScriptedVendor:
    """A gateway on 127.0.0.1, below the base path of GitLab's cloud."""

    def __init__(self) -> None:
        """Start listening on a free port."""
        self.calls: list[VendorCall] = []
        self.departures = 0
        self.stopped = threading.Event()
        self.answer({"detail": "no script"}, status=500)
        handler = type("Handler", (_Handler,), {"vendor": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{BASE_PATH}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, body: Any, *, status: int = 200, **headers: str) -> None:
        """Answer with a body, JSON unless it is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.script = _Script(
            status=status,
            headers={"Content-Type": "application/json", **_spelled(headers)},
            pieces=(data,),
            is_streamed=False,
            then="",
        )

    def stream(self, *pieces: str | bytes, then: str = "end", **headers: str) -> None:
        """Answer in pieces; `then`: end, cut or hang."""
        self.script = _Script(
            status=200,
            headers={"Content-Type": "text/event-stream; charset=utf-8", **_spelled(headers)},
            pieces=tuple(p.encode() if isinstance(p, str) else p for p in pieces),
            is_streamed=True,
            then=then,
        )

    def wait_for_departure(self, *, within_s: float = 5) -> None:
        """Return once a client left before the end."""
        wait_until(lambda: self.departures, within_s=within_s, what="a departure")

    def close(self) -> None:
        """Stop listening and end what hangs."""
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()


def _spelled(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that leaves is a case, not an error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    vendor: ScriptedVendor

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the rig records calls instead."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.vendor.calls.append(
            VendorCall(method=self.command, path=self.path, headers=headers, body=body)
        )
        script = self.vendor.script
        self.send_response(script.status)
        for name, value in script.headers.items():
            self.send_header(name, value)
        if not script.is_streamed:
            self.send_header("Content-Length", str(len(script.pieces[0])))
            self.end_headers()
            self.wfile.write(script.pieces[0])
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in script.pieces:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.vendor.stopped.wait(0.02)  # each arrives alone
        if script.then == "end":
            self.wfile.write(b"0\r\n\r\n")
        elif script.then == "cut":
            self._reset()
        else:
            self._hang()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _hang(self) -> None:
        """Send nothing more; notice when the other side leaves."""
        self.close_connection = True
        self.connection.settimeout(0.02)
        while not self.vendor.stopped.is_set():
            with contextlib.suppress(TimeoutError):
                if not self.connection.recv(1):
                    self.vendor.departures += 1
                    return
