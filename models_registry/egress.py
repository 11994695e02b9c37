"""The one door to the network: nothing else in Enclave opens a socket to a model or to GitLab.

What may be reached is deploy configuration, GATEWAY_EGRESS_ALLOW; the UI chooses within it. The
rule is applied to addresses, at the moment of connecting: a name that resolves to one forbidden
address is refused, and the connected peer is compared with the address that was checked.

The engine is urllib3's connection and response; its socket is a `_Wire`, which asks the clock of
the exchange before every system call that can block. So no limit needs a watchdog, and a server
that sends one byte a second cannot outlast any of them. Source: reliability.md 3.2, 3.3, J2 S1-S3.
"""

from __future__ import annotations

import atexit
import errno
import http.client
import io
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn, cast
from urllib.parse import urlsplit

import orjson
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError
from urllib3.util.response import assert_header_parsing
from urllib3.util.wait import wait_for_read, wait_for_write

from models_registry import egress_ledger
from models_registry.errors import (
    AnswerTooLarge,
    BackendAuthFailed,
    BackendFailed,
    BackendNotFound,
    BackendRejected,
    BackendTimedOut,
    BackendTlsFailed,
    BackendUnreachable,
    EgressDenied,
    InferenceCancelled,
    MalformedReply,
    ModelError,
    ModelMisconfigured,
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

POOLS_MAX = 256
IDLE_CONNECTIONS_MAX = 512
IDLE_CONNECTION_S = 60.0
HEAD_MAX_BYTES = 64 * 1024
READ_BYTES = 64 * 1024
SEND_BYTES = 64 * 1024
CHUNK_LINE_MAX_BYTES = 8 * 1024
# How soon a kept-alive connection that the server had already closed shows it. What fails later
# was received by the server, and asking again would be a second call of the model.
STALE_WITHIN_S = 1.0
# What waits without a socket (the resolver) looks this often whether the caller left.
CANCEL_POLL_S = 0.1

NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # unspecified; Linux takes it for loopback
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "100.100.100.200/32",  # metadata: Alibaba
        "168.63.129.16/32",  # metadata: Azure
        "192.0.0.192/32",  # metadata: Oracle
        "224.0.0.0/4",
        "255.255.255.255/32",
        "::/128",
        "fe80::/10",
        "ff00::/8",
        "fd00:ec2::/32",  # metadata and other instance services: AWS
        "fd20:ce::/32",  # metadata: Google
        "fd00:c1::/32",  # metadata: Oracle
    )
)
# Why a destination was refused.
NEVER_DIALED, NOT_LISTED, OTHER_PEER = "never_dialed", "not_listed", "other_peer"
# IPv6 forms that carry an IPv4 address in their last 32 bits.
IPV4_IN_IPV6 = tuple(
    ipaddress.IPv6Network(network)
    for network in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "::/96")
)

IPV6_LOOPBACK = ipaddress.IPv6Address("::1")

NETLOC = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
HOST_NAME = re.compile(r"(?!.{254})(?:(?!-)[a-z0-9_-]{1,63}(?<!-)\.)*(?!-)[a-z0-9_-]{1,63}(?<!-)")
DIGITS = re.compile(r"[0-9]{1,18}")
CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,8}")
ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")

# What http.client and urllib3 raise when the other side is gone or does not speak HTTP.
FAULTS = (OSError, HTTPError, http.client.HTTPException, ValueError)

# OpenSSL's X509_V_ERR_… numbers: what is wrong with a certificate, in one word and in a sentence.
CERTIFICATE_FAULTS = {
    9: ("not_yet_valid", "is not valid yet; compare the clocks"),
    10: ("expired", "has expired"),
    18: (
        "self_signed",
        "is self-signed and not among the trusted authorities; paste it into the CA bundle",
    ),
    19: (
        "unknown_authority",
        "was signed by an unknown authority; paste that authority into the CA bundle",
    ),
    23: ("revoked", "was revoked"),
    62: ("wrong_name", "was made for another host name"),
    64: ("wrong_name", "was made for another address"),
}
CERTIFICATE_FAULTS |= dict.fromkeys((20, 21), CERTIFICATE_FAULTS[19])


# What may be reached


@dataclass(frozen=True, kw_only=True, slots=True)
class _Policy:
    """GATEWAY_EGRESS_ALLOW, parsed. A port of None means any; a name `.x` means all below x."""

    networks: tuple[tuple[Network, int | None], ...]
    names: tuple[tuple[str, int | None], ...]

    def check(self, host: str, port: int, address: Address) -> None:
        """Pass if the address may be dialed for this host.

        Raises:
            EgressDenied: it is not in the list, or can never be in it.
        """
        for plain in _carried(address):
            if any(plain in network for network in NEVER):
                raise EgressDenied(
                    "The endpoint leads to a link-local, cloud metadata, multicast or unspecified"
                    " address. Such an address is never dialed.",
                    reason=NEVER_DIALED,
                )
            if not self._lists(host, port, plain):
                raise EgressDenied(
                    "The endpoint's address and port are not in GATEWAY_EGRESS_ALLOW. Ask whoever"
                    " deploys Enclave to add its network or its host name.",
                    reason=NOT_LISTED,
                )

    def _lists(self, host: str, port: int, address: Address) -> bool:
        if any(address in network and only in (None, port) for network, only in self.networks):
            return True
        # A listed name vouches for its addresses, but DNS must not lead to Enclave's own services.
        if address.is_loopback and not _is_localhost(host):
            return False
        return any(
            (host.endswith(name) if name.startswith(".") else host == name) and only in (None, port)
            for name, only in self.names
        )


def _carried(address: Address) -> tuple[Address, ...]:
    """Return the address itself, or the IPv4 addresses that an IPv6 transition form carries."""
    if isinstance(address, ipaddress.IPv4Address) or address == IPV6_LOOPBACK:
        return (address,)
    if address.teredo:
        return address.teredo
    if address.sixtofour:
        return (address.sixtofour,)
    if int(address) and any(address in network for network in IPV4_IN_IPV6):
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    return (address,)


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


