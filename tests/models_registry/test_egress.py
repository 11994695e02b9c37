"""The one door to the network: what it refuses, and what every limit costs at most."""

from __future__ import annotations

import errno
import gzip
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError

from models_registry import egress
from models_registry.egress import (
    Cancellation,
    Limits,
    fetch_json,
    parse_receiver,
    send_syslog,
    validate_endpoint,
)
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
from tests.models_registry import (
    ANSWER,
    RawServer,
    Visitor,
    answering,
    chunked,
    hostile_urls,
    resolve_to,
    sending,
    watch_connects,
)
from tests.models_registry.authority import Authority

QUERIES = ("http://10.0.0.1/v1?api-version=1", "http://llm.example.com/v1?key=sk-1")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


def limits(
    *,
    whole_s: float = 5,
    first_byte_s: float = 5,
    idle_s: float = 5,
    max_bytes: int = 1_000_000,
) -> Limits:
    return Limits(
        deadline_at=time.monotonic() + whole_s,
        first_byte_s=first_byte_s,
        idle_s=idle_s,
        max_bytes=max_bytes,
    )


def get(url: str, **options: Any) -> bytes:
    """Return the body at a URL."""
    options = {"headers": {}, "body": None, "limits": limits()} | options
    with egress.exchange("GET", url, **options) as reply:
        return reply.read()


