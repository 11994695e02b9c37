"""Promises of gateway/audit/chain/anchors.py, with real files, sockets and servers."""

import os
import socket
import time
from queue import SimpleQueue

import orjson
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from gateway.audit.chain import anchors, checkpoints
from gateway.audit.models import Anchor, Checkpoint
from models_registry import egress_ledger
from tests.models_registry import RawServer, Visitor, answering

pytestmark = pytest.mark.django_db(transaction=True)


def write(count=1):
    for _ in range(count):
        checkpoints.write(now=timezone.now())


def numbers(text):
    """Return the checkpoints that lines of a place hold."""
    lines = [line[line.index('{"key"') :] for line in text.splitlines()]
    return [orjson.loads(orjson.loads(line)["statement"])["number"] for line in lines]


@pytest.fixture
def place(settings, tmp_path):
    """A file outside, as its address is set; returns its path."""
    settings.GATEWAY_AUDIT_ANCHORS = [f"file://{tmp_path}/out%20side.log"]
    return tmp_path / "out side.log"


class TestFile:
    def test_gets_each_checkpoint_once(self, place):
        write()
        anchors.deliver()
        write(2)

        anchors.deliver()
        anchors.deliver()

        assert numbers(place.read_text()) == [1, 2, 3]

    def test_is_only_ever_appended_to(self, place):
        place.write_text("what was there\n")
        write()

        anchors.deliver()

        assert place.read_text().startswith("what was there\n{")

    def test_begins_with_the_newest(self, place):
        """Which vouches for those before it."""
        write(3)

        anchors.deliver()

        assert numbers(place.read_text()) == [3]

    def test_that_was_away_gets_what_it_missed(self, place, caplog):
        write()
        anchors.deliver()
        place.rename(place.with_name("kept"))
        place.mkdir()  # cannot be written
        write(2)
        anchors.deliver()
        anchors.deliver()
        place.rmdir()
        place.with_name("kept").rename(place)

        anchors.deliver()

        assert numbers(place.read_text()) == [1, 2, 3]
        events = [record.message for record in caplog.records]
        assert events == ["anchor.failed", "anchor.back"]

    def test_that_is_away_holds_up_no_other(self, place, settings, tmp_path):
        settings.GATEWAY_AUDIT_ANCHORS.insert(0, f"file://{tmp_path}/no/such/folder/x")
        write()

        anchors.deliver()

        assert numbers(place.read_text()) == [1]
        assert Anchor.objects.get(pk=settings.GATEWAY_AUDIT_ANCHORS[0]).number == 0

    def test_says_how_far_it_came(self, place, settings):
        write(2)

        anchors.deliver()

        assert Anchor.objects.get().number == 2

    def test_of_nothing_stays_empty(self, place):
        anchors.deliver()

        assert not place.exists()


class TestSyslog:
    def test_gets_a_message_about_a_checkpoint(self, settings, tmp_path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(str(tmp_path / "log"))
            settings.GATEWAY_AUDIT_ANCHORS = [f"unix://{tmp_path}/log"]
            write()

            anchors.deliver()

            message = log.recv(65_536).decode()
        head, _, text = message.partition(" checkpoint - ")
        assert head.startswith("<109>1 2")  # "log audit", "notice"
        assert text == anchors.line(Checkpoint.objects.get())

    def test_counts_as_delivered_when_the_receiver_hangs_up(self, settings):
        received = SimpleQueue()

        def script(visitor):
            data = b""
            while piece := visitor.sock.recv(65_536):
                data += piece
            received.put(data)

        with RawServer(script) as server:
            settings.GATEWAY_AUDIT_ANCHORS = [f"tcp://127.0.0.1:{server.port}"]
            write()

            anchors.deliver()

            assert numbers(received.get(timeout=5).decode()) == [1]
        assert Anchor.objects.get().number == 1

    @pytest.mark.parametrize("place", ["unix:///no/such/socket", "tcp://127.0.0.1:1"])
    def test_that_takes_nothing_is_tried_again(self, settings, place, monkeypatch):
        monkeypatch.setattr(anchors, "TIMEOUT_S", 0.2)
        settings.GATEWAY_AUDIT_ANCHORS = [place]
        write()

        anchors.deliver()

        assert Anchor.objects.get().number == 0

    def test_is_on_the_egress_page_as_what_it_is(self, settings):
        settings.GATEWAY_EGRESS_ALLOW = ["192.168.0.0/16"]
        settings.GATEWAY_AUDIT_ANCHORS = ["tcp://10.1.2.3:601", "https://10.1.2.3/"]
        write()

        anchors.deliver()

        assert {destination.purpose for destination in egress_ledger.take()} == {"checkpoints"}


class TestHttp:
    def test_gets_a_post_of_the_line(self, settings):
        with RawServer(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as server:
            settings.GATEWAY_AUDIT_ANCHORS = [f"{server.url}/checkpoints"]
            write()

            anchors.deliver()

        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /checkpoints HTTP/1.1\r\n")
        assert b"Content-Type: application/json" in head
        assert body.decode() == anchors.line(Checkpoint.objects.get())
        assert Anchor.objects.get().number == 1

    @pytest.mark.parametrize("status", [b"302 Found", b"401 Unauthorized", b"500 Failed"])
    def test_that_refuses_is_tried_again(self, settings, status):
        answer = b"HTTP/1.1 %b\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n" % status
        with RawServer(answering(answer)) as server:
            settings.GATEWAY_AUDIT_ANCHORS = [server.url]
            write()

            anchors.deliver()
            anchors.deliver()

        assert len(server.requests) == 2
        assert Anchor.objects.get().number == 0

    def test_that_hangs_is_given_up_soon(self, settings, monkeypatch):
        monkeypatch.setattr(anchors, "TIMEOUT_S", 0.2)
        with RawServer(Visitor.wait_until_left) as server:
            settings.GATEWAY_AUDIT_ANCHORS = [server.url]
            write()
            started_at = time.monotonic()

            anchors.deliver()

        assert time.monotonic() - started_at < 2


class TestCheck:
    @pytest.mark.parametrize(
        "address",
        [
            "file:///var/log/checkpoints",
            "unix:///dev/log",
            "udp://10.1.2.3:514",
            "tls://log.example.com:6514",
            "https://log.example.com/checkpoints?stream=enclave",
        ],
    )
    def test_passes_a_place(self, address):
        anchors.check(address)

    @pytest.mark.parametrize(
        ("address", "reason"),
        [
            ("/var/log/checkpoints", "must begin with one of file, http"),
            ("ftp://log.example.com", "must begin with one of"),
            ("file://host/path", "absolute path"),
            ("file:relative", "absolute path"),
            ("http://169.254.169.254/", "metadata"),
            ("tls://log.example.com", "host and a port"),
            ("unix:log", "must begin with"),
            ("https://user:secret@log.example.com/", "user name or a password"),
        ],
    )
    def test_says_what_is_wrong(self, address, reason):
        with pytest.raises(ImproperlyConfigured, match=reason) as refusal:
            anchors.check(address)

        assert "secret" not in str(refusal.value)


class TestIsOurs:
    def test_tells_a_file_of_this_user(self, tmp_path):
        assert anchors.is_ours(f"file://{tmp_path}/checkpoints")
        assert anchors.is_ours("file:///no/such/folder/checkpoints")

    def test_tells_what_is_not(self):
        assert not anchors.is_ours("unix:///dev/log")
        assert not anchors.is_ours("https://log.example.com/")

    def test_tells_a_file_of_another_user(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)

        assert not anchors.is_ours(f"file://{tmp_path}/checkpoints")