@lru_cache(maxsize=16)
def parse_allow_list(entries: tuple[str, ...]) -> _Policy:
    """Return GATEWAY_EGRESS_ALLOW as rules.

    Raises:
        ImproperlyConfigured: an entry is neither a network nor a host name.
    """
    networks: list[tuple[Network, int | None]] = []
    names: list[tuple[str, int | None]] = []
    for entry in entries:
        what, port = _split_entry(entry.strip().lower())
        try:
            networks.append((ipaddress.ip_network(what, strict=False), port))
        except ValueError:
            if not HOST_NAME.fullmatch(what.removeprefix("*.")) or ENDS_IN_NUMBER.fullmatch(what):
                raise ImproperlyConfigured(
                    f"GATEWAY_EGRESS_ALLOW: '{entry}' is neither a network (10.0.0.0/8), nor a host"
                    " name (llm.example.com), nor all names below one (*.example.com), each with an"
                    " optional port (:8000)."
                ) from None
            names.append((what.removeprefix("*"), port))
    return _Policy(networks=tuple(networks), names=tuple(names))


def _split_entry(entry: str) -> tuple[str, int | None]:
    """Return what an entry names and its port; IPv6 needs brackets for a port: [fd00::/8]:8000."""
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::([0-9]{1,5}))?", entry)
    if bracketed:
        return bracketed[1], int(bracketed[2]) if bracketed[2] else None
    with_port = re.fullmatch(r"([^:]+):([0-9]{1,5})", entry)
    if with_port:
        return with_port[1], int(with_port[2])
    return entry, None


def _allowed() -> _Policy:
    return parse_allow_list(tuple(settings.GATEWAY_EGRESS_ALLOW))


# Addresses as people write them


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    """An http(s) URL taken apart. `address` is set where the host is written as an address."""

    scheme: str
    host: str
    port: int
    address: Address | None
    host_header: str
    path: str
    has_query: bool


@lru_cache(maxsize=1024)
def _parse(url: str) -> _Target:
    """Return the parts of a URL.

    Raises:
        ModelMisconfigured: it has one of the many forms that two readers take for two hosts.
    """
    # urlsplit drops tabs and line breaks, and some readers take a backslash for a slash.
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ModelMisconfigured(
            "The endpoint holds a space, a backslash, a control character or a letter outside"
            " ASCII. Write international names in their xn-- form."
        )
    try:
        parts = urlsplit(url)
    except ValueError as exc:
        raise ModelMisconfigured("The endpoint's brackets do not enclose an IPv6 address.") from exc
    if parts.scheme not in ("http", "https"):
        raise ModelMisconfigured("The endpoint must begin with http:// or https://.")
    if "@" in parts.netloc:
        raise ModelMisconfigured(
            "The endpoint holds a user name or a password (…@). Remove it;"
            " the key has a field of its own."
        )
    if "#" in url:
        raise ModelMisconfigured("The endpoint holds a fragment (#…). Remove it.")
    match = NETLOC.fullmatch(parts.netloc.lower())
    if match is None:
        raise ModelMisconfigured("The endpoint must name one host: http://host:port/v1.")
    port = int(match["port"] or (443 if parts.scheme == "https" else 80))
    if not 0 < port < 65536:
        raise ModelMisconfigured("The endpoint's port must lie between 1 and 65535.")
    host, address = _parse_host(match["v6"], match["name"])
    return _Target(
        scheme=parts.scheme,
        host=host,
        port=port,
        address=address,
        host_header=parts.netloc.lower(),
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        has_query="?" in url,
    )


def _parse_host(v6: str | None, name: str) -> tuple[str, Address | None]:
    if v6 is not None:
        try:
            return v6, ipaddress.IPv6Address(v6)
        except ValueError as exc:
            raise ModelMisconfigured("The endpoint's IPv6 address is not valid.") from exc
    if name.endswith("."):
        raise ModelMisconfigured("The endpoint's host name ends in a dot. Remove the dot.")
    if ENDS_IN_NUMBER.fullmatch(name):
        # inet_aton reads 0177.1, 2130706433 and 0x7f.1 as addresses; we read one form only.
        try:
            return name, ipaddress.IPv4Address(name)
        except ValueError as exc:
            raise ModelMisconfigured(
                "The endpoint's IPv4 address must be four decimal numbers: 10.1.2.3."
            ) from exc
    if not HOST_NAME.fullmatch(name):
        raise ModelMisconfigured("The endpoint's host name is not valid.")
    return name, None


def validate_endpoint(url: str) -> None:
    """Refuse an endpoint that could never be dialed; a name is resolved only when it is.

    Raises:
        ValidationError: with a sentence that says what to change.
    """
    try:
        check_endpoint(url)
    except ModelError as exc:
        raise ValidationError(str(exc), code=exc.code) from exc


def check_endpoint(url: str) -> None:
    """Pass if the URL can be a model's endpoint, as far as it is written.

    Raises:
        ModelMisconfigured: it cannot be read, or holds what an endpoint must not.
        EgressDenied: it is an address that may not be dialed.
    """
    target = _parse(url)
    if target.has_query:
        raise ModelMisconfigured("The endpoint holds a query (?…). Remove it.")
    _check_written(target, egress_ledger.MODEL)


def address_of(url: str) -> str:
    """Return host:port of a URL, and nothing else of it.

    Raises:
        ModelMisconfigured: it cannot be read.
    """
    target = _parse(url)
    return egress_ledger.as_entry(target.host, target.port)


def _check_written(target: _Target, purpose: str) -> None:
    """Pass if the host is a name, or an address that may be dialed."""
    address = target.address
    if address is None and _is_localhost(target.host):
        address = ipaddress.IPv4Address("127.0.0.1")
    if address is not None:
        _check_addresses(target, [address], purpose)


def _check_addresses(target: _Target, addresses: list[Address], purpose: str) -> None:
    """Pass if every address may be dialed; what is refused is noted."""
    policy = _allowed()
    try:
        for address in addresses:
            policy.check(target.host, target.port, address)
    except EgressDenied as exc:
        egress_ledger.refused(target.host, target.port, purpose, reason=exc.reason)
        raise