@contextmanager
def unanswering(address: str, port: int = 0) -> Iterator[int]:
    """Yield a port where connection requests get no answer: its queue of them is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


# What may be reached


class TestValidateEndpoint:
    @pytest.mark.parametrize(
        "url",
        [
            "http://10.1.2.3/v1",
            "https://10.1.2.3:8443/v1",
            "http://192.168.0.1:11434",
            "http://[fd00::1]:8000/v1",
            "http://127.0.0.1:8000/v1",
            "http://localhost:8000/v1",
            "https://llm.example.com/v1",
            "http://vllm:8000/v1",
            "http://my_service.internal:8000/v1",
            "HTTPS://LLM.Example.COM/v1",
            "http://xn--mdel-5qa.example.com/v1",
            "http://[::ffff:10.0.0.1]/v1",
        ],
    )
    def test_accepts_what_can_be_dialed(self, url):
        validate_endpoint(url)

    @pytest.mark.parametrize("url", [*hostile_urls.WRITTEN, "http://10.0.0.1/v1?", *QUERIES])
    def test_refuses(self, url):
        with pytest.raises(ValidationError) as refused:
            validate_endpoint(url)

        assert refused.value.message.endswith((".", "/v1.", "(…@)."))
        assert "http://10" not in refused.value.message.replace("http://host:port", "")

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("http://user:secret@10.0.0.1/", "user name"),
            ("http://llm.example.com./v1", "Remove the dot"),
            ("http://10.0.0.1\\@evil/", "backslash"),
            ("http://bücher.example/", "xn--"),
            ("http://0x7f.1/", "four decimal numbers"),
            ("ftp://10.0.0.1/", "http:// or https://"),
            ("http://10.0.0.1/#a", "fragment"),
            ("http://10.0.0.1/?a", "query"),
            ("http://10.0.0.1:99999/", "between 1 and 65535"),
            ("http://8.8.8.8/", "GATEWAY_EGRESS_ALLOW"),
            ("http://169.254.169.254/", "never dialed"),
        ],
    )
    def test_says_what_to_change(self, url, says):
        with pytest.raises(ValidationError, match=says):
            validate_endpoint(url)

    @pytest.mark.parametrize("url", hostile_urls.LOOPBACK)
    def test_refuses_loopback_that_is_not_listed(self, url, settings):
        settings.GATEWAY_EGRESS_ALLOW = ["10.0.0.0/8", "fc00::/7", "*.example.com"]

        with pytest.raises(ValidationError):
            validate_endpoint(url)

    def test_does_not_resolve_names(self, monkeypatch):
        asked = resolve_to(monkeypatch, ["8.8.8.8"])

        validate_endpoint("http://llm.example.com/v1")

        assert asked == []


class TestDialing:
    """What is refused when it is saved is refused again when it is dialed: a row may be older."""

    @pytest.mark.parametrize("url", hostile_urls.WRITTEN)
    def test_refuses_what_is_hostile_as_it_is_written(self, url, monkeypatch):
        asked, dialed = resolve_to(monkeypatch, ["10.0.0.1"]), watch_connects(monkeypatch)

        with pytest.raises((EgressDenied, ModelMisconfigured)):
            get(url)

        assert (asked, dialed) == ([], [])

    @pytest.mark.parametrize("url", hostile_urls.LOOPBACK)
    def test_refuses_loopback_that_is_not_listed(self, url, settings, monkeypatch):
        settings.GATEWAY_EGRESS_ALLOW = ["10.0.0.0/8", "fc00::/7", "*.example.com"]
        resolve_to(monkeypatch, ["127.0.0.1"])
        dialed = watch_connects(monkeypatch)

        with pytest.raises(EgressDenied):
            get(url)

        assert dialed == []

    @pytest.mark.parametrize(("url", "addresses"), hostile_urls.RESOLVED)
    def test_refuses_a_name_if_one_of_its_addresses_is_outside(
        self, url, addresses, settings, monkeypatch
    ):
        settings.GATEWAY_EGRESS_ALLOW = ["10.0.0.0/8", "fc00::/7"]
        validate_endpoint(url)
        resolve_to(monkeypatch, addresses)
        dialed = watch_connects(monkeypatch)

        with pytest.raises(EgressDenied):
            get(url)

        assert dialed == []


class TestAllowList:
    @pytest.mark.parametrize(
        ("entry", "url"),
        [
            ("10.0.0.0/8", "http://10.9.9.9:1234"),
            ("10.0.0.5", "http://10.0.0.5:1234"),
            ("10.0.0.5:8000", "http://10.0.0.5:8000"),
            ("10.0.0.0/8:8000", "http://10.9.9.9:8000"),
            ("fd00::/8", "http://[fd00::5]:8000"),
            ("[fd00::/8]:8000", "http://[fd00::5]:8000"),
            ("[fd00::5]", "http://[fd00::5]:8000"),
            ("8.8.8.8/32", "https://8.8.8.8"),
            ("10.0.0.5:443", "https://10.0.0.5"),
            (" 10.0.0.5 ", "http://10.0.0.5"),
        ],
    )
    def test_allows_by_network_and_port(self, entry, url, settings):
        settings.GATEWAY_EGRESS_ALLOW = [entry]

        validate_endpoint(url)

    @pytest.mark.parametrize(
        ("entry", "url"),
        [
            ("10.0.0.5:8000", "http://10.0.0.5:8001"),
            ("10.0.0.0/8:8000", "http://10.9.9.9"),
            ("[fd00::/8]:8000", "http://[fd00::5]:8001"),
            ("0.0.0.0/0", "http://169.254.169.254"),
            ("0.0.0.0/0", "http://[fd00::1]"),
            ("169.254.0.0/16", "http://169.254.169.254"),
            ("::/0", "http://[fd00:ec2::254]"),
            ("::/0", "http://[::ffff:169.254.169.254]"),
            ("::/0", "http://[64:ff9b::169.254.169.254]"),
            ("::/0", "http://[2002:a9fe:a9fe::1]"),
            ("::/0", "http://[2001:0:a9fe:a9fe::5601:5601]"),
            ("::/0", "http://[2001:0:808:808::5601:5601]"),
            ("::/0", "http://10.0.0.1"),
        ],
    )
    def test_refuses_the_rest(self, entry, url, settings):
        settings.GATEWAY_EGRESS_ALLOW = [entry]

        with pytest.raises(ValidationError):
            validate_endpoint(url)

    @pytest.mark.parametrize(
        "entry", ["", "*", "http://10.0.0.1", "10.0.0.0/33", "300.1.2.3", "a b", "*.*.com", "x:y"]
    )
    def test_names_an_entry_that_is_none(self, entry, settings):
        settings.GATEWAY_EGRESS_ALLOW = [entry]

        with pytest.raises(ImproperlyConfigured, match="GATEWAY_EGRESS_ALLOW"):
            validate_endpoint("http://10.0.0.1")

    @pytest.mark.parametrize(
        ("entry", "host", "is_allowed"),
        [
            ("llm.example.com", "llm.example.com", True),
            ("LLM.example.com", "llm.EXAMPLE.com", True),
            ("*.example.com", "a.b.example.com", True),
            ("*.example.com", "example.com", False),
            ("*.example.com", "evilexample.com", False),
            ("llm.example.com", "llm.example.com.evil.org", False),
            ("llm.example.com:1", "llm.example.com", False),
            ("*.svc.cluster.local", "vllm.models.svc.cluster.local", True),
            ("*.models.svc.cluster.local", "vllm.models.svc.cluster.local", True),
            ("vllm.models.svc.cluster.local", "vllm.models.svc.cluster.local", True),
            ("*.svc.cluster.local", "vllm.models.svc.cluster.local.evil.org", False),
            ("*.models.svc.cluster.local", "vllm.other.svc.cluster.local", False),
            ("*.svc.cluster.local", "vllm.models.svc", False),
        ],
    )
    def test_allows_by_name(self, entry, host, is_allowed, settings, monkeypatch):
        settings.GATEWAY_EGRESS_ALLOW = [entry]
        resolve_to(monkeypatch, ["203.0.113.9"])
        monkeypatch.setattr(
            egress._Connection,
            "_connect_to",
            lambda *_: (_ for _ in ()).throw(ConnectionRefusedError),
        )

        with pytest.raises(BackendUnreachable if is_allowed else EgressDenied):
            get(f"http://{host}/v1")

    @pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "127.0.0.1", "::1"])
    def test_a_listed_name_does_not_vouch_for_every_address(self, address, settings, monkeypatch):
        settings.GATEWAY_EGRESS_ALLOW = ["llm.example.com"]
        resolve_to(monkeypatch, [address])

        with pytest.raises(EgressDenied):
            get("http://llm.example.com/v1")

    def test_lists_localhost_by_name(self, settings):
        settings.GATEWAY_EGRESS_ALLOW = ["localhost"]

        with RawServer(answering(ANSWER)) as server:
            assert get(f"http://localhost:{server.port}/") == b"{}"


class TestResolution:
    def test_asks_once_per_connection_and_dials_what_it_checked(self, monkeypatch):
        with RawServer(sending(ANSWER)) as server:
            asked = resolve_to(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
            dialed = watch_connects(monkeypatch)

            body = get(f"http://llm.example.com:{server.port}/")

        assert body == b"{}"
        assert asked == ["llm.example.com"]
        assert dialed == [("127.0.0.1", server.port)]

    def test_no_answer_of_a_rebinding_server_is_ever_dialed_outside(self, monkeypatch):
        with RawServer(sending(ANSWER)) as server:
            resolve_to(monkeypatch, *([["127.0.0.1"], ["169.254.169.254"], ["8.8.8.8"]] * 50))
            dialed = watch_connects(monkeypatch)

            denied = 0
            for _ in range(150):
                try:
                    get(f"http://llm.example.com:{server.port}/")
                except EgressDenied:
                    denied += 1

        assert {address[0] for address in dialed} == {"127.0.0.1"}
        assert (denied, len(dialed)) == (100, 50)

    def test_refuses_a_peer_that_is_not_the_checked_address(self, monkeypatch):
        with RawServer(sending(ANSWER)) as server:
            monkeypatch.setattr(socket.socket, "getpeername", lambda _: ("10.0.0.1", 1))

            with pytest.raises(EgressDenied, match="peer"):
                get(server.url)

        assert server.requests == []

    def test_tries_the_next_address(self, monkeypatch):
        with RawServer(answering(ANSWER)) as server:
            resolve_to(monkeypatch, ["::1", "127.0.0.1"])

            assert get(f"http://llm.example.com:{server.port}/") == b"{}"

    def test_names_an_unknown_host(self, monkeypatch):
        def getaddrinfo(*_: object, **__: object) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "llm.example.com is unknown")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

        with pytest.raises(BackendUnreachable, match="cannot be resolved") as failure:
            get("http://llm.example.com/")

        assert "example" not in str(failure.value)

    def test_does_not_wait_for_a_slow_resolver(self, monkeypatch, settings):
        settings.GATEWAY_CONNECT_S = 0.3
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(2) or [])
        started = time.monotonic()

        with pytest.raises(BackendUnreachable, match=r"0\.3 s"):
            get("http://llm.example.com/")

        assert time.monotonic() - started < 1

    def test_speaks_to_ipv6(self):
        with RawServer(answering(ANSWER), address="::1") as server:
            body = get(f"http://[::1]:{server.port}/v1")

        assert body == b"{}"
        assert b"Host: [::1]:%d\r\n" % server.port in server.requests[0]


# One exchange


class TestExchange:
    def test_sends_what_it_was_given(self):
        with (
            RawServer(answering(ANSWER)) as server,
            egress.exchange(
                "POST",
                f"{server.url}/v1/chat/completions?x=1",
                headers={"Authorization": "Bearer key", "X-Request-ID": "abc"},
                body=b'{"a":1}',
                limits=limits(),
            ) as reply,
        ):
            body = reply.read()

        assert (reply.status, body) == (200, b"{}")
        assert reply.headers["content-type"] == "application/json"
        head, _, sent = server.requests[0].partition(b"\r\n\r\n")
        assert sent == b'{"a":1}'
        lines = head.split(b"\r\n")
        assert lines[0] == b"POST /v1/chat/completions?x=1 HTTP/1.1"
        assert sorted(lines[1:]) == [
            b"Accept-Encoding: identity",
            b"Accept: */*",
            b"Authorization: Bearer key",
            b"Content-Length: 7",
            b"Host: 127.0.0.1:%d" % server.port,
            b"User-Agent: Enclave",
            b"X-Request-ID: abc",
        ]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("X-Request-ID", "a\r\nX-Evil: 1"),
            ("X-Request-ID", "a\n b"),
            ("X-Request-ID", "a\x00b"),
            ("Authorization", "Bearer k\u200bey"),
            ("X-A: b\r\nX-Evil", "1"),
        ],
    )
    def test_refuses_a_header_that_would_be_two(self, name, value):
        with RawServer(answering(ANSWER)) as server:
            with pytest.raises(ModelMisconfigured) as refused:
                get(server.url, headers={name: value})

            assert server.requests == []
        assert value not in str(refused.value)

    @pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://u@127.0.0.1/", "nonsense"])
    def test_refuses_a_url_that_it_cannot_use(self, url):
        with pytest.raises(ModelMisconfigured):
            get(url)

    def test_ignores_proxies_and_netrc(self, monkeypatch, tmp_path):
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login evil password evil\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        with RawServer(answering(ANSWER)) as server, RawServer(answering(ANSWER)) as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
                monkeypatch.setenv(name, proxy.url)

            get(server.url, headers={"Authorization": "Bearer key"})

        assert proxy.connections == 0
        assert b"Authorization: Bearer key" in server.requests[0]

    @pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
    def test_does_not_follow_a_redirect(self, status):
        with RawServer(answering(ANSWER)) as target:
            moved = b"HTTP/1.1 %d Moved\r\nLocation: %b/\r\nContent-Length: 0\r\n\r\n"
            with (
                RawServer(sending(moved % (status, target.url.encode()))) as server,
                pytest.raises(BackendRejected, match="redirects are not followed") as refused,
            ):
                get(server.url, headers={"Authorization": "Bearer key"})

            assert target.connections == 0
        assert refused.value.status == status

    @pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
    def test_leaves_other_statuses_to_the_caller(self, status):
        answer = b"HTTP/1.1 %d No\r\nContent-Length: 3\r\n\r\nbad" % status

        with (
            RawServer(answering(answer)) as server,
            egress.exchange("GET", server.url, headers={}, body=None, limits=limits()) as reply,
        ):
            assert (reply.status, reply.read()) == (status, b"bad")

    def test_sends_and_receives_a_large_body(self):
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"y" * 900_000
        with (
            RawServer(answering(answer)) as server,
            egress.exchange(
                "POST", server.url, headers={}, body=b"x" * 2_000_000, limits=limits()
            ) as reply,
        ):
            body = reply.read()

        assert body == b"y" * 900_000
        assert server.requests[0].endswith(b"\r\n\r\n" + b"x" * 2_000_000)

    def test_reads_an_answer_that_came_before_the_whole_request_was_read(self):
        def script(visitor: Visitor) -> None:
            visitor.sock.recv(1000)
            visitor.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            time.sleep(0.1)
            visitor.reset()

        with (
            RawServer(script) as server,
            egress.exchange(
                "POST", server.url, headers={}, body=b"x" * 20_000_000, limits=limits()
            ) as reply,
        ):
            assert reply.status == 413

    @pytest.mark.parametrize(
        ("head", "body"),
        [
            (b"HTTP/1.0 200 OK\r\n\r\n", b"until the end"),
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"until the end"),
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n", b"abc"),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"abc"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
            (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
            (
                b"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed; boundary=x\r\n"
                b"Content-Length: 1\r\n\r\n",
                b"a",
            ),
        ],
    )
    def test_reads_every_way_to_end_a_body(self, head, body):
        with RawServer(sending(head + body)) as server:
            assert get(server.url) == body


class TestChunks:
    def test_yields_each_piece_as_soon_as_it_is_sent(self):
        may_go_on = threading.Event()

        def script(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            visitor.chunk(b"data: one\n\n")
            may_go_on.wait(5)
            visitor.chunk(b"data: two\n\n")
            visitor.send(b"0\r\n\r\n")

        with (
            RawServer(script) as server,
            egress.exchange("GET", server.url, headers={}, body=None, limits=limits()) as reply,
        ):
            chunks = reply.chunks()
            first = next(chunks)
            may_go_on.set()
            rest = list(chunks)

        assert (first, rest) == (b"data: one\n\n", [b"data: two\n\n"])

    @pytest.mark.parametrize(
        "answer",
        [
            HEAD + b"short",
            HEAD,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nhello",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000,
        ],
    )
    def test_refuses_a_body_that_ends_too_early(self, answer):
        with RawServer(sending(answer)) as server, pytest.raises(MalformedReply, match="broke off"):
            get(server.url)

    def test_refuses_a_body_that_is_reset(self):
        def script(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(HEAD + b"short")
            time.sleep(0.1)
            visitor.reset()

        with RawServer(script) as server, pytest.raises(MalformedReply, match="broke off"):
            get(server.url)

    @pytest.mark.parametrize("is_declared", [True, False])
    def test_cuts_an_answer_that_is_too_large(self, is_declared):
        sent = 0

        def script(visitor: Visitor) -> None:
            nonlocal sent
            visitor.read_request()
            length = b"Content-Length: 1000000000\r\n" if is_declared else b""
            visitor.send(b"HTTP/1.1 200 OK\r\n%b\r\n" % length)
            for _ in range(10_000):
                visitor.send(b"x" * 100_000)
                sent += 100_000

        with RawServer(script) as server, pytest.raises(AnswerTooLarge, match="1000000 bytes"):
            get(server.url)

        assert sent < 50_000_000

    def test_reads_at_most_what_the_caller_wants(self):
        with (
            RawServer(answering(HEAD + b"0123456789")) as server,
            egress.exchange("GET", server.url, headers={}, body=None, limits=limits()) as reply,
            pytest.raises(AnswerTooLarge),
        ):
            reply.read(max_bytes=9)

    @pytest.mark.parametrize("coding", [b"gzip", b"br", b"deflate, gzip", b"x-unknown"])
    def test_refuses_a_compressed_answer(self, coding):
        bomb = gzip.compress(b"\0" * 50_000_000)
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"

        with (
            RawServer(sending(head % (coding, len(bomb)), bomb)) as server,
            pytest.raises(MalformedReply, match="compressed"),
        ):
            get(server.url)

    def test_keeps_the_status_of_a_compressed_error_and_unpacks_nothing(self):
        bomb = gzip.compress(b"\0" * 50_000_000)
        head = b"HTTP/1.1 401 No\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"

        with (
            RawServer(sending(head % len(bomb), bomb)) as server,
            egress.exchange("GET", server.url, headers={}, body=None, limits=limits()) as reply,
        ):
            assert (reply.status, reply.read()) == (401, bomb)


class TestRest:
    def test_returns_what_has_come_without_waiting_for_more(self):
        def script(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nsome text")
            visitor.wait_until_left()

        started = time.monotonic()
        with (
            RawServer(script) as server,
            egress.exchange("GET", server.url, headers={}, body=None, limits=limits()) as reply,
        ):
            text = reply.rest(max_bytes=4, within_s=0.2)
            more = reply.rest(max_bytes=100, within_s=0.2)

        assert (text, more) == (b"some", b"")
        assert time.monotonic() - started < 1

    def test_does_not_wait_for_a_body_that_has_not_begun(self):
        def script(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\n")
            visitor.wait_until_left()

        started = time.monotonic()
        with (
            RawServer(script) as server,
            egress.exchange("GET", server.url, headers={}, body=None, limits=limits()) as reply,
        ):
            assert reply.rest(max_bytes=100, within_s=0.2) == b""

        assert time.monotonic() - started < 1


class TestMalformedHead:
    @pytest.mark.parametrize(
        "answer",
        [
            b"<html>hello</html>\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 999999 OK\r\n\r\n",
            b"HTTP/1.1 -1 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nNo colon here\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\n continued: 1\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 OK\r\nContent-Ty",
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + (b"X-A: " + b"a" * 30_000 + b"\r\n") * 5 + b"\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 500 + b"\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
        ],
    )
    def test_is_refused(self, answer):
        with RawServer(sending(answer)) as server, pytest.raises(MalformedReply) as refused:
            get(server.url)

        assert server.connections == 1
        assert "hello" not in str(refused.value)

    def test_a_head_without_end_is_cut(self):
        def script(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(b"HTTP/1.1 200 OK\r\n")
            while True:
                visitor.send(b"X-A: b\r\n" * 50)

        started = time.monotonic()
        with RawServer(script) as server, pytest.raises(MalformedReply):
            get(server.url)

        assert time.monotonic() - started < 1


class TestUnreachable:
    def test_says_that_nothing_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]

        with pytest.raises(BackendUnreachable, match="refused the connection") as failure:
            get(f"http://127.0.0.1:{port}/")

        assert str(port) not in str(failure.value)
        assert failure.value.__cause__ is not None

    @pytest.mark.parametrize(
        ("number", "says"),
        [
            (errno.EHOSTUNREACH, "no route"),
            (errno.ENETUNREACH, "no route"),
            (errno.ENETDOWN, "connection to the server failed"),
        ],
    )
    def test_says_that_there_is_no_way(self, number, says, monkeypatch):
        def connect_to(*_: object) -> Any:
            raise OSError(number, "no way to 10.0.0.1")

        monkeypatch.setattr(egress._Connection, "_connect_to", connect_to)

        with pytest.raises(BackendUnreachable, match=says) as failure:
            get("http://10.0.0.1/")

        assert "10.0.0.1" not in str(failure.value)

    def test_says_that_the_server_hung_up(self):
        with (
            RawServer(sending()) as server,
            pytest.raises(BackendUnreachable, match="hung up"),
        ):
            get(server.url)

        assert server.connections == 1

    def test_says_that_the_connection_was_reset(self):
        def script(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.reset()

        with RawServer(script) as server, pytest.raises(BackendUnreachable, match="hung up"):
            get(server.url)

    def test_gives_up_connecting_in_time(self, settings):
        settings.GATEWAY_CONNECT_S = 0.3
        with unanswering("127.0.0.1") as port:
            started = time.monotonic()

            with pytest.raises(BackendUnreachable, match=r"No connection within 0\.3 s"):
                get(f"http://127.0.0.1:{port}/")

        assert time.monotonic() - started < 1

    def test_leaves_time_for_the_next_address(self, settings, monkeypatch):
        settings.GATEWAY_CONNECT_S = 0.6
        with RawServer(answering(ANSWER)) as server, unanswering("127.0.0.2", server.port):
            resolve_to(monkeypatch, ["127.0.0.2", "127.0.0.1"])

            assert get(f"http://llm.example.com:{server.port}/") == b"{}"


# Limits


def hang(visitor: Visitor) -> None:
    visitor.read_request()
    visitor.wait_until_left()


def drip_head(visitor: Visitor) -> None:
    visitor.read_request()
    visitor.drip(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 1000, every_s=0.02)


def drip_body(visitor: Visitor) -> None:
    visitor.read_request()
    visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    visitor.drip(b"x" * 10_000, every_s=0.02)


def drip_chunks(visitor: Visitor) -> None:
    visitor.read_request()
    visitor.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    visitor.drip(b"1\r\nx\r\n" * 10_000, every_s=0.02)


def drip_chunk_size(visitor: Visitor) -> None:
    visitor.read_request()
    visitor.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    visitor.drip(b"5;" + b"x" * 10_000, every_s=0.02)


def fall_silent(visitor: Visitor) -> None:
    visitor.read_request()
    visitor.send(HEAD + b"short")
    visitor.wait_until_left()


def send_head_only(visitor: Visitor) -> None:
    visitor.read_request()
    visitor.send(HEAD)
    visitor.wait_until_left()


def stream_without_end(visitor: Visitor) -> None:
    visitor.read_request()
    visitor.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        visitor.chunk(b"x")
        time.sleep(0.001)


class TestLimits:
    @pytest.mark.parametrize(
        ("script", "limit", "says"),
        [
            (hang, {"first_byte_s": 0.4}, r"No first byte of an answer within 0\.4 s"),
            (drip_head, {"first_byte_s": 0.4}, r"No first byte of an answer within 0\.4 s"),
            (send_head_only, {"first_byte_s": 0.4}, r"No first byte of an answer within 0\.4 s"),
            (fall_silent, {"idle_s": 0.4}, r"Silence of more than 0\.4 s"),
            (hang, {"whole_s": 0.4}, r"whole answer took longer than 0\.4 s"),
            (fall_silent, {"whole_s": 0.4}, r"whole answer took longer than 0\.4 s"),
            (drip_head, {"whole_s": 0.4}, r"whole answer took longer than 0\.4 s"),
            (drip_body, {"whole_s": 0.4}, r"whole answer took longer than 0\.4 s"),
            (drip_chunks, {"whole_s": 0.4}, r"whole answer took longer than 0\.4 s"),
            (drip_chunk_size, {"whole_s": 0.4}, r"whole answer took longer than 0\.4 s"),
            (stream_without_end, {"whole_s": 0.4}, r"whole answer took longer than 0\.4 s"),
        ],
    )
    def test_ends_the_exchange_and_says_which(self, script, limit, says):
        started = time.monotonic()

        with RawServer(script) as server, pytest.raises(BackendTimedOut, match=says):
            get(server.url, limits=limits(**limit))

        assert 0.35 < time.monotonic() - started < 1

    def test_holds_while_sending(self):
        def read_nothing(visitor: Visitor) -> None:
            time.sleep(3)

        started = time.monotonic()
        with RawServer(read_nothing) as server, pytest.raises(BackendTimedOut, match=r"0\.4 s"):
            get(server.url, body=b"x" * 50_000_000, limits=limits(whole_s=0.4))

        assert time.monotonic() - started < 1

    def test_first_byte_may_take_longer_than_a_silence(self):
        def script(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(HEAD)
            time.sleep(0.5)
            visitor.send(b"0123456789")

        with RawServer(script) as server:
            body = get(server.url, limits=limits(idle_s=0.1))

        assert body == b"0123456789"

    def test_a_caller_that_is_slow_to_read_is_not_taken_for_silence(self):
        with (
            RawServer(answering(chunked([b"one", b"two"]))) as server,
            egress.exchange(
                "GET", server.url, headers={}, body=None, limits=limits(idle_s=0.2)
            ) as reply,
        ):
            pieces = []
            for piece in reply.chunks():
                pieces.append(piece)
                time.sleep(0.4)

        assert b"".join(pieces) == b"onetwo"

    def test_a_deadline_that_is_over_opens_no_connection(self):
        with RawServer(answering(ANSWER)) as server:
            with pytest.raises(BackendTimedOut):
                get(server.url, limits=limits(whole_s=-1))

            assert server.connections == 0


class TestCancellation:
    @pytest.mark.parametrize(
        "script", [hang, drip_head, send_head_only, fall_silent, drip_body, stream_without_end]
    )
    def test_stops_the_exchange_and_hangs_up(self, script):
        cancellation = Cancellation()
        timer = threading.Timer(0.3, cancellation.cancel)
        timer.start()
        started = time.monotonic()

        with RawServer(script) as server, pytest.raises(InferenceCancelled):
            get(server.url, cancellation=cancellation, limits=limits(max_bytes=10**9))

        timer.join()
        assert 0.25 < time.monotonic() - started < 1

    def test_is_seen_by_the_server_at_once(self):
        cancellation = Cancellation()
        with RawServer(hang) as server:
            timer = threading.Timer(0.2, cancellation.cancel)
            timer.start()
            with pytest.raises(InferenceCancelled):
                get(server.url, cancellation=cancellation)
            cancelled_at = time.monotonic()
            timer.join()
            time.sleep(0.1)

        assert server.left_at
        assert server.left_at - cancelled_at < 0.5

    def test_before_the_start_opens_no_connection(self):
        cancellation = Cancellation()
        cancellation.cancel()
        cancellation.cancel()

        with RawServer(answering(ANSWER)) as server:
            with pytest.raises(InferenceCancelled):
                get(server.url, cancellation=cancellation)

            assert server.connections == 0

    def test_does_not_take_the_end_it_caused_for_the_end_of_the_answer(self):
        def until_end(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(b"HTTP/1.0 200 OK\r\n\r\nhalf of it")
            visitor.wait_until_left()

        cancellation = Cancellation()
        timer = threading.Timer(0.2, cancellation.cancel)
        timer.start()

        with RawServer(until_end) as server, pytest.raises(InferenceCancelled):
            get(server.url, cancellation=cancellation)
        timer.join()

    def test_while_resolving(self, monkeypatch):
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(2) or [])
        cancellation = Cancellation()
        timer = threading.Timer(0.2, cancellation.cancel)
        timer.start()
        started = time.monotonic()

        with pytest.raises(InferenceCancelled):
            get("http://llm.example.com/", cancellation=cancellation)

        timer.join()
        assert time.monotonic() - started < 1

    def test_after_the_end_touches_no_connection(self):
        with RawServer(answering(ANSWER)) as server:
            cancellation = Cancellation()
            get(server.url, cancellation=cancellation)
            cancellation.cancel()

            assert get(server.url) == b"{}"
            assert server.connections == 1


# Connections


class TestConnectTime:
    def test_is_told_of_a_new_connection_and_is_nothing_for_a_kept_one(self):
        with RawServer(answering(ANSWER)) as server:
            times = []
            for _ in range(2):
                cancellation = Cancellation()
                get(server.url, cancellation=cancellation)
                times.append(cancellation.connect_ms)

        assert 0 < times[0] < 1000
        assert times[1] == 0

    def test_is_unknown_where_there_was_no_connection(self):
        cancellation = Cancellation()

        with pytest.raises(BackendUnreachable):
            get("http://127.0.0.1:1/", cancellation=cancellation)

        assert cancellation.connect_ms is None


class TestKeepAlive:
    def test_serves_two_requests_on_one_connection(self):
        with RawServer(answering(ANSWER)) as server:
            get(server.url)
            get(server.url)

        assert (server.connections, len(server.requests)) == (1, 2)

    def test_is_not_shared_between_keys(self):
        with RawServer(answering(ANSWER)) as server:
            get(server.url, pool_key="one")
            get(server.url, pool_key="two")
            get(server.url, pool_key="one")

        assert server.connections == 2

    def test_serves_many_threads_each_their_own_answer(self):
        def echo_path(visitor: Visitor) -> None:
            while True:
                path = visitor.read_request().split(b" ")[1]
                visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(path) + path)

        wrong: list[bytes] = []

        def ask_often(worker: int) -> None:
            for turn in range(50):
                path = f"/{worker}-{turn}"
                if (body := get(server.url + path)) != path.encode():
                    wrong.append(body)

        with RawServer(echo_path) as server:
            threads = [threading.Thread(target=ask_often, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert (wrong, len(server.requests)) == ([], 400)
        assert server.connections <= 8

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        ],
    )
    def test_ends_where_the_server_says_so(self, answer):
        with RawServer(answering(answer)) as server:
            get(server.url)
            get(server.url)

        assert server.connections == 2

    def test_ends_where_the_body_was_not_read(self):
        with RawServer(answering(chunked([b"one", b"two"]))) as server:
            with egress.exchange(
                "GET", server.url, headers={}, body=None, limits=limits()
            ) as reply:
                next(reply.chunks())
            get(server.url)

        assert server.connections == 2

    def test_survives_a_caller_that_fails_after_the_end(self):
        def read_and_fail(url: str) -> None:
            with egress.exchange("GET", url, headers={}, body=None, limits=limits()) as reply:
                reply.read()
                raise ZeroDivisionError

        with RawServer(answering(ANSWER)) as server:
            with pytest.raises(ZeroDivisionError):
                read_and_fail(server.url)
            get(server.url)

        assert server.connections == 1

    def test_replaces_a_connection_that_the_server_has_closed(self):
        with RawServer(sending(ANSWER)) as server:
            get(server.url)
            time.sleep(0.1)

            assert get(server.url) == b"{}"

        assert (server.connections, len(server.requests)) == (2, 2)

    def test_replaces_a_connection_that_the_server_has_reset(self):
        def reset_after_answer(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(ANSWER)
            time.sleep(0.05)
            visitor.reset()

        with RawServer(reset_after_answer) as server:
            get(server.url)
            time.sleep(0.15)

            assert get(server.url) == b"{}"

        assert (server.connections, len(server.requests)) == (2, 2)

    def test_closes_a_connection_that_was_in_use_when_all_were_closed(self):
        with RawServer(answering(ANSWER)) as server:
            with egress.exchange(
                "GET", server.url, headers={}, body=None, limits=limits()
            ) as reply:
                egress.close_connections()
                reply.read()
            get(server.url)

        assert server.connections == 2

    @pytest.mark.parametrize("is_reset", [True, False])
    def test_asks_once_more_when_the_server_closes_at_the_same_moment(self, is_reset):
        turns = iter(range(10))

        def close_on_second_request(visitor: Visitor) -> None:
            is_first = next(turns) == 0
            visitor.read_request()
            visitor.send(ANSWER)
            visitor.read_request()
            if not is_first:
                visitor.send(ANSWER)
            elif is_reset:
                visitor.reset()

        with RawServer(close_on_second_request) as server:
            get(server.url)

            assert get(server.url) == b"{}"

        assert (server.connections, len(server.requests)) == (2, 3)

    def test_does_not_ask_again_when_the_server_thought_about_it(self, monkeypatch):
        monkeypatch.setattr(egress, "STALE_WITHIN_S", 0.1)

        def die_while_thinking(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(ANSWER)
            visitor.read_request()
            time.sleep(0.3)

        with RawServer(die_while_thinking) as server:
            get(server.url)
            with pytest.raises(BackendUnreachable):
                get(server.url)

        assert len(server.requests) == 2

    @pytest.mark.parametrize("is_reset", [True, False])
    def test_does_not_ask_again_after_a_byte_of_an_answer(self, is_reset):
        def die_in_the_head(visitor: Visitor) -> None:
            visitor.read_request()
            visitor.send(ANSWER)
            visitor.read_request()
            visitor.send(b"HTTP/1.1 200")
            if is_reset:
                time.sleep(0.05)
                visitor.reset()

        with RawServer(die_in_the_head) as server:
            get(server.url)
            with pytest.raises(ModelError):
                get(server.url)

        assert (server.connections, len(server.requests)) == (1, 2)

    def test_never_takes_an_unasked_answer_for_the_next_one(self):
        forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"

        with RawServer(answering(ANSWER + forged)) as server:
            bodies = [get(server.url) for _ in range(20)]

        assert set(bodies) == {b"{}"}

    def test_never_takes_a_late_unasked_answer_for_the_next_one(self):
        def send_twice(visitor: Visitor) -> None:
            while True:
                visitor.read_request()
                visitor.send(ANSWER)
                time.sleep(0.02)
                visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")

        with RawServer(send_twice) as server:
            bodies = []
            for _ in range(5):
                bodies.append(get(server.url))
                time.sleep(0.05)

        assert set(bodies) == {b"{}"}
        assert server.connections == 5

    def test_keeps_a_bounded_number_of_servers(self, monkeypatch):
        monkeypatch.setattr(egress, "POOLS_MAX", 2)
        with RawServer(answering(ANSWER)) as server:
            for key in ("one", "two", "three", "one"):
                get(server.url, pool_key=key)

        assert server.connections == 4
        assert len(egress._pools) == 2

    def test_lets_go_of_connections_that_waited_too_long(self, monkeypatch):
        monkeypatch.setattr(egress, "IDLE_CONNECTION_S", 0.05)
        left: list[float] = []

        def note_the_end(visitor: Visitor) -> None:
            while True:
                try:
                    visitor.read_request()
                except EOFError:
                    left.append(time.monotonic())
                    return
                visitor.send(ANSWER)

        with RawServer(note_the_end) as server:
            request = {"headers": {}, "body": None, "limits": limits()}
            with (
                egress.exchange("GET", server.url, **request) as one,
                egress.exchange("GET", server.url, **request) as other,
            ):
                one.read()
                other.read()
            time.sleep(0.1)
            get(server.url)
            time.sleep(0.1)

            assert len(left) == 1


SCRIPT_HEAD = """
import sys, time
if "gevent" in sys.argv:
    from gevent import monkey; monkey.patch_all()
