"""Promises of gateway/audit/siem.py, with receivers on real sockets."""

from __future__ import annotations

import json
import re
import socketserver
import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from gateway.audit import chores, models, siem
from gateway.audit.chores import Chore, Trouble
from gateway.audit.models import InferenceRecord
from models_registry.errors import ModelError, ModelMisconfigured
from tests.gateway.audit import hostile
from tests.gateway.audit.conftest import ANSWER, QUESTION, make_record
from tests.gateway.audit.test_admin import TEXT_COLUMNS
from tests.models_registry import RawServer, answering
from tests.rig.processes import free_port, wait_until

MESSAGE = re.compile(r"<(\d+)>1 (\S+) (\S+) enclave - inference - (\{.*\})", re.DOTALL)


class SyslogServer:
    """A receiver of octet-counted syslog over TCP; it may be away for a while."""

    def __init__(self):
        self.port = free_port()
        self.messages: list[str] = []
        self._server = None
        self.start()

    @property
    def url(self):
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def ids(self):
        return [json.loads(MESSAGE.fullmatch(text)[4])["id"] for text in self.messages]

    def start(self):
        receiver = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                length = b""
                while digit := self.rfile.read(1):
                    if digit != b" ":
                        length += digit
                        continue
                    receiver.messages.append(self.rfile.read(int(length)).decode())
                    length = b""

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture
def syslog():
    server = SyslogServer()
    yield server
    server.stop()


@pytest.fixture
def forward(db, settings, syslog):
    """A function that does a step of forwarding, as a process that began an hour ago."""
    settings.GATEWAY_SIEM_URL = syslog.url
    forwarder = siem.Forwarder()
    reached = [timezone.now() - timedelta(hours=1)]

    def step(now=None):
        look = forwarder.step(reached[0], now or timezone.now())
        reached[0] = look.reached
        return look

    return step


def make_closed(**facts):
    return make_record(**{"opened_at": timezone.now() - timedelta(seconds=5), **facts})


class TestForwarder:
    def test_sends_what_is_closed_once(self, forward, syslog):
        record = make_closed()
        make_closed(state="running", closed_at=None)

        forward()
        forward()

        assert syslog.ids == [str(record.pk)]

    def test_sends_a_call_when_it_ends(self, forward, syslog):
        record = make_closed(state="running", closed_at=None)
        forward()
        before = list(syslog.ids)

        InferenceRecord.objects.update(state="answered", closed_at=timezone.now())
        forward()

        assert (before, syslog.ids) == ([], [str(record.pk)])

    def test_fills_the_gap_after_an_outage_of_the_receiver(self, forward, syslog):
        records = [make_closed(), make_closed()]
        syslog.stop()
        for _ in range(2):
            with pytest.raises(Trouble, match="refused the connection"):
                forward()
        records.append(make_closed())

        syslog.start()
        forward()

        assert syslog.ids == [str(record.pk) for record in records]

    def test_fills_the_gap_after_an_outage_of_enclave(self, forward, settings, syslog):
        known = make_closed(opened_at=timezone.now() - timedelta(minutes=30))
        reached = forward().reached
        missed = [make_closed() for _ in range(3)]

        siem.Forwarder().step(reached, timezone.now())

        assert syslog.ids == [str(record.pk) for record in (known, *missed)]

    def test_sends_the_last_minute_again_when_somebody_takes_over(self, forward, syslog):
        record = make_closed()
        reached = forward().reached

        siem.Forwarder().step(reached, timezone.now())

        assert syslog.ids == [str(record.pk)] * 2

    def test_sends_a_record_whose_commit_came_late(self, forward, syslog):
        make_closed()
        forward()
        late = make_closed(opened_at=timezone.now() - timedelta(seconds=50))

        forward()

        assert str(late.pk) in syslog.ids

    def test_sends_nothing_from_before_it_was_switched_on(self, forward, syslog):
        make_closed(opened_at=timezone.now() - timedelta(days=1))

        siem.Forwarder().step(None, timezone.now())

        assert syslog.messages == []

    def test_goes_over_a_backlog_in_batches(self, forward, syslog, monkeypatch):
        monkeypatch.setattr(siem, "BATCH", 2)
        records = [
            make_closed(opened_at=timezone.now() - timedelta(seconds=900 - number))
            for number in range(5)
        ]

        behind = [forward().is_behind for _ in range(3)]

        assert behind == [True, True, False]
        assert syslog.ids == [str(record.pk) for record in records]

    def test_tells_an_operator_what_is_wrong(self, forward, syslog):
        make_closed()
        syslog.stop()
        models.Chore.objects.create(pk="siem", reached=timezone.now() - timedelta(hours=1))

        chores.do_some(Chore(name="siem", step=siem.Forwarder().step), "p", now=timezone.now())

        assert "refused the connection" in chores.state_of("siem").trouble