# How long it may take


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one exchange may cost.

    Limits: `deadline_at` is time.monotonic(); `first_byte_s` runs from the start to the first byte
    of the body, `idle_s` between two arrivals after it.
    """

    deadline_at: float
    first_byte_s: float
    idle_s: float
    max_bytes: int


class Cancellation:
    """The caller's right to stop an exchange from another thread, at any moment.

    `connect_ms` is how long the exchange took to connect, 0 if a connection was there already,
    None if it has none yet.
    """

    __slots__ = ("_abort", "_lock", "connect_ms", "is_cancelled")

    def __init__(self) -> None:
        self.is_cancelled = False
        self.connect_ms: float | None = None
        self._abort: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Stop the exchange now, or as soon as it starts."""
        with self._lock:
            self.is_cancelled = True
            if self._abort is not None:
                self._abort()

    def aim(self, abort: Callable[[], None] | None) -> None:
        """Set what `cancel` calls. After `aim(None)` it touches no connection any more."""
        with self._lock:
            self._abort = abort


class _Limit(NamedTuple):
    """A moment, and the error that is true after it."""

    until: float
    seconds: float
    error: type[ModelError]
    text: str

    def exceeded(self) -> ModelError:
        return self.error(self.text.format(f"{round(self.seconds, 1):g}"))


SILENCE = (BackendTimedOut, "Silence of more than {} s inside the answer.")


class _Clock:
    """How long one exchange may still wait, and what has arrived so far."""

    __slots__ = ("_cancellation", "_first_byte", "_idle_s", "_whole", "has_begun", "head_bytes")

    def __init__(self, limits: Limits, cancellation: Cancellation) -> None:
        now = time.monotonic()
        self._cancellation = cancellation
        self._whole = _Limit(
            limits.deadline_at,
            max(limits.deadline_at - now, 0.0),
            BackendTimedOut,
            "The whole answer took longer than {} s.",
        )
        self._first_byte = self._within(
            limits.first_byte_s, BackendTimedOut, "No first byte of an answer within {} s."
        )
        self._idle_s = limits.idle_s
        # None once the head of the response is read.
        self.head_bytes: int | None = 0
        self.has_begun = False

    def _within(self, seconds: float, error: type[ModelError], text: str) -> _Limit:
        limit = _Limit(time.monotonic() + seconds, seconds, error, text)
        return limit if limit.until < self._whole.until else self._whole

    def to_connect(self) -> _Limit:
        return self._within(
            settings.GATEWAY_CONNECT_S,
            BackendUnreachable,
            "No connection within {} s. Check the host, the port and the firewall between.",
        )

    def to_shake_hands(self) -> _Limit:
        return self._within(
            settings.GATEWAY_CONNECT_S, BackendTlsFailed, "No TLS handshake within {} s."
        )

    def silence(self) -> ModelError:
        """Return the error for nothing having arrived within the limit for silence."""
        return self._within(self._idle_s, *SILENCE).exceeded()

    def to_move(self) -> _Limit:
        """Return the limit for the next bytes to go or to come."""
        if not self.has_begun:
            return self._first_byte
        return self._within(self._idle_s, *SILENCE)

    def left_to_move_s(self) -> float:
        """Return `left_s(to_move())`, without making the limit: this is asked for every arrival.

        Raises:
            ModelError: the limit is over, or the caller left.
        """
        if self._cancellation.is_cancelled or not self.has_begun:
            return self.left_s(self.to_move())
        left_s = self._whole.until - time.monotonic()
        if left_s <= 0:
            raise self._whole.exceeded()
        return min(left_s, self._idle_s)

    def left_s(self, limit: _Limit) -> float:
        """Return how long the next system call may take.

        Raises:
            ModelError: the limit is over, or the caller left.
        """
        self.check_cancelled()
        left_s = limit.until - time.monotonic()
        if left_s <= 0:
            raise limit.exceeded()
        return left_s

    def check_cancelled(self) -> None:
        if self._cancellation.is_cancelled:
            raise InferenceCancelled

    def shorten(self, within_s: float) -> None:
        """Bring everything that is still to come under one short limit."""
        self._whole = self._within(within_s, BackendTimedOut, "The rest did not come within {} s.")
        self._first_byte = self._whole


# The connection


class _Wire:
    """A connected socket that waits no longer than the clock of its exchange allows.

    It has the few methods of a socket that http.client and urllib3 use.
    """

    def __init__(self, sock: socket.socket, clock: _Clock) -> None:
        self.sock = sock
        self.clock = clock
        self.is_tls = isinstance(sock, ssl.SSLSocket)
        self._outgoing: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        """Keep the data for `flush`: head and body leave in one system call."""
        self._outgoing.append(data)

    def flush(self) -> None:
        view = memoryview(b"".join(self._outgoing))
        self._outgoing.clear()
        for start in range(0, len(view), SEND_BYTES):
            limit = self.clock.to_move()
            self.sock.settimeout(self.clock.left_s(limit))
            try:
                self.sock.sendall(view[start : start + SEND_BYTES])
            except TimeoutError as exc:
                raise limit.exceeded() from exc

    def recv_into(self, buffer: Any) -> int:
        count = self._recv_into(buffer)
        self.clock.check_cancelled()
        if self.clock.head_bytes is not None:
            self.clock.head_bytes += count
            if self.clock.head_bytes > HEAD_MAX_BYTES + io.DEFAULT_BUFFER_SIZE:
                raise MalformedReply("The server sent more than 64 KiB of headers.")
            if not count and self.clock.head_bytes:
                # http.client would take what has come for the whole head.
                raise MalformedReply("The server hung up in the middle of its headers.")
        return count

    def _recv_into(self, buffer: Any) -> int:
        if not self.is_tls and self.clock.has_begun:
            limit_s = self.clock.left_to_move_s()
            self.sock.settimeout(limit_s)
            try:
                return self.sock.recv_into(buffer)
            except TimeoutError as exc:
                self.clock.left_to_move_s()
                raise self.clock.silence() from exc
        limit = self.clock.to_move()
        while True:
            left_s = self.clock.left_s(limit)
            # A TLS record that drips in would restart the socket's own timeout at every byte.
            self.sock.settimeout(0 if self.is_tls else left_s)
            try:
                return self.sock.recv_into(buffer)
            except TimeoutError:
                continue
            except ssl.SSLWantReadError:
                wait_for_read(self.sock, left_s)
            except ssl.SSLWantWriteError:
                wait_for_write(self.sock, left_s)

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self))

    def settimeout(self, _: float | None) -> None:
        """Leave it: the clock decides."""

    def close(self) -> None:
        """Leave it: http.client closes on "Connection: close", while the body is still to come."""


