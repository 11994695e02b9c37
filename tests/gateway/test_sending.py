"""Promises of gateway/sending.py, with a real Redis."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from queue import SimpleQueue

import pytest
import redis

from gateway import concurrency, sending, tasks
from gateway.celery import app
from gateway.ids import new_id
from gateway.sending import CelerySender, LocalSender
from tests.rig.processes import wait_until


@pytest.fixture
def broker(monkeypatch, redis_server):
    """A Redis that Celery publishes to."""
    monkeypatch.setattr(app.conf, "broker_url", redis_server.url)
    monkeypatch.setattr(app.conf, "broker_write_url", redis_server.url)
    monkeypatch.setattr(sending, "SOCKET_TIMEOUT_S", 0.5)
    return redis_server


@pytest.fixture
def client(broker):
    client = redis.Redis.from_url(broker.url)
    yield client
    client.close()


@pytest.fixture
def sender(broker):
    """A sender and the ids that it could not send."""
    failed = SimpleQueue()
    sender = CelerySender(failed=failed.put)
    yield sender, failed
    sender._drop()


def messages(client, count=1):
    wait_until(lambda: client.llen(sending.QUEUE) >= count, within_s=5, what="the message")
    found = [json.loads(raw) for raw in reversed(client.lrange(sending.QUEUE, 0, -1))]
    return [(message, json.loads(b64decode(message["body"]))) for message in found]


class TestCelerySender:
    def test_sends_a_message_that_celery_understands(self, sender, client):
        record_id = new_id()

        sender[0].send([record_id])

        ((message, body),) = messages(client)
        assert message["headers"]["task"] == tasks.forward.name == sending.TASK
        assert message["content-type"] == "application/json"
        assert body[:2] == [[], {"record_ids": [record_id.hex]}]

    def test_sends_ids_and_nothing_else(self, sender, client):
        sender[0].send([new_id()])

        ((message, body),) = messages(client)
        assert set(body[1]) == {"record_ids"}
        assert (message["headers"]["argsrepr"], message["headers"]["kwargsrepr"]) == ("()", "{}")

    def test_joins_what_waits_into_one_message(self, broker, client, monkeypatch):
        begin = []
        with monkeypatch.context() as held_back:
            held_back.setattr(concurrency, "start", lambda run, **_: begin.append(run))
            sender = CelerySender(failed=lambda ids: None)
        ids = [new_id() for _ in range(600)]
        sender.send(ids)

        concurrency.start(*begin)

        sent = [body[1]["record_ids"] for _, body in messages(client, count=2)]
        sender._drop()
        assert [len(batch) for batch in sent] == [sending.BATCH_MAX, 100]
        assert [name for batch in sent for name in batch] == [record_id.hex for record_id in ids]

    def test_keeps_its_connection(self, sender, client):
        sender[0].send([new_id()])
        messages(client)
        before = len(client.client_list())

        for _ in range(5):
            sender[0].send([new_id()])
        messages(client, count=2)

        assert len(client.client_list()) == before

    def test_says_which_ids_could_not_be_sent(self, sender, broker, caplog):
        broker.kill()
        record_id, started_at = new_id(), time.monotonic()

        sender[0].send([record_id])

        assert sender[1].get(timeout=5) == [record_id]
        assert time.monotonic() - started_at < 1
        assert "sender.failed" not in caplog.messages

    def test_waits_no_longer_for_a_redis_that_hangs_from_the_start(self, sender, broker):
        broker.stop()
        started_at = time.monotonic()

        sender[0].send([new_id()])

        sender[1].get(timeout=10)
        broker.cont()
        assert time.monotonic() - started_at < sending.SOCKET_TIMEOUT_S + 1

    def test_waits_no_longer_for_a_redis_that_hangs(self, sender, broker, client):
        sender[0].send([new_id()])
        messages(client)
        broker.stop()
        started_at = time.monotonic()

        sender[0].send([new_id()])
        first = sender[1].get(timeout=5)
        first_s = time.monotonic() - started_at
        sender[0].send([new_id()])
        second = sender[1].get(timeout=5)

        broker.cont()
        assert (len(first), len(second)) == (1, 1)
        assert first_s < sending.SOCKET_TIMEOUT_S + 1
        assert time.monotonic() - started_at - first_s < 0.5

    def test_works_again_by_itself(self, sender, broker, client):
        broker.kill()
        sender[0].send([new_id()])
        sender[1].get(timeout=5)
        broker.restart()
        time.sleep(sending.PAUSE_S)

        def arrives():
            sender[0].send([new_id()])
            time.sleep(0.05)
            return client.llen(sending.QUEUE)

        wait_until(arrives, within_s=5, what="a message")

    def test_outlives_whatever_a_message_meets(self, sender, client, monkeypatch, caplog):
        with monkeypatch.context() as broken:
            broken.setattr(CelerySender, "_publish", lambda self, batch: 1 / 0)
            sender[0].send([new_id()])
            sender[1].get(timeout=5)

        sender[0].send([new_id()])

        assert messages(client)
        assert "sender.failed" in caplog.messages

    def test_logs_no_address(self, sender, broker, caplog):
        broker.kill()

        sender[0].send([new_id()])
        sender[1].get(timeout=5)

        assert "sender.publish_failed" in caplog.messages
        seen = "".join(str(vars(line)) for line in caplog.records)
        assert f":{broker.port}" not in seen


class TestLocalSender:
    def test_runs_the_task_beside_the_caller(self, monkeypatch):
        done = SimpleQueue()
        monkeypatch.setattr("gateway.forwarding.forward", done.put)
        ids = [new_id(), new_id()]

        LocalSender().send(ids)

        assert done.get(timeout=5) == ids
