"""Models, Redis and databases that fail: a clear error in time, a closed record, no lie."""

import threading
import time

import pytest
import redis
import requests

from tests.line.conftest import CANARY_KEY, asker, record_of
from tests.rig.backend import TEXT
from tests.rig.gateway import Gateway
from tests.rig.processes import wait_until

# Behavior of the model -> (status, code in the body and in the record, calls at most).
FAULTS = {
    "err-401": (503, "backend_auth", 1),
    "err-403": (503, "backend_auth", 1),
    "err-404": (503, "backend_not_found", 1),
    "err-400": (503, "backend_rejected", 1),
    "toolong": (422, "context_too_long", 1),
    "err-429": (429, "backend_rate_limited", 1),
    "err-500": (503, "backend_failed", 2),
    "err-503": (503, "backend_failed", 2),
    "html-502": (503, "backend_failed", 2),
    "garbage": (503, "malformed_reply", 1),
    "emptyjson": (503, "malformed_reply", 1),
    "cut-midstream": (503, "malformed_reply", 1),
    "redirect": (503, "backend_rejected", 1),
    "gzip": (503, "malformed_reply", 1),
    "huge": (503, "answer_too_large", 1),
}

# A stream that had sent text before it failed: cut, never ended.
BROKEN_STREAMS = ("cut-midstream", "err-midstream", "nodone_cut-midstream")


def until_cut(pieces):
    """Yield what comes until the connection is cut; a clean end is a failure."""
    try:
        yield from pieces
    except requests.exceptions.RequestException:
        return
    pytest.fail("the stream ended as if it were complete")


@pytest.fixture
def own(request, tmp_path, gitlab, backend):
    """A product of this test's own, which it may break: (gateway, ask)."""
    mode = getattr(request, "param", "server on SQLite")
    gateway = Gateway(
        tmp_path / "gateway",
        gitlab=gitlab,
        redis_server=request.getfixturevalue("redis_server"),
        database_url=(
            request.getfixturevalue("postgres_url") if mode == "server on PostgreSQL" else None
        ),
        environment={"GATEWAY_LEASE_S": "4"},
    )
    gateway.switch_on("code_completions")
    yield gateway, asker(gateway, backend)
    gateway.stop()


@pytest.mark.parametrize("line", ["embedded"], indirect=True)
class TestModelFaults:
    @pytest.mark.parametrize("behavior", FAULTS)
    def test_a_plain_call_tells_the_cause(self, line, ask, backend, behavior):
        status, code, calls_max = FAULTS[behavior]
        request_id = f"plain/{behavior}"
        started_at = time.monotonic()

        answer = ask(behavior, request_id=request_id)

        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["X-Request-ID"] == request_id
        assert time.monotonic() - started_at < 5
        assert len(backend.calls) <= calls_max
        record = record_of(line, request_id)
        assert (record["state"], record["error_code"]) == ("failed", code)
        assert record["model_calls"] <= calls_max

    @pytest.mark.parametrize("behavior", sorted(FAULTS.keys() - {"cut-midstream", "huge"}))
    def test_a_stream_that_never_began_tells_the_cause_too(self, line, ask, behavior):
        status, code, _ = FAULTS[behavior]
        request_id = f"stream/{behavior}"

        answer = ask(behavior, stream=True, request_id=request_id)

        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert record_of(line, request_id)["error_code"] == code

    @pytest.mark.parametrize("behavior", ["cut-midstream", "err-midstream"])
    def test_a_broken_stream_never_looks_complete(self, line, ask, behavior):
        answer = ask(behavior, stream=True, request_id=f"broken/{behavior}")

        received = "".join(until_cut(answer.iter_content(None, decode_unicode=True)))

        assert answer.status_code == 200
        assert TEXT.startswith(received)
        record = record_of(line, f"broken/{behavior}")
        assert record["state"] == "failed"
        assert record["error_code"] in ("malformed_reply", "backend_failed")
        assert line.contents(record["id"])["answer"]["text"] == received

    def test_an_unreachable_model_is_said_to_be_so(self, line, ask):
        answer = ask(model_endpoint="http://127.0.0.1:9/v1")

        assert (answer.status_code, answer.json()["code"]) == (503, "backend_unreachable")

    def test_an_address_outside_the_list_is_never_dialed(self, line, ask):
        answer = ask(model_endpoint="http://169.254.169.254/latest")

        assert (answer.status_code, answer.json()["code"]) == (503, "model_misconfigured")

    def test_no_answer_and_no_log_line_holds_a_key_or_an_address(self, line, ask, backend):
        answers = [ask(behavior).text for behavior in ("err-401", "err-500", "garbage")]

        seen = "".join(answers) + line.log()

        assert CANARY_KEY not in seen
        assert backend.endpoint.removeprefix("http://").split("/")[0] not in seen
        assert "stub says" not in seen

    def test_a_model_that_hangs_is_given_up_in_time(self, tmp_path, gitlab, backend, line):
        gateway = Gateway(
            tmp_path / "impatient",
            gitlab=gitlab,
            environment={"GATEWAY_CODE_DEADLINE_S": "2"},
        )
        gateway.switch_on("code_completions")
        started_at = time.monotonic()

        answer = asker(gateway, backend)("hang-30")

        gateway.stop()
        assert (answer.status_code, answer.json()["code"]) == (503, "backend_timed_out")
        assert time.monotonic() - started_at < 5