class _Incoming(io.RawIOBase):
    """The reading side of a wire, as a file."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.recv_into(buffer)


class _Response(http.client.HTTPResponse):
    """http.client's response, without its leniency about where a body ends."""

    def begin(self) -> None:
        super().begin()
        if self.msg.defects:
            assert_header_parsing(self.msg)
        if 100 <= self.status < 200:
            raise MalformedReply("The server switched protocols, which it was not asked to.")
        length = self.msg.get_all("Content-Length", [])
        coding = self.msg.get_all("Transfer-Encoding", [])
        if len(length) + len(coding) > 1 or (coding and not self.chunked):
            raise MalformedReply("The server says in two ways where its answer ends.")
        if length and not DIGITS.fullmatch(length[0]):
            raise MalformedReply("The server's Content-Length is not a number.")


class _Body:
    """The bytes of a response's body as they arrive, up to the end that its head announced.

    Decodes chunks itself: http.client takes eight calls for what one line of a stream needs, and
    takes the end of the connection for the end of a body. Source: RFC 9112, sections 6 and 7.1.
    """

    def __init__(self, response: _Response) -> None:
        self._response = response
        self._read1 = response.fp.read1
        self._left = response.length  # None: until the connection ends, or chunked
        self._is_chunked = bool(response.chunked)
        self._held = bytearray()
        self._chunk_left = 0
        self._is_in_chunk = False

    def read(self) -> bytes:
        """Return what came next, empty at the end of the body.

        Raises:
            MalformedReply: the connection ended before the body did, or the chunks are none.
        """
        data = self._next_of_chunks() if self._is_chunked else self._next_of_length()
        if not data:
            self._response.close()
        return data

    def _next_of_length(self) -> bytes:
        if self._left is None:
            return self._read1(READ_BYTES)
        if self._left == 0:
            return b""
        data = self._read1(min(self._left, READ_BYTES))
        self._left -= len(data)
        return data or self._broken()

    def _next_of_chunks(self) -> bytes:
        """Return the payload of all that arrived; read on only while there is none."""
        pieces: list[bytes] = []
        while True:
            if self._is_in_chunk:
                piece = bytes(self._held[: self._chunk_left])
                if piece:
                    del self._held[: len(piece)]
                    self._chunk_left -= len(piece)
                    pieces.append(piece)
                if self._chunk_left == 0 and len(self._held) >= 2:
                    self._expect_line_end()
                    continue
            else:
                size = self._chunk_size()
                if size == 0:
                    self._skip_trailers()
                    self._is_chunked, self._left = False, 0
                    return b"".join(pieces)
                if size is not None:
                    self._is_in_chunk, self._chunk_left = True, size
                    continue
            if pieces:
                return b"".join(pieces)
            self._held += self._read1(READ_BYTES) or self._broken()

    def _expect_line_end(self) -> None:
        if self._held[:2] != b"\r\n":
            self._broken()
        del self._held[:2]
        self._is_in_chunk = False

    def _chunk_size(self) -> int | None:
        """Return the size on the next chunk's first line, or None if the line is not all here."""
        end = self._held.find(b"\n")
        if end < 0:
            if len(self._held) > CHUNK_LINE_MAX_BYTES:
                self._broken()
            return None
        digits = bytes(self._held[:end]).partition(b";")[0].strip()
        if not CHUNK_SIZE.fullmatch(digits):
            self._broken()
        del self._held[: end + 1]
        return int(digits, 16)

    def _skip_trailers(self) -> None:
        """Read to the empty line after the last chunk."""
        skipped = 0
        while True:
            end = self._held.find(b"\n")
            if end < 0:
                self._held += self._read1(READ_BYTES) or self._broken()
                continue
            line = bytes(self._held[:end]).rstrip(b"\r")
            del self._held[: end + 1]
            skipped += end
            if not line:
                return
            if skipped > HEAD_MAX_BYTES:
                raise MalformedReply("The server sent more than 64 KiB of headers.")

    def _broken(self) -> NoReturn:
        raise MalformedReply("The answer broke off before its end.")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None


