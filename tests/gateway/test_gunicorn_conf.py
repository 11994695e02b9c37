"""What gunicorn logs: our format, one line for a stream we broke, nothing that a client wrote."""

from __future__ import annotations

import json
import logging
import socket
import sys
import time
from http.client import HTTPConnection

import pytest

from gateway.errors import StreamBroken
from gateway.gunicorn_conf import OneLine
from gateway.logs import JsonFormatter
from tests.rig.gateway import Gateway
from tests.rig.processes import wait_until

SECRET = "glpat-0123456789"


def log(level, message, *args, error=None):
    """Return the lines that gunicorn's logger would write for this."""
    exc_info = None
    if error is not None:
        try:
            raise error
        except type(error):
            exc_info = sys.exc_info()
    record = logging.LogRecord("gunicorn.error", level, __file__, 1, message, args, exc_info)
    OneLine().filter(record)
    return JsonFormatter().format(record)


class TestOneLine:
    def test_tells_a_stream_that_we_broke_without_a_traceback(self):
        line = json.loads(log(logging.ERROR, "Error handling request", error=StreamBroken()))

        assert line["event"] == "stream.broken"
        assert "traceback" not in line

    def test_keeps_the_traceback_of_what_we_did_not_expect(self):
        line = log(logging.ERROR, "Error handling request %s", f"/?{SECRET}", error=KeyError("x"))

        assert json.loads(line)["event"] == "request.crashed"
        assert "KeyError" in json.loads(line)["traceback"]
        assert SECRET not in line

    def test_hides_what_the_client_wrote(self):
        line = log(logging.WARNING, f"Invalid request from ip=::1: header {SECRET!r}")

        assert json.loads(line)["event"] == "request.malformed"
        assert SECRET not in line

    def test_leaves_other_lines_as_they_are(self):
        line = log(logging.WARNING, "Worker graceful timeout (pid:%s)", 7)

        assert json.loads(line)["event"] == "Worker graceful timeout (pid:7)"


@pytest.fixture
def gateway(tmp_path, gitlab):
    started = Gateway(tmp_path / "gateway", gitlab=gitlab)
    yield started
    started.stop()


def send_raw(gateway, data):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(data)
        return connection.recv(65536)


class TestRunningGunicorn:
    def test_answers_a_malformed_request_and_logs_nothing_of_it(self, gateway):
        answer = send_raw(gateway, f"GET / HTTP/1.1\r\nBad Header: {SECRET}\r\n\r\n".encode())

        wait_until(lambda: "request.malformed" in gateway.log("web"), within_s=5, what="the line")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert SECRET not in gateway.log("web")

    def test_refuses_endless_headers(self, gateway):
        fields = b"".join(b"X-%d: a\r\n" % number for number in range(101))

        answer = send_raw(gateway, b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")

        assert answer.startswith(b"HTTP/1.1 431 ")

    def test_writes_only_json_lines(self, gateway):
        send_raw(gateway, b"GET / HTTP/1.1\r\nBad Header: a\r\n\r\n")

        wait_until(lambda: "request.malformed" in gateway.log("web"), within_s=5, what="the line")
        assert all(json.loads(line)["event"] for line in gateway.log("web").splitlines())

    def test_does_not_wait_for_a_connection_that_is_only_kept(self, gateway):
        gateway.get("/monitoring/healthz")
        assert gateway.session.adapters["http://"].poolmanager.pools.keys()

        started = time.monotonic()
        gateway.web.terminate()
        gateway.web.wait(30)

        assert time.monotonic() - started < 8

    def test_answers_on_a_kept_connection(self, gateway):
        connection = HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        statuses, local_ports = [], set()
        for _ in range(3):
            connection.request("GET", "/monitoring/healthz")
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
            local_ports.add(connection.sock.getsockname()[1])
            time.sleep(0.05)
        connection.close()

        assert statuses == [200, 200, 200]
        assert len(local_ports) == 1