from django.conf import settings
settings.configure(
    GATEWAY_EGRESS_ALLOW=["127.0.0.0/8"], GATEWAY_CONNECT_S=1.0, GATEWAY_CA_BUNDLE=""
)
from models_registry import egress
from models_registry.errors import *
url, pem = sys.argv[1], open(sys.argv[2]).read() if len(sys.argv[2]) > 1 else ""
def get(path="", whole_s=5.0, cancellation=None):
    limits = egress.Limits(
        deadline_at=time.monotonic() + whole_s, first_byte_s=5, idle_s=5, max_bytes=10**6
    )
    with egress.exchange("GET", url + path, headers={}, body=None, limits=limits,
                         cancellation=cancellation, ca_bundle=pem) as reply:
        return reply.read()
"""


def run_script(code: str, *arguments: str) -> str:
    """Run code in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT_HEAD + code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestProcesses:
    def test_a_forked_child_does_not_use_its_parents_connection(self):
        code = """
import os
get()
if child := os.fork():
    os.waitpid(child, 0)
    get()
else:
    get()
    os._exit(0)
"""
        with RawServer(answering(ANSWER)) as server:
            run_script(code, server.url, "-")

        assert (server.connections, len(server.requests)) == (2, 3)

    def test_gevent_keeps_connections_and_limits(self):
        code = """
import gevent
get(); get()
started = time.monotonic()
def late(path):
    try:
        get(path, whole_s=0.4)
    except BackendTimedOut:
        return time.monotonic() - started
waiting = [gevent.spawn(late, "/hang") for _ in range(50)]
gevent.joinall(waiting)
print(max(greenlet.value for greenlet in waiting) < 1)
cancellation = egress.Cancellation()
started = time.monotonic()
gevent.spawn_later(0.2, cancellation.cancel)
try:
    get("/hang", cancellation=cancellation)
except InferenceCancelled:
    print(time.monotonic() - started < 0.5)
"""

        def script(visitor: Visitor) -> None:
            while b"/hang" not in visitor.read_request():
                visitor.send(ANSWER)
            visitor.wait_until_left()

        with RawServer(script) as server:
            printed = run_script(code, server.url, "-", "gevent")

        assert printed.split() == ["True", "True"]
        assert server.connections == 51