class _Connection(HTTPConnection):
    """One connection to a checked address."""

    response_class = _Response
    auto_open = 0

    def __init__(self, target: _Target, ca_bundle: str, purpose: str) -> None:
        super().__init__(target.host, target.port)
        self.target = target
        self.ca_bundle = ca_bundle
        self.purpose = purpose
        self.wire: _Wire | None = None
        self.idle_since = 0.0
        self._sock: socket.socket | None = None

    # Mutators

    def ask(self, request: _Request, clock: _Clock, cancellation: Cancellation) -> _Response:
        """Return the response to a request as soon as its head is here; hang up on failure."""
        cancellation.aim(self.abort)
        try:
            clock.check_cancelled()
            began_at, is_kept = time.monotonic(), self.wire is not None
            if is_kept:
                egress_ledger.reached(self.target.host, self.target.port, self.purpose)
            wire = self.wire or self._dial(clock)
            cancellation.connect_ms = 0.0 if is_kept else (time.monotonic() - began_at) * 1000
            wire.clock = clock
            response = self._converse(wire, request)
        except BaseException as exc:
            cancellation.aim(None)
            self.hang_up()
            if isinstance(exc, FAULTS):
                clock.check_cancelled()
                raise _no_answer(exc) from exc
            raise
        clock.head_bytes = None
        return response

    def certificates(self) -> tuple[str, ...]:
        """Return the certificates that the server sent, in PEM, its own first."""
        # A public method from Python 3.13 on; what it calls is there from 3.10 on.
        tls: Any = self._sock
        return tuple(cert.public_bytes() for cert in tls._sslobj.get_unverified_chain() or ())

    def abort(self) -> None:
        """Wake whoever waits on this connection; it is of no use afterwards."""
        sock = self._sock
        if sock is not None:
            with suppress(OSError):
                # Not SSLSocket.shutdown: it would pull the TLS state from under a reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def hang_up(self) -> None:
        """Close the connection for good."""
        sock, self._sock, self.wire = self._sock, None, None
        self.close()
        if sock is not None:
            sock.close()

    def _converse(self, wire: _Wire, request: _Request) -> _Response:
        self.request(
            request.method,
            request.path,
            body=request.body,
            headers=request.headers,
            preload_content=False,
            decode_content=False,
        )
        # A server may answer before it has read everything, and hang up.
        with suppress(BrokenPipeError, ConnectionResetError):
            wire.flush()
        # Past urllib3's own response: the body is read by `_Body`.
        return cast(_Response, http.client.HTTPConnection.getresponse(self))

    def _dial(self, clock: _Clock) -> _Wire:
        """Resolve, check every address, connect to a checked one, and verify the certificate."""
        limit = clock.to_connect()
        self.reach(self.find(clock, limit), clock, limit)
        if self.target.scheme == "https":
            self.secure(clock)
        return self.attach(clock)

    def find(self, clock: _Clock, limit: _Limit) -> list[Address]:
        """Return the addresses behind the host, each of them checked."""
        with _in_words(clock):
            addresses = _resolve(self.target, clock, limit)
        _check_addresses(self.target, addresses, self.purpose)
        return addresses

    def reach(self, addresses: list[Address], clock: _Clock, limit: _Limit) -> None:
        """Connect to the first of the addresses that answers."""
        with _in_words(clock):
            self._connect(addresses, clock, limit)
        egress_ledger.reached(self.target.host, self.target.port, self.purpose)

    def secure(self, clock: _Clock, *, is_verified: bool = True) -> None:
        """Shake hands; unverified only to look at the certificates, before anything is sent."""
        assert self._sock is not None  # noqa: S101  # it was reached
        context = _tls_context(settings.GATEWAY_CA_BUNDLE, self.ca_bundle)
        self._sock = self._secure(self._sock, clock, context if is_verified else _unverified())

    def attach(self, clock: _Clock) -> _Wire:
        """Put the connected socket under the clock, ready for a request."""
        assert self._sock is not None  # noqa: S101  # it was reached
        self.wire = _Wire(self._sock, clock)
        # The wire has what http.client asks of a socket, and the rest would go past the clock.
        self.sock = cast("socket.socket", self.wire)
        return self.wire

    def send_and_end(self, data: bytes, clock: _Clock) -> None:
        """Send everything, say that this was all, and wait until the receiver hangs up."""
        wire = self._dial(clock)
        wire.sendall(data)
        wire.flush()
        clock.head_bytes = None
        sock = wire.sock
        if isinstance(sock, ssl.SSLSocket):
            sock.settimeout(clock.left_s(clock.to_move()))
            # A receiver that only closes its connection says the same with less ceremony.
            with suppress(ssl.SSLEOFError, ConnectionResetError):
                sock.unwrap()
            return
        sock.shutdown(socket.SHUT_WR)
        while wire.recv_into(bytearray(READ_BYTES)):
            pass

    def send_datagrams(self, messages: Sequence[bytes], clock: _Clock) -> None:
        """Send each message in a datagram of its own, to a checked address."""
        address = self.find(clock, clock.to_connect())[0]
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        self._sock = sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.settimeout(clock.left_s(clock.to_move()))
        sock.connect((str(address), self.target.port))
        egress_ledger.reached(self.target.host, self.target.port, self.purpose)
        for message in messages:
            sock.send(message)

    # Queries

    def is_fresh(self) -> bool:
        """Test whether the connection is open and silent, as it should be between two requests."""
        if self._sock is None:
            return False
        self._sock.settimeout(0)
        try:
            self._sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        # The end of the connection, or an answer to no question: both make it useless.
        return False

    def _connect(self, addresses: list[Address], clock: _Clock, limit: _Limit) -> None:
        for still_to_try in range(len(addresses), 0, -1):
            address = addresses[-still_to_try]
            try:
                return self._connect_to(address, clock.left_s(limit) / still_to_try)
            except TimeoutError as exc:
                failure: Exception = exc
                clock.check_cancelled()
            except OSError as exc:
                failure = exc
                clock.check_cancelled()
        if isinstance(failure, TimeoutError):
            raise limit.exceeded() from failure
        raise failure

    def _connect_to(self, address: Address, timeout_s: float) -> None:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        self._sock = sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            sock.connect((str(address), self.target.port))
            if ipaddress.ip_address(sock.getpeername()[0]) != address:
                egress_ledger.refused(
                    self.target.host, self.target.port, self.purpose, reason=OTHER_PEER
                )
                raise EgressDenied(
                    "The connected peer is not the address that was checked.", reason=OTHER_PEER
                )
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
                if hasattr(socket, option):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        except BaseException:
            sock.close()
            raise

    def _secure(self, sock: socket.socket, clock: _Clock, context: ssl.SSLContext) -> ssl.SSLSocket:
        sock.settimeout(0)
        limit = clock.to_shake_hands()
        try:
            self._sock = tls = context.wrap_socket(
                sock, server_hostname=self.target.host, do_handshake_on_connect=False
            )
            while True:
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    wait_for_read(tls, clock.left_s(limit))
                except ssl.SSLWantWriteError:
                    wait_for_write(tls, clock.left_s(limit))
                else:
                    return tls
        except OSError as exc:
            clock.check_cancelled()
            raise _tls_failure(exc) from exc


