"""Promises of gateway/bus.py, with a real Redis."""

import threading
import time
from queue import Empty

import pytest

from gateway import bus
from gateway.errors import ClientLeft
from gateway.frames import Broken, Chunk, End, Quiet
from gateway.ids import new_id


def chunk(number, text="x"):
    return Chunk(number=number, last=number, text=text)


def hear(waiter, within_s):
    """Return the next frame, or None if none comes in time."""
    try:
        return waiter._frames.get(timeout=within_s)
    except Empty:
        return None


def nothing_wrong(now):
    return None


@pytest.fixture
def redis_settings(settings, redis_url):
    settings.REDIS_URL = redis_url
    bus._client.cache_clear()
    yield settings
    bus._client.cache_clear()


@pytest.fixture
def inbox(redis_settings):
    waiters = bus.Waiters()
    inbox = bus.RedisInbox("web1", waiters)
    yield waiters
    inbox.stop()


class TestWaiters:
    def test_gives_a_frame_to_the_request_that_waits_for_it(self):
        waiters = bus.Waiters()
        mine, other = waiters.add(new_id(), nothing_wrong), waiters.add(new_id(), nothing_wrong)

        waiters.deliver(mine.record_id, chunk(0))

        assert hear(mine, 0) == chunk(0)
        assert hear(other, 0) is None

    def test_drops_what_nobody_waits_for(self):
        waiters = bus.Waiters()
        waiter = waiters.add(new_id(), nothing_wrong)
        waiters.remove(waiter)

        waiters.deliver(waiter.record_id, chunk(0))

        assert hear(waiter, 0) is None
        assert len(waiters) == 0

    def test_tell_a_request_what_is_wrong_with_its_wait(self):
        waiters, error = bus.Waiters(), ClientLeft()
        gone = waiters.add(new_id(), lambda _: error)
        fine = waiters.add(new_id(), nothing_wrong)

        waiters.look()

        assert hear(gone, 0) == Broken(error=error)
        assert hear(fine, 0) is None

    def test_know_who_heard_nothing_for_long(self):
        waiters = bus.Waiters()
        silent, heard = (waiters.add(new_id(), nothing_wrong) for _ in range(2))
        time.sleep(0.05)
        heard.put(chunk(0))

        assert waiters.silent_for(0.03) == [silent]

    def test_tell_those_that_want_it_that_nothing_came(self):
        waiters = bus.Waiters()
        beating, heard, patient = (waiters.add(new_id(), nothing_wrong) for _ in range(3))
        beating.heartbeat_s = heard.heartbeat_s = 0.05
        time.sleep(0.06)
        heard.put(chunk(0))

        waiters.look()
        waiters.look()

        assert (hear(beating, 0), hear(beating, 0)) == (Quiet(), None)
        assert (hear(heard, 0), hear(heard, 0)) == (chunk(0), None)
        assert hear(patient, 0) is None
        # A heartbeat is no sign of life of a worker.
        assert beating in waiters.silent_for(0.05)


class TestRedisBus:
    def test_carries_frames_in_order_to_the_process_that_waits(self, inbox):
        waiter = inbox.add(new_id(), nothing_wrong)
        replies = bus.RedisReplies()

        replies.push("web1", waiter.record_id, chunk(0, "a"))
        assert hear(waiter, 2) == chunk(0, "a")
        for number in range(1, 4):
            replies.push("web1", waiter.record_id, chunk(number, str(number)))
        replies.push("web1", waiter.record_id, End(number=4, state="answered"))

        got = [hear(waiter, 2)]
        while not isinstance(got[-1], End):
            got.append(hear(waiter, 2))
        assert "".join(frame.text for frame in got) == "123"
        assert got[0].number == 1
        assert got[-2].last == 3

    def test_keeps_a_hundred_streams_apart(self, inbox):
        waiters = [inbox.add(new_id(), nothing_wrong) for _ in range(100)]
        replies = bus.RedisReplies()

        for number in range(5):
            for waiter in waiters:
                replies.push("web1", waiter.record_id, chunk(number, f"{waiter.record_id}{number}"))

        for waiter in waiters:
            text, last = "", -1
            while last < 4:
                frame = hear(waiter, 2)
                text, last = text + frame.text, frame.last
            assert text == "".join(f"{waiter.record_id}{number}" for number in range(5))

    def test_leaves_no_text_behind_in_redis(self, inbox):
        waiter = inbox.add(new_id(), nothing_wrong)

        bus.RedisReplies().push("web1", waiter.record_id, chunk(0, "secret"))
        hear(waiter, 2)

        deadline = time.monotonic() + 2
        while bus.connect().xlen(bus.stream_key("web1")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert bus.connect().xlen(bus.stream_key("web1")) == 0

    def test_a_stream_nobody_reads_expires(self, redis_settings):
        bus.RedisReplies().push("gone", new_id(), chunk(0))
        time.sleep(0.2)

        assert 0 < bus.connect().ttl(bus.stream_key("gone")) <= bus.STREAM_EXPIRES_S

    def test_works_again_after_redis_was_restarted(self, inbox, redis_server):
        waiter = inbox.add(new_id(), nothing_wrong)
        replies = bus.RedisReplies()
        replies.push("web1", waiter.record_id, chunk(0))
        assert hear(waiter, 2) == chunk(0)

        redis_server.restart()
        time.sleep(0.5)
        replies.push("web1", waiter.record_id, chunk(1))

        assert hear(waiter, 5) == chunk(1)


class TestIsReachable:
    def test_is_true_without_redis(self, settings):
        settings.REDIS_URL = ""

        assert bus.is_reachable()

    def test_follows_the_server(self, redis_settings, redis_server):
        assert bus.is_reachable()

        redis_server.kill()

        assert not bus.is_reachable()


class TestCancels:
    def test_reach_the_worker(self, redis_settings):
        heard, record_id = threading.Event(), new_id()
        names = []

        def cancel(given):
            names.append(given)
            heard.set()

        threading.Thread(target=bus.listen_for_cancels, args=(cancel,), daemon=True).start()
        deadline = time.monotonic() + 5
        while not heard.is_set() and time.monotonic() < deadline:
            bus.publish_cancel(record_id)
            heard.wait(0.1)

        assert names[0] == record_id