# TLS


class TestTls:
    def test_trusts_the_models_own_authority(self, authority):
        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            first = get(server.url, ca_bundle=authority.pem)
            second = get(server.url, ca_bundle=authority.pem)

        assert (first, second) == (b"{}", b"{}")
        assert server.connections == 1

    def test_trusts_the_operators_bundle(self, authority, settings, tmp_path):
        bundle = tmp_path / "ca.pem"
        bundle.write_text(authority.pem)
        settings.GATEWAY_CA_BUNDLE = str(bundle)

        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            assert get(server.url) == b"{}"

    def test_sends_the_name_and_compares_it(self, authority, monkeypatch):
        asked: list[str] = []
        context = authority.context("llm.example.com")
        context.sni_callback = lambda _sock, name, _context: asked.append(name)
        with RawServer(answering(ANSWER), tls=context) as server:
            resolve_to(monkeypatch, ["127.0.0.1"])

            body = get(f"https://llm.example.com:{server.port}/", ca_bundle=authority.pem)

        assert (body, asked) == (b"{}", ["llm.example.com"])

    def test_says_that_the_name_is_another(self, authority, monkeypatch):
        with RawServer(answering(ANSWER), tls=authority.context("llm.example.com")) as server:
            resolve_to(monkeypatch, ["127.0.0.1"])

            with pytest.raises(BackendTlsFailed, match="another host name"):
                get(f"https://other.example.com:{server.port}/", ca_bundle=authority.pem)
            with pytest.raises(BackendTlsFailed, match="another address"):
                get(server.url, ca_bundle=authority.pem)

        assert server.requests == []

    def test_says_that_the_certificate_has_expired(self, authority):
        context = authority.context("127.0.0.1", is_expired=True)

        with (
            RawServer(answering(ANSWER), tls=context) as server,
            pytest.raises(BackendTlsFailed, match="has expired"),
        ):
            get(server.url, ca_bundle=authority.pem)

        assert server.requests == []

    def test_says_that_the_authority_is_unknown(self, authority, tmp_path):
        other = Authority(tmp_path, "another authority")

        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            for ca_bundle in ("", other.pem):
                with pytest.raises(BackendTlsFailed, match="unknown authority") as failure:
                    get(server.url, ca_bundle=ca_bundle)
                assert not failure.value.is_retryable

        assert server.requests == []

    def test_lends_no_connection_to_a_request_that_trusts_others(self, authority):
        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            get(server.url, ca_bundle=authority.pem)

            with pytest.raises(BackendTlsFailed):
                get(server.url)

        assert len(server.requests) == 1

    def test_says_that_the_port_does_not_speak_tls(self):
        def answer_in_clear(visitor: Visitor) -> None:
            visitor.sock.recv(65536)
            visitor.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        with (
            RawServer(answer_in_clear) as server,
            pytest.raises(BackendTlsFailed, match="http://"),
        ):
            get(server.url.replace("http:", "https:"))

    @pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated:DeprecationWarning")
    def test_refuses_old_versions(self, authority):
        context = authority.context("127.0.0.1")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")

        with RawServer(answering(ANSWER), tls=context) as server, pytest.raises(BackendTlsFailed):
            get(server.url, ca_bundle=authority.pem)

    def test_gives_up_a_handshake_that_hangs(self, settings):
        settings.GATEWAY_CONNECT_S = 0.3

        started = time.monotonic()
        with (
            RawServer(Visitor.wait_until_left) as server,
            pytest.raises(BackendTlsFailed, match=r"No TLS handshake within 0\.3 s"),
        ):
            get(server.url.replace("http:", "https:"))

        assert time.monotonic() - started < 1

    def test_gives_up_a_handshake_that_drips(self, settings):
        settings.GATEWAY_CONNECT_S = 0.3

        def drip(visitor: Visitor) -> None:
            visitor.drip(b"\x16\x03\x03\x40\x00" + b"\x02" * 5000, every_s=0.02)

        started = time.monotonic()
        with RawServer(drip) as server, pytest.raises(BackendTlsFailed):
            get(server.url.replace("http:", "https:"))

        assert time.monotonic() - started < 1

    def test_can_be_cancelled(self, authority):
        cancellation = Cancellation()
        timer = threading.Timer(0.3, cancellation.cancel)
        timer.start()
        started = time.monotonic()

        with (
            RawServer(fall_silent, tls=authority.context("127.0.0.1")) as server,
            pytest.raises(InferenceCancelled),
        ):
            get(server.url, ca_bundle=authority.pem, cancellation=cancellation)

        timer.join()
        assert time.monotonic() - started < 1

    def test_can_be_cancelled_in_the_handshake(self):
        cancellation = Cancellation()
        timer = threading.Timer(0.3, cancellation.cancel)
        timer.start()
        started = time.monotonic()

        with RawServer(Visitor.wait_until_left) as server, pytest.raises(InferenceCancelled):
            get(server.url.replace("http:", "https:"), cancellation=cancellation)

        timer.join()
        assert time.monotonic() - started < 1

    @pytest.mark.parametrize("mode", ["threads", "gevent"])
    def test_a_record_that_drips_cannot_outlast_the_deadline(self, authority, tmp_path, mode):
        pem = tmp_path / "ca.pem"
        pem.write_text(authority.pem)
        code = """
started = time.monotonic()
try:
    get(whole_s=0.8)
except BackendTimedOut as late:
    print(time.monotonic() - started < 1.3, "whole answer" in str(late))
"""
        with RawServer(drip_one_record(authority.context("127.0.0.1"))) as server:
            printed = run_script(code, server.url.replace("http:", "https:"), str(pem), mode)

        assert printed.split() == ["True", "True"]

    @pytest.mark.parametrize("text", ["no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n", "ü"])
    def test_says_that_the_models_bundle_is_none(self, text, authority):
        with (
            RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server,
            pytest.raises(ModelMisconfigured, match="not PEM"),
        ):
            get(server.url, ca_bundle=text)

    def test_says_that_the_operators_bundle_is_none(self, authority, settings):
        settings.GATEWAY_CA_BUNDLE = "/nowhere/ca.pem"

        with (
            RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server,
            pytest.raises(ModelMisconfigured, match="GATEWAY_CA_BUNDLE"),
        ):
            get(server.url)