@contextmanager
def _in_words(clock: _Clock) -> Iterator[None]:
    """Turn what the system says on the way to a server into an error of ours."""
    try:
        yield
    except socket.gaierror as exc:
        raise BackendUnreachable(
            "The host name cannot be resolved. Check it, and the DNS server of this machine.",
            reason="unknown_name",
        ) from exc
    except OSError as exc:
        clock.check_cancelled()
        raise _unreachable(exc) from exc


def _resolve(target: _Target, clock: _Clock, limit: _Limit) -> list[Address]:
    """Return the addresses of a host, in the resolver's order."""
    if target.address is not None:
        return [target.address]
    # The system's resolver has no timeout that we could set.
    lookup = _Lookup(target)
    lookup.start()
    while lookup.is_alive():
        lookup.join(min(clock.left_s(limit), CANCEL_POLL_S))
    if lookup.failure is not None:
        raise lookup.failure
    return lookup.addresses


class _Lookup(threading.Thread):
    def __init__(self, target: _Target) -> None:
        super().__init__(name="egress-lookup", daemon=True)
        self.addresses: list[Address] = []
        self.failure: OSError | None = None
        self._target = target

    def run(self) -> None:
        try:
            answers = socket.getaddrinfo(
                self._target.host, self._target.port, type=socket.SOCK_STREAM
            )
        except OSError as exc:
            self.failure = exc
            return
        # A scope (fe80::1%eth0) is cut: such an address is refused anyway.
        texts = dict.fromkeys(str(answer[4][0]).partition("%")[0] for answer in answers)
        self.addresses = [ipaddress.ip_address(text) for text in texts]


@lru_cache(maxsize=64)
def _tls_context(bundle_file: str, ca_bundle: str) -> ssl.SSLContext:
    """Return a context that trusts the system, GATEWAY_CA_BUNDLE and the model's own authority."""
    context = ssl.create_default_context()
    # An authority may be trusted without the one that signed it (Python's default from 3.13 on).
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if bundle_file:
        try:
            context.load_verify_locations(cafile=bundle_file)
        except OSError as exc:
            raise ModelMisconfigured(
                "GATEWAY_CA_BUNDLE does not name a readable file with PEM certificates."
            ) from exc
    if ca_bundle.strip():
        try:
            context.load_verify_locations(cadata=ca_bundle)
        except (ssl.SSLError, ValueError, TypeError) as exc:
            raise ModelMisconfigured(
                "The model's CA bundle is not PEM text (-----BEGIN CERTIFICATE-----)."
            ) from exc
    return context


