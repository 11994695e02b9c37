"""Promises of gateway/audit/chain/walk.py."""

import random
import threading

import orjson
import pytest
from django.db import connection

from gateway.audit.chain import formats, lanes, walk
from gateway.audit.models import InferenceRecord, Lane, Link
from tests.gateway.audit.chain.tampering import write_log
from tests.gateway.audit.test_store import Chained, opening

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rows():
    return Chained()


class TestLinks:
    def test_come_in_order_page_by_page(self, rows, monkeypatch):
        monkeypatch.setattr(walk, "LINKS_PAGE", 3)
        other = lanes.begin("another")
        for _ in range(7):
            rows.open([opening()])

        numbers = [link.head.number for link in walk.links(rows.lane.id)]

        assert numbers == [1, 2, 3, 4, 5, 6, 7]
        assert list(walk.links(other.id)) == []

    def test_that_cannot_be_read_say_so(self):
        link = walk.stored((formats.link_id(3, 1), 5, b"", b"not a whole entry", b""))

        assert link.entries is None
        assert link.head == formats.Head(3, 1, 5, (), 0)


class TestRead:
    def test_gives_what_was_committed_to(self, rows):
        row = opening(user_id="ü", queue_ms=0.1, is_streamed=True)
        rows.open([row])

        (read,) = walk.read(walk.links(rows.lane.id), lanes.COLUMNS)

        (entry,), (found,) = read.link.entries, read.found
        assert formats.commit_to_facts(found.salt, found.facts) == entry.facts
        assert formats.commit_to_content(found.content_salt, found.content) == entry.content
        assert found.link == read.link.head.lane << 32 | 1

    def test_gives_nothing_for_what_is_gone(self, rows):
        rows.store.open = lambda *_: None
        link = rows.lane.opened([opening()])
        stored = walk.stored(link.values())

        (read,) = walk.read([stored], lanes.COLUMNS)

        assert read.found == [None]

    def test_asks_a_few_queries_for_many_links(self, rows, django_assert_max_num_queries):
        for _ in range(50):
            rows.open([opening()])

        with django_assert_max_num_queries(3):
            assert len(list(walk.read(walk.links(rows.lane.id), lanes.COLUMNS))) == 50

    def test_holds_few_of_many_entries(self, rows, monkeypatch):
        """Flat memory: what is fetched at once does not grow with the log."""
        monkeypatch.setattr(walk, "ENTRIES_PAGE", 4)
        fetched = []
        real = walk.fetch
        monkeypatch.setattr(
            walk,
            "fetch",
            lambda kind, ids, names: (fetched.append(len(ids)), real(kind, ids, names))[1],
        )
        for _ in range(10):
            rows.open([opening(), opening()])

        assert len(list(walk.read(walk.links(rows.lane.id), lanes.COLUMNS))) == 10

        assert fetched == [4] * 5


class TestColumns:
    def test_are_those_that_the_lane_names(self):
        lanes.begin("web1")

        assert walk.columns(Lane.objects.get().statement) == lanes.COLUMNS

    @pytest.mark.parametrize(
        "statement",
        [
            "",
            "[]",
            "{}",
            '{"columns": {"o": ["state"]}}',
            orjson.dumps(
                {"columns": {**lanes.COLUMNS, "o": ["id FROM auth_user; --"]}},
                option=orjson.OPT_NON_STR_KEYS,
            ).decode(),
        ],
    )
    def test_that_are_none_never_become_sql(self, statement):
        assert walk.columns(statement) is None


class TestSnapshot:
    def test_stays_as_it_was_and_holds_up_nobody(self, rows):
        rows.open([opening()])

        with walk.snapshot():
            before = InferenceRecord.objects.count()
            thread = threading.Thread(target=self.write_more)
            thread.start()
            thread.join(5)
            during = InferenceRecord.objects.count()

        assert not thread.is_alive()
        assert (before, during, InferenceRecord.objects.count()) == (1, 1, 2)

    def write_more(self):
        Chained().open([opening()])
        connection.close()


class TestLoose:
    def test_is_empty_for_a_log_as_it_was_written(self):
        write_log(random.Random(1), records=20)

        assert list(walk.loose(InferenceRecord.objects.all())) == []
        assert list(walk.loose_events()) == []

    def test_names_a_record_without_an_entry(self, rows):
        rows.open([opening()])
        (record,) = InferenceRecord.objects.all()
        record.pk = opening()["id"]
        record.save(force_insert=True)

        (loose,) = walk.loose(InferenceRecord.objects.all())

        assert (loose.what, loose.record) == ("record", record.pk.hex)


class TestStandsIn:
    def test_wants_the_subject_and_the_kind(self, rows):
        row = opening()
        rows.open([row])
        link = walk.links_of([Link.objects.get().pk])[Link.objects.get().pk]

        assert walk.stands_in(link, row["id"].hex, walk.OPENINGS)
        assert not walk.stands_in(link, row["id"].hex, walk.CLOSINGS[:2])
        assert not walk.stands_in(link, opening()["id"].hex, walk.OPENINGS)
        assert not walk.stands_in(None, row["id"].hex, walk.OPENINGS)
