"""Promises of gateway/ids.py."""

from datetime import UTC, datetime, timedelta

from gateway.ids import first_id, new_id


class TestNewId:
    def test_is_a_uuid_of_version_7(self):
        assert new_id().version == 7
        assert new_id().variant == "specified in RFC 4122"

    def test_sorts_by_time(self, monkeypatch):
        monkeypatch.setattr("time.time_ns", lambda: 1_000_000 * 10**6)
        earlier = new_id()
        monkeypatch.setattr("time.time_ns", lambda: 1_000_001 * 10**6)

        assert earlier < new_id()

    def test_is_never_given_twice(self):
        assert len({new_id() for _ in range(10_000)}) == 10_000


class TestFirstId:
    def test_stands_between_what_was_made_before_and_after(self):
        before = new_id()
        moment = datetime.now(UTC) + timedelta(milliseconds=2)

        border = first_id(moment)

        assert before < border
        assert new_id() < border
        while datetime.now(UTC) < moment + timedelta(milliseconds=1):
            pass
        assert border < new_id()