@lru_cache(maxsize=1)
def _unverified() -> ssl.SSLContext:
    """Return a context that accepts any certificate, to look at one that was refused."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _no_answer(exc: Exception) -> ModelError:
    if isinstance(exc, OSError):
        return BackendUnreachable("The server hung up without an answer.")
    return MalformedReply("The server's answer is not HTTP.")


def _unreachable(exc: OSError) -> BackendUnreachable:
    if isinstance(exc, ConnectionRefusedError):
        return BackendUnreachable(
            "The server refused the connection. Is it running on this port?", reason="refused"
        )
    if exc.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return BackendUnreachable("There is no route to the server.", reason="no_route")
    return BackendUnreachable("The connection to the server failed.")


def _tls_failure(exc: OSError) -> BackendTlsFailed:
    if isinstance(exc, ssl.SSLCertVerificationError):
        reason, fault = CERTIFICATE_FAULTS.get(exc.verify_code, ("", "was not accepted by OpenSSL"))
        return BackendTlsFailed(f"The server's certificate {fault}.", reason=reason)
    if isinstance(exc, ssl.SSLError) and exc.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return BackendTlsFailed(
            "The server does not speak TLS on this port. Did you mean http://?", reason="not_tls"
        )
    if isinstance(exc, ssl.SSLError) and "PROTOCOL" in (exc.reason or ""):
        return BackendTlsFailed("The server offers no TLS version from 1.2 on.", reason="old_tls")
    return BackendTlsFailed("The server broke off the TLS handshake.")


# Connections that wait for the next request


class _Pool:
    """The idle connections to one server under one key, newest last."""

    def __init__(self, target: _Target, ca_bundle: str, purpose: str) -> None:
        self.is_closed = False
        self._target = target
        self._ca_bundle = ca_bundle
        self._purpose = purpose
        self._idle: deque[_Connection] = deque()

    def take(self) -> _Connection | None:
        """Return an open connection, or None if there is none."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_fresh():
                return connection
            connection.hang_up()

    def new(self) -> _Connection:
        return _Connection(self._target, self._ca_bundle, self._purpose)

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection for the next request; let go of those that waited too long."""
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if self.is_closed:
            self.close()
            return
        with suppress(IndexError):  # another thread may have taken the last one
            while (
                len(self._idle) > IDLE_CONNECTIONS_MAX
                or self._idle[0].idle_since < connection.idle_since - IDLE_CONNECTION_S
            ):
                self._idle.popleft().hang_up()

    def close(self) -> None:
        self.is_closed = True
        with suppress(IndexError):
            while True:
                self._idle.popleft().hang_up()


_pools: OrderedDict[tuple[str, str, int, str, str, str], _Pool] = OrderedDict()
_pools_lock = threading.Lock()


def _pool(target: _Target, ca_bundle: str, pool_key: str, purpose: str) -> _Pool:
    key = (target.scheme, target.host, target.port, ca_bundle, pool_key, purpose)
    with _pools_lock:
        pool = _pools.get(key)
        if pool is None:
            pool = _pools[key] = _Pool(target, ca_bundle, purpose)
        _pools.move_to_end(key)
        evicted = _pools.popitem(last=False)[1] if len(_pools) > POOLS_MAX else None
    if evicted is not None:
        evicted.close()
    return pool


def close_connections() -> None:
    """Close every idle connection; those in use are closed when their exchange ends."""
    with _pools_lock:
        pools = list(_pools.values())
        _pools.clear()
    for pool in pools:
        pool.close()


def _forget_parents_connections() -> None:
    # Two processes on one connection would read each other's answers.
    global _pools_lock  # the parent's may be held by a thread that is not here
    _pools_lock = threading.Lock()
    close_connections()


os.register_at_fork(after_in_child=_forget_parents_connections)
atexit.register(close_connections)


# One request and its reply


class Reply:
    """What a server sends back. The body is read once, as it arrives."""

    def __init__(self, response: _Response, clock: _Clock, max_bytes: int) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = cast("Mapping[str, str]", response.headers)
        self.is_complete = False
        self._body = _Body(response)
        self._clock = clock
        self._max_bytes = max_bytes
        self._received_bytes = 0

    def read(self, max_bytes: int | None = None) -> bytes:
        """Return the whole body.

        Raises:
            AnswerTooLarge: it is larger than `max_bytes`, or than the limits allow.
            ModelError: it did not come to its end.
        """
        if max_bytes is not None:
            self._max_bytes = min(self._max_bytes, max_bytes)
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """Yield the body piece by piece, each as soon as it is here.

        Raises:
            AnswerTooLarge: it is larger than the limits allow.
            MalformedReply: it ended before the end that its headers announced.
            ModelError: it did not come to its end.
        """
        while data := self._next():
            yield data

    def rest(self, *, max_bytes: int, within_s: float) -> bytes:
        """Return what more comes soon, without an error: it is not part of the answer any more.

        A body that is read to its end leaves a connection that can be used again.
        """
        self._clock.shorten(within_s)
        pieces: list[bytes] = []
        with suppress(ModelError):
            while (data := self._next()) and max_bytes > 0:
                pieces.append(data[:max_bytes])
                max_bytes -= len(data)
        return b"".join(pieces)

    def _next(self) -> bytes:
        try:
            data = self._body.read()
        except FAULTS as exc:
            self._clock.check_cancelled()
            raise MalformedReply("The answer broke off before its end.") from exc
        if not data:
            self.is_complete = True
            return data
        self._clock.has_begun = True
        self._received_bytes += len(data)
        if self._received_bytes > self._max_bytes:
            raise AnswerTooLarge(f"The answer is larger than {self._max_bytes} bytes.")
        return data


@contextmanager
def exchange(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None,
    limits: Limits,
    cancellation: Cancellation | None = None,
    ca_bundle: str = "",
    pool_key: str = "",
    purpose: str = egress_ledger.MODEL,
) -> Iterator[Reply]:
    """Send one request and yield the reply, whose status is for the caller to judge.

    Connections are shared only between requests with equal server, `ca_bundle`, `pool_key` and
    `purpose`, under which the egress report shows the destination.
    Nothing is retried, except once on a fresh connection when a kept-alive one proves closed.

    Raises:
        EgressDenied: an address behind the URL is not allowed.
        BackendUnreachable: no connection, or closed without an answer.
        BackendTimedOut: one of the limits is over.
        BackendRejected: the answer is a redirect.
        MalformedReply: the answer is not HTTP, or is compressed.
        InferenceCancelled: `cancellation` was used.
        ModelMisconfigured: the URL, a header or a CA bundle cannot be used.
    """
    target = _parse(url)
    cancellation = cancellation or Cancellation()
    clock = _Clock(limits, cancellation)
    pool = _pool(target, ca_bundle, pool_key, purpose)
    request = _Request(
        method=method, path=target.path, headers=_sendable(headers, target), body=body
    )
    connection, response = _ask(pool, request, clock, cancellation)
    reply = Reply(response, clock, limits.max_bytes)
    try:
        _check_status(reply)
        yield reply
    finally:
        # From here on `cancel` must not reach a connection that serves somebody else.
        cancellation.aim(None)
        if reply.is_complete and connection.sock is not None and not cancellation.is_cancelled:
            pool.give_back(connection)
        else:
            connection.hang_up()


def _ask(
    pool: _Pool, request: _Request, clock: _Clock, cancellation: Cancellation
) -> tuple[_Connection, _Response]:
    kept = pool.take()
    if kept is not None:
        asked_at = time.monotonic()
        try:
            return kept, kept.ask(request, clock, cancellation)
        except BackendUnreachable:
            is_stale = time.monotonic() - asked_at < STALE_WITHIN_S
            if clock.head_bytes or not is_stale:
                raise
    fresh = pool.new()
    return fresh, fresh.ask(request, clock, cancellation)


def _sendable(headers: Mapping[str, str], target: _Target) -> dict[str, str]:
    """Return the headers with ours added.

    Raises:
        ModelMisconfigured: a value would end its line, or cannot be written on one.
    """
    for name, value in headers.items():
        if not (name + value).isascii() or not (name + value).isprintable():
            raise ModelMisconfigured(
                f"The value for the header {name!a} holds a line break or a letter outside ASCII."
                " If it is the key, enter it again."
            )
    ours = {
        "Host": target.host_header,
        "User-Agent": "Enclave",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
    }
    return ours | dict(headers)


def _check_status(reply: Reply) -> None:
    if 300 <= reply.status < 400:
        raise BackendRejected(
            "The server answered with a redirect, and redirects are not followed."
            " Enter the address it leads to as the endpoint.",
            status=reply.status,
            reason="redirect",
        )
    encoding = reply.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity" and reply.status < 300:
        raise MalformedReply("The server compressed its answer, which it was asked not to do.")


class Walk:
    """The way to a server that `exchange` goes in one stride, one step at a time: for looking.

    The connection it makes serves the next exchange with equal `pool_key`, which should be a key of
    its own. What a step raises is what an exchange would raise there.
    """

    def __init__(self, url: str, *, ca_bundle: str, pool_key: str, limits: Limits) -> None:
        """Read the URL.

        Raises:
            ModelMisconfigured: it cannot be used.
        """
        self._target = _parse(url)
        self._clock = _Clock(limits, Cancellation())
        self._pool = _pool(self._target, ca_bundle, pool_key, egress_ledger.MODEL)
        self._connection = self._pool.new()
        self._addresses: list[Address] = []
        self.is_tls = self._target.scheme == "https"
        self.host, self.port = self._target.host, self._target.port
        self.is_name = self._target.address is None

    def check(self) -> None:
        """Pass unless the host is written as an address that may not be dialed."""
        _check_written(self._target, egress_ledger.MODEL)

    def resolve(self) -> tuple[str, ...]:
        """Return the addresses behind the host, each of them checked."""
        self._addresses = self._connection.find(self._clock, self._clock.to_connect())
        return tuple(map(str, self._addresses))

    def connect(self) -> None:
        """Connect to one of the addresses that were resolved."""
        self._connection.reach(self._addresses, self._clock, self._clock.to_connect())

    def secure(self) -> tuple[str, ...]:
        """Verify the server's certificate; return what it sent, in PEM, its own first."""
        self._connection.secure(self._clock)
        return self._connection.certificates()

    def presented(self) -> tuple[str, ...]:
        """Return the certificates that the server shows to anybody; none if it speaks no TLS.

        Nothing is sent but the handshake.
        """
        looking = self._pool.new()
        try:
            looking.reach(self._addresses, self._clock, self._clock.to_connect())
            looking.secure(self._clock, is_verified=False)
            return looking.certificates()
        except ModelError:
            return ()
        finally:
            looking.hang_up()

    def keep(self) -> None:
        """Leave the connection to the next exchange."""
        self._connection.attach(self._clock)
        self._pool.give_back(self._connection)

    def close(self) -> None:
        """Let go of every connection that this walk and its exchanges made."""
        self._connection.hang_up()
        with _pools_lock:
            for key in [key for key, pool in _pools.items() if pool is self._pool]:
                del _pools[key]
        self._pool.close()


