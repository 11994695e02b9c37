"""Tests of models_registry, and the network they stand in.

RawServer sends exactly the bytes it is told to; `resolve_to` puts words into the resolver's mouth.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Visitor:
    """One connection to a RawServer, as its script sees it."""

    def __init__(self, server: RawServer, sock: socket.socket) -> None:
        self.sock = sock
        self._server = server

    def read_request(self) -> bytes:
        """Return the next request, head and body; raise EOFError when the client left."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(body) < length:
            body += self._receive()
        request = head + b"\r\n\r\n" + body
        self._server.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes, *, every_s: float) -> None:
        """Send one byte at a time; stop when the client left."""
        for byte in data:
            self.sock.sendall(bytes([byte]))
            time.sleep(every_s)

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def wait_until_left(self) -> None:
        """Return when the client has closed its side."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass
        self._server.left_at = time.monotonic()

    def reset(self) -> None:
        """Close so that the client sees a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _receive(self) -> bytes:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        return data


class RawServer:
    """Runs a script for every connection, each in a thread of its own."""

    def __init__(
        self,
        script: Callable[[Visitor], None],
        *,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        """Start listening on a free port."""
        self.connections = 0
        self.requests: list[bytes] = []
        self.left_at = 0.0
        self._script = script
        self._tls = tls
        self._socks: list[socket.socket] = []
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._socks.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            with sock:
                self._script(Visitor(self, sock))
        sock.close()


def answering(*answers: bytes) -> Callable[[Visitor], None]:
    """Return a script that answers each request of a connection with the next of these bytes.

    After the last answer the connection stays open and further requests get that one again.
    """

    def script(visitor: Visitor) -> None:
        left = list(answers)
        while True:
            visitor.read_request()
            visitor.send(left.pop(0) if len(left) > 1 else left[0])

    return script


def sending(*pieces: bytes) -> Callable[[Visitor], None]:
    """Return a script that answers one request with these pieces, then closes."""

    def script(visitor: Visitor) -> None:
        visitor.read_request()
        for piece in pieces:
            visitor.send(piece)

    return script


def chunked(pieces: Iterable[bytes], *, media: bytes = b"text/event-stream") -> bytes:
    """Return a whole chunked answer."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % media
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + body + b"0\r\n\r\n"


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let the resolver give these answers, one after the other; return the names it was asked."""
    asked: list[str] = []
    left = list(answers)

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port),
            )
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def watch_connects(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of addresses that anything in this process connects to from now on."""
    dialed: list[Any] = []

    class Watched(socket.socket):
        def connect(self, address: Any) -> None:
            dialed.append(address)
            super().connect(address)

    monkeypatch.setattr(socket, "socket", Watched)
    return dialed
