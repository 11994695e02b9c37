"""The vendor route in running processes: unchanged both ways, on record, and the token nowhere."""

import socket
import time

import pytest
import requests

from tests.line.conftest import MODES, record_of
from tests.line.test_faults import until_cut
from tests.rig.gateway import Gateway
from tests.rig.processes import wait_until

PATH = "/ai/v2/code/completions"
BODY = {
    "current_file": {"file_name": "a.py", "content_above_cursor": "x", "content_below_cursor": ""},
    "model_provider": "gitlab",
    "model_name": "",
}


@pytest.fixture
def open_to(request, tmp_path, gitlab, vendor):
    """A product whose vendor route is open: (gateway, ask)."""
    mode = getattr(request, "param", "server on SQLite")
    gateway = Gateway(
        tmp_path / "gateway",
        gitlab=gitlab,
        redis_server=None if mode == "embedded" else request.getfixturevalue("redis_server"),
        database_url=(
            request.getfixturevalue("postgres_url") if mode == "server on PostgreSQL" else None
        ),
        environment={"GATEWAY_LEASE_S": "4", "GATEWAY_VENDOR_ROUTE_URL": vendor.url},
    )
    gateway.run("from features.models import VendorRoute\nVendorRoute(is_on=True).save()")
    gateway.switch_on("code_completions")

    def ask(*, request_id, stream=False, token=None, **options):
        return gateway.post(
            PATH,
            json={**BODY, "stream": stream},
            headers=gitlab.headers(token, x_request_id=request_id),
            stream=stream,
            **options,
        )

    yield gateway, ask
    gateway.stop()


@pytest.mark.parametrize("open_to", MODES, indirect=True)
class TestEveryMode:
    def test_answers_and_streams_with_the_vendors_words(self, open_to, vendor):
        gateway, ask = open_to
        vendor.answer({"choices": [{"text": "whole"}]})
        whole = ask(request_id="whole")
        vendor.stream("one", "two")
        streamed = ask(request_id="streamed", stream=True)

        assert whole.json() == {"choices": [{"text": "whole"}]}
        assert streamed.content == b"onetwo"
        assert {call.path for call in vendor.calls} == {PATH}
        for name, text in (("whole", whole.text), ("streamed", "onetwo")):
            record = record_of(gateway, name)
            assert (record["state"], record["policy"]) == (
                "answered",
                "vendor route; instance: on",
            )
            assert gateway.contents(record["id"])["answer"]["text"] == text


class TestToken:
    def test_is_in_no_file_and_no_message(self, open_to, vendor, gitlab, redis_server):
        gateway, ask = open_to
        token = gitlab.token(jti="canary")
        signature = token.split(".")[2].encode()
        vendor.stream("one", then="hang")
        with socket.create_connection(("127.0.0.1", redis_server.port), 5) as monitor:
            monitor.sendall(b"MONITOR\r\n")

            answer = ask(request_id="token", stream=True, token=token)
            assert next(answer.iter_content(None)) == b"one"
            meanwhile = contents(gateway.directory)
            answer.close()
            record_of(gateway, "token")

            monitor.settimeout(0.5)
            heard = b"".join(iter(lambda: received(monitor), b""))
        afterwards = contents(gateway.directory)
        assert vendor.calls[0].headers["authorization"] == f"Bearer {token}"
        assert b'"XREAD"' in heard
        assert meanwhile
        assert afterwards
        assert signature not in heard + meanwhile + afterwards


def contents(directory):
    """Return everything that stands in the files of a folder: database, journal, logs."""
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def received(connection):
    """Return what comes next, nothing if nothing does."""
    try:
        return connection.recv(65_536)
    except TimeoutError:
        return b""


class TestFaults:
    def test_a_broken_stream_never_looks_complete(self, open_to, vendor):
        gateway, ask = open_to
        vendor.stream("one", "two", then="cut")

        received = b"".join(until_cut(ask(request_id="cut", stream=True).iter_content(None)))

        assert received == b"onetwo"
        record = record_of(gateway, "cut")
        assert (record["state"], record["error_code"]) == ("failed", "malformed_reply")
        assert gateway.contents(record["id"])["answer"]["text"] == "onetwo"

    @pytest.mark.parametrize("is_streamed", [False, True])
    def test_a_client_that_leaves_stops_the_vendor_within_two_seconds(
        self, open_to, vendor, is_streamed
    ):
        gateway, ask = open_to
        vendor.stream(then="hang")
        started_at = time.monotonic()

        with pytest.raises(requests.Timeout):
            ask(request_id="gone", stream=is_streamed, timeout=0.5)
        vendor.wait_for_departure(within_s=2)

        assert time.monotonic() - started_at < 2.5
        assert record_of(gateway, "gone")["state"] == "cancelled"

    def test_a_killed_web_process_leaves_no_open_and_no_short_record(self, open_to, vendor):
        gateway, ask = open_to
        vendor.stream("one", "two", then="hang")
        pieces = ask(request_id="killed", stream=True).iter_content(None)
        received = next(pieces) + next(pieces)

        gateway.kill_web()
        received += b"".join(until_cut(pieces))
        gateway.start_web()

        wait_until(
            lambda: gateway.records()[0]["state"] == "interrupted", within_s=30, what="the record"
        )
        record = gateway.records()[0]
        assert record["error_code"] == "process_lost"
        assert gateway.contents(record["id"])["answer"]["text"].encode() == received

    def test_many_streams_at_once_hold_nobody_up(self, open_to, vendor):
        _, ask = open_to
        vendor.stream("one", then="hang")
        held = [ask(request_id=f"held/{number}", stream=True) for number in range(30)]
        vendor.answer({"choices": []})
        started_at = time.monotonic()

        answer = ask(request_id="quick")

        assert answer.json() == {"choices": []}
        assert time.monotonic() - started_at < 2
        for other in held:
            other.close()