def send_syslog(
    url: str,
    messages: Sequence[bytes],
    *,
    timeout_s: float,
    purpose: str = egress_ledger.SIEM,
) -> None:
    """Send messages to a syslog receiver: tcp://host:port, tls://, udp://, or unix:///path.

    Over TCP and TLS the octets are counted, and the receiver has everything once it hung up in
    answer to our end. Source: RFC 6587, section 3.4.1; RFC 5425, section 4.3; RFC 5426.

    Raises:
        ModelError: they cannot be delivered; see `exchange`.
    """
    receiver = parse_receiver(url)
    if receiver.target is None:
        _send_to_path(receiver.path, messages, timeout_s)
        return
    limits = Limits(
        deadline_at=time.monotonic() + timeout_s,
        first_byte_s=timeout_s,
        idle_s=timeout_s,
        max_bytes=READ_BYTES,
    )
    clock = _Clock(limits, Cancellation())
    connection = _Connection(receiver.target, "", purpose)
    try:
        if receiver.is_datagram:
            connection.send_datagrams(messages, clock)
        else:
            framed = b"".join(b"%d %b" % (len(message), message) for message in messages)
            connection.send_and_end(framed, clock)
    except FAULTS as exc:
        raise BackendUnreachable("The receiver hung up before it had everything.") from exc
    finally:
        connection.hang_up()


@dataclass(frozen=True, kw_only=True, slots=True)
class Receiver:
    """Where syslog goes: a host, or the path of a local datagram socket."""

    target: _Target | None = None
    path: str = ""
    is_datagram: bool = False


def parse_receiver(url: str) -> Receiver:
    """Return the receiver that a URL names.

    Raises:
        ModelMisconfigured: it names none.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        return Receiver(path=rest)
    if scheme not in ("tcp", "tls", "udp"):
        raise ModelMisconfigured(
            "The receiver must begin with tcp://, tls://, udp:// or unix:///, or for HTTP with"
            " http:// or https://."
        )
    target = _parse(f"{'https' if scheme == 'tls' else 'http'}://{rest}")
    if not target.host_header.endswith(f":{target.port}") or target.path != "/":
        raise ModelMisconfigured("The receiver must name a host and a port: tls://host:6514.")
    return Receiver(target=target, is_datagram=scheme == "udp")


def _send_to_path(path: str, messages: Sequence[bytes], timeout_s: float) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(path)
            for message in messages:
                sock.send(message)
        except OSError as exc:
            raise BackendUnreachable("The local socket of the receiver takes nothing.") from exc


def require_success(reply: Reply) -> None:
    """Pass if the status says that the request was done.

    Raises:
        ModelError: it does not.
    """
    if not 200 <= reply.status < 300:
        raise _refusal(reply.status)


def fetch_json(
    url: str,
    *,
    timeout_s: float = 3.0,
    max_bytes: int = 1_000_000,
    ca_bundle: str = "",
    purpose: str = egress_ledger.GITLAB,
) -> Any:
    """Return the JSON document at a URL.

    Raises:
        ModelError: it cannot be had; see `exchange`.
    """
    limits = Limits(
        deadline_at=time.monotonic() + timeout_s,
        first_byte_s=timeout_s,
        idle_s=timeout_s,
        max_bytes=max_bytes,
    )
    headers = {"Accept": "application/json"}
    with exchange(
        "GET",
        url,
        headers=headers,
        body=None,
        limits=limits,
        ca_bundle=ca_bundle,
        purpose=purpose,
    ) as reply:
        if reply.status != http.client.OK:
            raise _refusal(reply.status)
        document = reply.read()
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError as exc:
        raise MalformedReply("The document is not JSON.") from exc


def _refusal(status: int) -> ModelError:
    if status in (401, 403):
        return BackendAuthFailed(f"The server refused access (HTTP {status}).", status=status)
    if status == http.client.NOT_FOUND:
        return BackendNotFound("There is no such document on the server (HTTP 404).", status=status)
    if status >= http.client.INTERNAL_SERVER_ERROR:
        return BackendFailed(f"The server failed (HTTP {status}).", status=status)
    return BackendRejected(f"The server refused the request (HTTP {status}).", status=status)