def drip_one_record(context: ssl.SSLContext) -> Callable[[Visitor], None]:
    """Return a script that shakes hands and then sends one large TLS record byte by byte."""

    def script(visitor: Visitor) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)

        def until(step: Callable[[], Any]) -> None:
            while True:
                try:
                    step()
                except ssl.SSLWantReadError:
                    visitor.send(outgoing.read())
                    incoming.write(visitor.sock.recv(65536))
                else:
                    visitor.send(outgoing.read())
                    return

        until(tls.do_handshake)
        until(lambda: tls.read(65536))
        tls.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 15_000)
        visitor.drip(outgoing.read(), every_s=0.02)

    return script


# Documents


class TestWalk:
    def walk(self, url, **options):
        given = {"ca_bundle": "", "pool_key": "walk", "limits": limits(), **options}
        return egress.Walk(url, **given)

    def test_leaves_its_connection_to_the_next_exchange(self):
        with RawServer(answering(ANSWER)) as server:
            walk = self.walk(server.url)
            assert walk.resolve() == ("127.0.0.1",)
            walk.connect()
            walk.keep()

            body = get(server.url, pool_key="walk")

        assert (body, server.connections) == (b"{}", 1)

    def test_lets_go_of_every_connection(self):
        with RawServer(answering(ANSWER)) as server:
            walk = self.walk(server.url)
            walk.resolve()
            walk.connect()
            walk.keep()
            walk.close()

            get(server.url, pool_key="walk")

        assert server.connections == 2

    def test_shows_certificates_that_it_refuses_and_sends_nothing(self, authority):
        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            walk = self.walk(server.url)
            walk.resolve()
            walk.connect()
            with pytest.raises(BackendTlsFailed):
                walk.secure()
            (shown,) = walk.presented()
            walk.close()

        assert shown.startswith("-----BEGIN CERTIFICATE-----")
        assert server.requests == []

    def test_shows_no_certificates_where_there_are_none(self):
        with RawServer(answering(ANSWER)) as server:
            walk = self.walk(server.url)
            walk.resolve()

            assert walk.presented() == ()

    def test_refuses_what_an_exchange_refuses(self, monkeypatch):
        resolve_to(monkeypatch, ["127.0.0.1", "8.8.8.8"])

        with pytest.raises(EgressDenied):
            self.walk("http://8.8.8.8/").check()
        with pytest.raises(EgressDenied):
            self.walk("http://llm.example.com/").resolve()
        with pytest.raises(ModelMisconfigured):
            self.walk("http://user@10.0.0.1/")

    def test_works_on_greenlets(self, authority, tmp_path):
        code = """
limits = egress.Limits(
    deadline_at=time.monotonic() + 5, first_byte_s=5, idle_s=5, max_bytes=1000
)
walk = egress.Walk(url, ca_bundle=pem, pool_key="", limits=limits)
walk.resolve()
walk.connect()
print(len(walk.secure()), len(walk.presented()))
walk.close()
"""
        pem = tmp_path / "ca.pem"
        pem.write_text(authority.pem)
        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            assert run_script(code, server.url, str(pem), "gevent") == "1 1\n"