class TestMessage:
    def test_is_rfc_5424_with_json_and_without_content(self, forward, syslog):
        record = make_closed(model_name="m")

        forward()

        (message,) = syslog.messages
        priority, stamp, host, body = MESSAGE.fullmatch(message).groups()
        assert int(priority) == 13 * 8 + 6
        assert stamp == record.closed_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert re.fullmatch(r"[!-~]{1,255}", host)
        assert json.loads(body)["model_name"] == "m"
        assert QUESTION.strip() not in message
        assert ANSWER not in message

    @pytest.mark.parametrize(
        ("state", "severity"),
        [("answered", 6), ("refused", 5), ("cancelled", 5), ("failed", 4), ("interrupted", 4)],
    )
    def test_is_as_severe_as_the_outcome(self, db, state, severity):
        assert siem.as_syslog(make_record(state=state)).startswith(f"<{13 * 8 + severity}>1 ")

    def test_is_one_printable_line_whatever_was_written(self, db):
        for text in (*hostile.SCRIPTS, *hostile.HIDDEN):
            record = make_record(**dict.fromkeys(TEXT_COLUMNS, text.replace("\x00", "")[:90]))

            assert re.fullmatch(r"[ -~]+", siem.as_syslog(record))


class TestHttp:
    def test_posts_a_line_for_each_record_with_the_authorization(self, db, settings):
        settings.GATEWAY_SIEM_AUTHORIZATION = "Splunk secret"
        with RawServer(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as server:
            settings.GATEWAY_SIEM_URL = f"{server.url}/services/collector/raw"

            siem.send([make_record(), make_record()])

        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert b"POST /services/collector/raw HTTP/1.1" in head
        assert b"Authorization: Splunk secret" in head
        assert len([json.loads(line) for line in body.splitlines()]) == 2

    @pytest.mark.parametrize("status", [b"403 Forbidden", b"503 Unavailable", b"302 Found"])
    def test_takes_no_other_status_for_an_answer(self, db, settings, status):
        answer = b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status
        with RawServer(answering(answer)) as server:
            settings.GATEWAY_SIEM_URL = server.url

            with pytest.raises(ModelError):
                siem.send([make_record()])


class TestCheckReceiver:
    @pytest.mark.parametrize(
        "url", ["", "tls://siem.example.com:6514", "unix:///dev/log", "https://siem.example.com/x"]
    )
    def test_passes_what_can_be_sent_to(self, url):
        siem.check_receiver(url)

    def test_refuses_what_cannot(self):
        with pytest.raises(ModelMisconfigured):
            siem.check_receiver("siem.example.com")


class TestChore:
    def test_is_wanted_where_there_is_a_receiver(self, settings):
        settings.GATEWAY_SIEM_URL = ""
        assert siem.chore() is None

        settings.GATEWAY_SIEM_URL = "tcp://10.0.0.1:514"
        assert siem.chore().name == "siem"

    def test_goes_on_by_itself(self, embedded, settings, syslog, monkeypatch):
        settings.GATEWAY_SIEM_URL = syslog.url
        monkeypatch.setattr(chores, "LOOK_EVERY_S", 0.01)
        record = make_closed()

        chores.start("p", [siem.chore()])
        wait_until(lambda: syslog.messages, within_s=5, what="a message")
        chores.stop()

        assert syslog.ids == [str(record.pk)]
