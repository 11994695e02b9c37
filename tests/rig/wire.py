"""One HTTP exchange to the byte: what was sent, what came back, and whether the end was honest.

An HTTP client library hides what the contract is about: the framing, the exact text, and the
difference between a stream that ended and one that was cut.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer; header names are lower case, `seconds` counts until the end.

    `end`: "clean", "cut" (the other side broke off) or "left" (we did, as asked).
    """

    status: int
    headers: Mapping[str, str]
    text: str
    chunks: tuple[str, ...]
    end: str
    seconds: float


def exchange(
    url: str,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    version: str = "1.1",
    timeout_s: float = 10,
    leave_after_chunks: int | None = None,
) -> Reply:
    """Send one request on a connection of its own and read its answer to the end.

    `leave_after_chunks`: close the connection when that many pieces of the body have come.
    """
    address = urlsplit(url)
    started = time.monotonic()
    with socket.create_connection((address.hostname, address.port), timeout_s) as connection:
        # Who refuses a body unread closes before it has come; its answer is there all the same.
        with contextlib.suppress(ConnectionError):
            connection.sendall(_request(address.netloc, method, path, headers or {}, body, version))
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        pieces: list[bytes] = []
        end = "clean"
        try:
            while piece := response.read1():
                pieces.append(piece)
                if leave_after_chunks is not None and len(pieces) >= leave_after_chunks:
                    end = "left"
                    break
        except (http.client.HTTPException, ConnectionError):
            end = "cut"
        promised = response.getheader("Content-Length")
        if end == "clean" and method != "HEAD" and promised is not None:
            end = "clean" if len(b"".join(pieces)) == int(promised) else "cut"
        reply = Reply(
            status=response.status,
            headers={name.lower(): value for name, value in response.getheaders()},
            text=b"".join(pieces).decode(),
            chunks=tuple(piece.decode(errors="replace") for piece in pieces),
            end=end,
            seconds=time.monotonic() - started,
        )
        response.close()
        return reply


def _request(
    host: str, method: str, path: str, headers: Mapping[str, str], body: bytes, version: str
) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", f"Host: {host}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