class TestFetchJson:
    def test_returns_the_document(self):
        answer = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"keys": []}'

        with RawServer(answering(answer)) as server:
            document = fetch_json(f"{server.url}/.well-known/openid-configuration")

        assert document == {"keys": []}
        assert server.requests[0].startswith(b"GET /.well-known/openid-configuration HTTP/1.1\r\n")

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (401, BackendAuthFailed),
            (403, BackendAuthFailed),
            (404, BackendNotFound),
            (302, BackendRejected),
            (418, BackendRejected),
            (204, BackendRejected),
            (500, BackendFailed),
        ],
    )
    def test_says_what_a_status_means(self, status, error):
        with (
            RawServer(sending(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)) as server,
            pytest.raises(error) as failure,
        ):
            fetch_json(server.url)

        assert failure.value.status == status

    @pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff"])
    def test_refuses_what_is_no_json(self, body):
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

        with RawServer(answering(answer)) as server, pytest.raises(MalformedReply):
            fetch_json(server.url)

    def test_refuses_a_document_that_is_too_large(self):
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"

        with RawServer(answering(answer)) as server, pytest.raises(AnswerTooLarge):
            fetch_json(server.url, max_bytes=9)

    def test_gives_up_in_time(self):
        started = time.monotonic()

        with RawServer(drip_head) as server, pytest.raises(BackendTimedOut):
            fetch_json(server.url, timeout_s=0.4)

        assert time.monotonic() - started < 1