class TestRedisFaults:
    def test_redis_gone_answers_503_in_time_and_forwards_nothing(self, own, backend, redis_server):
        line, ask = own
        assert ask().status_code == 200
        redis_server.kill()
        before, started_at = len(backend.calls), time.monotonic()

        answer = ask()

        assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")
        assert time.monotonic() - started_at < 2
        assert len(backend.calls) == before
        wait_until(
            lambda: line.records()[-1]["state"] == "failed", within_s=5, what="the closed record"
        )

    def test_works_again_by_itself_when_redis_is_back(self, own, redis_server):
        _, ask = own
        redis_server.kill()
        assert ask().status_code == 503

        redis_server.restart()

        wait_until(lambda: ask().status_code == 200, within_s=20, what="an answer")

    def test_a_hung_redis_answers_503_within_two_seconds(self, own, redis_server):
        _, ask = own
        assert ask().status_code == 200
        redis_server.stop()
        started_at = time.monotonic()

        answer = ask()

        redis_server.cont()
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")
        assert time.monotonic() - started_at < 2.5
        wait_until(lambda: ask().status_code == 200, within_s=20, what="an answer")

    def test_readiness_follows_redis(self, own, redis_server):
        line, _ = own
        assert line.get("/monitoring/ready").status_code == 200

        redis_server.kill()

        wait_until(lambda: line.get("/monitoring/ready").status_code == 503, within_s=5, what="red")
        assert line.get("/monitoring/healthz").status_code == 200


@pytest.mark.parametrize("own", ["server on PostgreSQL"], indirect=True)
class TestDatabaseFaults:
    def test_a_database_that_is_gone_stops_everything_and_comes_back(
        self, own, backend, postgres_server
    ):
        _, ask = own
        assert ask().status_code == 200
        postgres_server.kill()
        before, started_at = len(backend.calls), time.monotonic()

        answer = ask()

        assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
        assert time.monotonic() - started_at < 2.5
        assert len(backend.calls) == before
        postgres_server.restart()
        wait_until(lambda: ask().status_code == 200, within_s=20, what="an answer")

    def test_a_hung_database_answers_503_within_two_seconds(self, own, backend, postgres_server):
        _, ask = own
        assert ask().status_code == 200
        before = len(backend.calls)
        postgres_server.stop()
        started_at = time.monotonic()

        answer = ask()

        took_s = time.monotonic() - started_at
        postgres_server.cont()
        assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
        assert took_s < 2.5
        assert len(backend.calls) == before
        wait_until(lambda: ask().status_code == 200, within_s=20, what="an answer")


class TestKilledProcesses:
    def test_a_killed_worker_s_stream_is_cut_and_its_record_closed(self, own):
        line, ask = own
        answer = ask("slow-100ms_tokens-400", stream=True)
        pieces = answer.iter_content(None, decode_unicode=True)
        received = next(pieces)

        line.kill_worker()
        received += "".join(until_cut(pieces))

        wait_until(
            lambda: line.records()[-1]["state"] == "interrupted", within_s=15, what="the record"
        )
        record = line.records()[-1]
        assert record["error_code"] == "worker_lost"
        assert line.contents(record["id"])["answer"]["text"] == received

    def test_a_killed_web_process_leaves_no_open_and_no_short_record(self, own):
        line, ask = own
        answer = ask("slow-100ms_tokens-100", stream=True)
        pieces = answer.iter_content(None, decode_unicode=True)
        received = next(pieces) + next(pieces) + next(pieces)

        line.kill_web()
        line.kill_worker()
        received += "".join(until_cut(pieces))
        line.start()

        wait_until(
            lambda: line.records()[0]["state"] == "interrupted", within_s=30, what="the record"
        )
        record = line.records()[0]
        assert record["error_code"] == "process_lost"
        assert line.contents(record["id"])["answer"]["text"].startswith(received)

    def test_a_message_that_is_lost_is_sent_again(self, own, redis_server):
        line, ask = own
        line.kill_worker()
        client = redis.Redis.from_url(redis_server.url)

        got = []
        thread = threading.Thread(target=lambda: got.append(ask()))
        thread.start()
        wait_until(lambda: client.llen("inference") > 0, within_s=5, what="the message")
        client.delete("inference")
        line.start_worker()
        thread.join(20)

        assert got[0].status_code == 200
        assert line.records()[0]["model_calls"] == 1

    def test_a_message_that_comes_twice_is_served_once(self, own, backend, redis_server):
        line, ask = own
        line.kill_worker()
        client = redis.Redis.from_url(redis_server.url)

        got = []
        thread = threading.Thread(target=lambda: got.append(ask()))
        thread.start()
        wait_until(lambda: client.llen("inference") > 0, within_s=5, what="the message")
        client.lpush("inference", client.lindex("inference", 0))
        line.start_worker()
        thread.join(20)
        wait_until(lambda: client.llen("inference") == 0, within_s=5, what="an empty queue")

        assert got[0].status_code == 200
        assert len(backend.calls) == 1
