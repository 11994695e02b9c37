"""Promises of gateway/audit/journal.py."""

import pytest

from gateway.audit import journal
from gateway.audit.journal import Journal
from gateway.ids import new_id


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.GATEWAY_DATA_DIR = tmp_path
    return tmp_path / "journal"


class TestJournal:
    def test_holds_what_each_stream_delivered(self):
        own, first, second = Journal("web1"), new_id(), new_id()

        own.append(first, "def ")
        own.append(second, "über")
        own.append(first, "f():\n")

        assert journal.delivered("web1", [first, second]) == {first: "def f():\n", second: "über"}

    def test_survives_a_torn_last_entry(self, folder):
        own, record_id = Journal("web1"), new_id()
        own.append(record_id, "whole")
        own.append(record_id, "torn")
        path = folder / "web1.1"
        path.write_bytes(path.read_bytes()[:-1])

        assert journal.delivered("web1", [record_id]) == {record_id: "whole"}

    def test_goes_on_in_a_new_file_when_one_is_large(self, folder, monkeypatch):
        monkeypatch.setattr(journal, "SEGMENT_MAX_BYTES", 30)
        own, record_id = Journal("web1"), new_id()

        for piece in ("one ", "two ", "three"):
            own.append(record_id, piece)

        assert len(list(folder.iterdir())) == 2
        assert journal.delivered("web1", [record_id]) == {record_id: "one two three"}

    def test_drops_a_file_when_no_record_in_it_is_open(self, folder, monkeypatch):
        monkeypatch.setattr(journal, "SEGMENT_MAX_BYTES", 1)
        own, first, second = Journal("web1"), new_id(), new_id()
        own.append(first, "a")
        own.append(second, "b")

        own.forget(first)

        assert [path.name for path in folder.iterdir()] == ["web1.2"]

    def test_keeps_a_file_as_long_as_one_record_needs_it(self, folder, monkeypatch):
        monkeypatch.setattr(journal, "SEGMENT_MAX_BYTES", 1)
        own, first, second = Journal("web1"), new_id(), new_id()
        own.append(first, "a")
        own.append(second, "b")

        own.forget(second)

        assert len(list(folder.iterdir())) == 2

    def test_is_readable_by_its_owner_only(self, folder):
        Journal("web1").append(new_id(), "secret")

        assert (folder / "web1.1").stat().st_mode & 0o077 == 0
        assert folder.stat().st_mode & 0o077 == 0

    def test_leaves_nothing_after_an_orderly_end(self, folder):
        own = Journal("web1")
        own.append(new_id(), "a")

        own.close()

        assert list(folder.iterdir()) == []


class TestDiscard:
    def test_removes_one_process_s_files(self):
        Journal("web1").append(new_id(), "a")
        Journal("web2").append(new_id(), "b")

        journal.discard("web1")

        assert journal.owners() == {"web2"}