MESSAGES = [b"<110>1 first", "<110>1 zw\u00f6lf".encode()]
FRAMED = b"12 <110>1 first13 <110>1 zw\xc3\xb6lf"


def keeping(kept: list[bytes]) -> Callable[[Visitor], None]:
    """Return a script that keeps everything until the client's end, then hangs up."""

    def script(visitor: Visitor) -> None:
        data = b""
        while piece := visitor.sock.recv(65536):
            data += piece
        kept.append(data)

    return script


class TestSendSyslog:
    def test_counts_the_octets_and_returns_when_all_has_arrived(self):
        kept: list[bytes] = []
        with RawServer(keeping(kept)) as server:
            send_syslog(f"tcp://127.0.0.1:{server.port}", MESSAGES, timeout_s=5)

            assert kept == [FRAMED]

    def test_speaks_tls_and_compares_the_name(self, authority, settings, tmp_path, monkeypatch):
        bundle = tmp_path / "ca.pem"
        bundle.write_text(authority.pem)
        settings.GATEWAY_CA_BUNDLE = str(bundle)
        kept: list[bytes] = []
        with RawServer(keeping(kept), tls=authority.context("127.0.0.1")) as server:
            send_syslog(f"tls://127.0.0.1:{server.port}", MESSAGES, timeout_s=5)
            resolve_to(monkeypatch, ["127.0.0.1"])
            with pytest.raises(BackendTlsFailed, match="another host name"):
                send_syslog(f"tls://siem.example.com:{server.port}", MESSAGES, timeout_s=5)

        assert kept == [FRAMED]

    def test_sends_a_datagram_for_each(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", 0))

            send_syslog(f"udp://127.0.0.1:{receiver.getsockname()[1]}", MESSAGES, timeout_s=5)

            assert [receiver.recv(1000) for _ in MESSAGES] == MESSAGES

    def test_sends_into_a_local_socket(self, tmp_path):
        path = str(tmp_path / "log")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(path)

            send_syslog(f"unix://{path}", MESSAGES, timeout_s=5)

            assert [receiver.recv(1000) for _ in MESSAGES] == MESSAGES

    def test_says_that_nothing_listens(self, tmp_path):
        with pytest.raises(BackendUnreachable, match="refused the connection"):
            send_syslog("tcp://127.0.0.1:1", MESSAGES, timeout_s=5)
        with pytest.raises(BackendUnreachable, match="local socket"):
            send_syslog(f"unix://{tmp_path}/none", MESSAGES, timeout_s=5)

    def test_takes_a_receiver_that_never_hangs_up_for_one_that_got_nothing(self):
        with RawServer(lambda visitor: time.sleep(3)) as server, pytest.raises(BackendTimedOut):
            send_syslog(f"tcp://127.0.0.1:{server.port}", MESSAGES, timeout_s=0.2)

    def test_says_that_the_receiver_was_reset(self):
        def reset(visitor: Visitor) -> None:
            visitor.sock.recv(1)
            visitor.reset()

        with RawServer(reset) as server, pytest.raises(BackendUnreachable, match="hung up"):
            send_syslog(f"tcp://127.0.0.1:{server.port}", MESSAGES, timeout_s=5)

    @pytest.mark.parametrize("scheme", ["tcp", "tls", "udp"])
    def test_reaches_nothing_that_is_not_allowed(self, scheme, settings, monkeypatch):
        settings.GATEWAY_EGRESS_ALLOW = ["10.0.0.0/8"]
        dialed = watch_connects(monkeypatch)

        with pytest.raises(EgressDenied):
            send_syslog(f"{scheme}://127.0.0.1:6514", MESSAGES, timeout_s=5)

        assert dialed == []


class TestParseReceiver:
    @pytest.mark.parametrize(
        "url", ["tcp://10.1.2.3:514", "tls://siem.example.com:6514", "udp://[fd00::1]:514"]
    )
    def test_takes_a_host_and_a_port(self, url):
        receiver = parse_receiver(url)

        assert receiver.target is not None
        assert receiver.is_datagram == url.startswith("udp")
        assert receiver.target.scheme == ("https" if url.startswith("tls") else "http")

    def test_takes_a_path(self):
        assert parse_receiver("unix:///dev/log").path == "/dev/log"

    @pytest.mark.parametrize(
        "url",
        [
            *("", "siem", "ftp://siem:1", "unix://log", "unix:/dev/log", "http://siem:1"),
            *("tcp://siem", "tls://siem/", "tcp://siem:514/path", "tcp://user@siem:514"),
            *("tcp://:514", "tcp://siem:0", "tcp://0x7f.1:514", "tcp://a b:514"),
        ],
    )
    def test_refuses_the_rest(self, url):
        with pytest.raises(ModelMisconfigured):
            parse_receiver(url)
