"""Promises of gateway/audit/listing.py, on SQLite and on PostgreSQL."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from gateway.audit import contentindex, indexing, listing, specimens
from gateway.audit.chain import guards
from gateway.audit.criteria import Criteria
from gateway.audit.listing import Place, everything, page
from gateway.audit.models import InferenceContent, InferenceRecord
from gateway.ids import new_id
from tests.gateway.audit.conftest import make_record

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def make(count, **facts):
    """Return as many records, newest first, a second apart."""
    return [
        make_record(opened_at=NOON - timedelta(seconds=number), **facts) for number in range(count)
    ]


def ids(records):
    return [record.pk for record in records]


def leaf_through(criteria=None, *, size=3, **options):
    """Return the pages from the newest to the oldest."""
    pages = [page(criteria or Criteria(), size=size, **options)]
    while pages[-1].older:
        pages.append(page(criteria or Criteria(), before=pages[-1].older, size=size, **options))
    return pages


class TestPage:
    def test_shows_the_newest_first(self):
        records = make(3)

        assert ids(page(Criteria()).records) == ids(records)

    def test_leads_through_all_records_and_back(self):
        records = make(8)

        forth = leaf_through()
        back = [forth[-1]]
        while back[-1].newer:
            back.append(page(Criteria(), after=back[-1].newer, size=3))

        assert [ids(one.records) for one in forth] == [ids(records[n : n + 3]) for n in (0, 3, 6)]
        assert ids(back[1].records) == ids(records[3:6])
        assert ids(back[2].records) == ids(records[:3])
        assert back[2].newer is None

    def test_parts_records_of_the_same_microsecond(self):
        records = sorted((make_record(opened_at=NOON) for _ in range(7)), key=lambda r: r.pk)

        shown = [pk for one in leaf_through() for pk in ids(one.records)]

        assert shown == ids(records)[::-1]

    def test_keeps_its_place_while_new_calls_come(self):
        records = make(6)
        first = page(Criteria(), size=3)
        make_record(opened_at=NOON + timedelta(seconds=9))

        assert ids(page(Criteria(), before=first.older, size=3).records) == ids(records[3:])

    def test_is_empty_where_there_is_nothing(self):
        empty = page(Criteria())

        assert (list(empty.records), empty.older, empty.newer, empty.count) == ([], None, None, 0)

    @pytest.mark.parametrize(
        "criteria",
        [
            Criteria(),
            Criteria(user="user-7"),
            Criteria(model="Codestral 22B"),
            Criteria(group="payments/core", model="Codestral 22B"),
        ],
    )
    def test_says_how_many_there_are_on_the_first_page(self, criteria):
        make(4)

        first = page(criteria, size=3)

        assert (first.count, first.has_more) == (4, False)
        assert page(criteria, before=first.older, size=3).count is None

    @pytest.mark.parametrize("criteria", [Criteria(), Criteria(user="user-7")])
    def test_counts_no_further_than_a_person_can_use(self, criteria, monkeypatch):
        monkeypatch.setattr(listing, "COUNT_MAX", 5)
        make(8)

        found = page(criteria, size=3)

        assert (found.count, found.has_more) == (5, True)

    def test_fetches_only_what_the_list_shows(self):
        make(1)

        record = page(Criteria()).records[0]

        assert "policy" in record.get_deferred_fields()
        assert "model_name" not in record.get_deferred_fields()


class TestWalk:
    """A filter that no index answers: the page looks at a bounded number of records."""

    @pytest.fixture
    def records(self):
        return [*make(4), make_record(opened_at=NOON - timedelta(hours=1), model_name="rare")]

    def test_ends_where_the_bound_is_and_says_how_far_it_came(self, records):
        found = page(Criteria(model="rare"), walk_max=2)

        assert list(found.records) == []
        assert found.looked_back_to == records[1].opened_at
        assert (found.count, found.has_more) == (0, True)

    def test_goes_on_from_there_until_it_finds(self, records):
        pages = leaf_through(Criteria(model="rare"), walk_max=2)

        assert [ids(one.records) for one in pages] == [[], [], ids(records[4:])]
        assert pages[-1].looked_back_to is None

    def test_says_more_where_it_counted_only_a_part(self, records):
        found = page(Criteria(model="Codestral 22B"), size=1, walk_max=2)

        assert (found.count, found.has_more, found.looked_back_to) == (2, True, None)

    def test_goes_back_up_the_same_way(self, records):
        last = leaf_through(Criteria(model="Codestral 22B"), size=3, walk_max=3)[-1]
        shown = list(last.records)

        while last.newer:
            last = page(Criteria(model="Codestral 22B"), after=last.newer, size=3, walk_max=3)
            shown = [*last.records, *shown]

        assert ids(shown)[:4] == ids(records[:4])


class TestGroupedByCorrelationId:
    @pytest.fixture
    def records(self):
        """Newest first: c, b, a, b, one without, a."""
        names = ("c", "b", "a", "b", "", "a")
        return [
            make_record(opened_at=NOON - timedelta(seconds=number), correlation_id=name)
            for number, name in enumerate(names)
        ]

    def test_shows_the_newest_of_each_and_how_many_there_are(self, records):
        shown = page(Criteria(), is_grouped=True).records

        assert ids(shown) == [records[n].pk for n in (0, 1, 2, 4)]
        assert [record.calls for record in shown] == [1, 2, 2, 1]

    def test_shows_none_twice_on_later_pages(self, records):
        pages = leaf_through(size=2, is_grouped=True)

        assert [ids(one.records) for one in pages] == [
            [records[0].pk, records[1].pk],
            [records[2].pk, records[4].pk],
        ]

    def test_shows_the_newest_of_those_that_fit(self, records):
        with guards.lifted():
            InferenceRecord.objects.filter(pk=records[2].pk).update(state="failed")

        shown = page(Criteria(state="answered"), is_grouped=True).records

        assert ids(shown) == [records[n].pk for n in (0, 1, 4, 5)]

    def test_counts_no_more_calls_than_a_person_can_use(self, monkeypatch):
        make(listing.CALLS_MAX + 5, correlation_id="same")

        (record,) = page(Criteria(), is_grouped=True).records

        assert record.calls == listing.CALLS_MAX + 1


class TestWords:
    @pytest.fixture
    def records(self):
        records = make(6, question="a needle", answer="yes")
        make(3, question="hay")
        make_record(question="needle", model_name="other", opened_at=NOON - timedelta(days=2))
        while indexing.step(None, now=timezone.now()).is_behind:
            pass
        return records

    def test_are_found_and_led_through_like_any_filter(self, records):
        pages = leaf_through(Criteria(words="needle", model="Codestral 22B"), size=4)

        assert [ids(one.records) for one in pages if one.records] == [
            ids(records[:4]),
            ids(records[4:]),
        ]
        assert page(Criteria(words="needle")).count == 7

    def test_lead_back_too(self, records):
        last = leaf_through(Criteria(words="needle", until=NOON), size=4)[-1]

        assert last.newer is not None
        up = page(Criteria(words="needle", until=NOON), after=last.newer, size=4)
        assert set(ids(up.records)) < set(ids(records)) | set(ids(last.records))

    def test_keep_to_the_time(self, records):
        since = NOON - timedelta(seconds=2)

        assert ids(page(Criteria(words="needle", since=since)).records) == ids(records[:3])


class TestEverything:
    def test_is_all_of_it_whole_and_oldest_first(self):
        records = make(7)

        chunks = list(everything(Criteria(), chunk=3))

        assert [len(chunk) for chunk in chunks] == [3, 3, 1]
        assert [pk for chunk in chunks for pk in ids(chunk)] == ids(records)[::-1]
        assert chunks[0][0].get_deferred_fields() == set()

    def test_goes_over_stretches_where_nothing_fits(self):
        wanted = make_record(opened_at=NOON - timedelta(hours=2), model_name="rare")
        make(30)
        also = make_record(opened_at=NOON + timedelta(hours=2), model_name="rare")

        found = [pk for chunk in everything(Criteria(model="rare"), chunk=2) for pk in ids(chunk)]

        assert found == [wanted.pk, also.pk]

    def test_keeps_to_the_criteria(self):
        make(3)
        wanted = make(2, group_path="legal")
        given = Criteria(group="legal", since=NOON - timedelta(seconds=1), until=NOON)

        assert [pk for chunk in everything(given) for pk in ids(chunk)] == ids(wanted)[::-1]


class TestPlace:
    def test_stands_in_an_address(self):
        place = Place(opened_at=NOON + timedelta(microseconds=7), record_id=new_id())

        assert Place.read(str(place)) == place

    @pytest.mark.parametrize("text", ["", "x", "20261123T120000.000000_x", "2026_\x00", "_" * 99])
    def test_that_is_none_is_a_value_error(self, text):
        with pytest.raises(ValueError):  # noqa: PT011  # whichever part it is
            Place.read(text)


# What an auditor may ask for, each alone and some together.
ASKED = [
    {},
    {"q": "made-up-x"},
    {"q": "0190a3c5-0000-7000-8000-000000000001"},
    {"user": "made-up-user-7"},
    {"key": "made-up key 7"},
    {"group": "made-up/group-7"},
    {"group": "made-up/"},
    {"model": "Mistral Small"},
    {"feature": "duo_chat"},
    {"feature": "duo_chat", "model": "none"},
    {"endpoint": "/v2/code/completions"},
    {"kind": "api_key"},
    {"state": "answered"},
    {"state": "failed"},
    {"state": "running"},
    {"cause": "backend_failed"},
    {"ms_from": 9e9},
    {"tokens_from": 9e9},
    {"since": NOON, "until": NOON + timedelta(hours=1)},
    {"words": "return word1"},
    {"words": "return", "model": "none"},
]


@pytest.fixture(scope="class")
def large_log(django_db_setup, django_db_blocker):
    """Some thousand records, so that a plan that scans would be a bad one; gone afterwards."""
    with django_db_blocker.unblock():
        with guards.lifted():
            InferenceRecord.objects.all().delete()
        now = timezone.now()
        for _ in specimens.generate(records=6_000, until=now, over=timedelta(days=60)):
            pass
        reached = None
        while (step := indexing.step(reached, now=now, batch=1_000)).is_behind:
            reached = step.reached
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":  # as its autovacuum does; SQLite never looks
                cursor.execute("ANALYZE")
        yield
        with guards.lifted():
            InferenceRecord.objects.all().delete()
            InferenceContent.objects.all().delete()
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {contentindex.INDEX}")  # noqa: S608


def plan_of(query):
    """Return how the database answers a statement that it was just asked."""
    word = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    with connection.cursor() as cursor:
        cursor.execute(word + query)
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def scans(plan):
    """Return the lines of a plan that read a whole table of records, content or words."""
    if connection.vendor == "sqlite":
        lines = [line for line in plan.splitlines() if line.startswith("SCAN")]
        # "USING INDEX" is a walk along an index, which a LIMIT ends.
        bare = [line for line in lines if "USING" not in line and "VIRTUAL TABLE" not in line]
        table = re.compile(r"SCAN (r|record|other|newer|audit_inference\w*)\b")
        found = [line for line in bare if table.match(line)]
        whole = [line for line in lines if "VIRTUAL TABLE INDEX 0:" in line and line.endswith(":")]
        return found + whole
    return [
        line
        for line in plan.splitlines()
        if "Seq Scan on audit_inference" in line or "Seq Scan on audit_contentindex" in line
    ]


class TestPlans:
    @pytest.mark.parametrize("grouped", [False, True])
    @pytest.mark.parametrize("asked", ASKED, ids=str)
    def test_scan_no_table_and_count_none(self, large_log, asked, grouped, monkeypatch):
        # As far from the size of the log as the real bounds are from that of a real one.
        monkeypatch.setattr(listing, "COUNT_MAX", 100)
        monkeypatch.setattr(listing, "HITS_WALK_MAX", 20)
        places = [None, Place(opened_at=timezone.now() - timedelta(days=30), record_id=new_id())]
        for place in places:
            with CaptureQueriesContext(connection) as queries:
                page(Criteria(**asked), before=place, is_grouped=grouped, walk_max=100)

            asking = [q["sql"] for q in queries if InferenceRecord._meta.db_table in q["sql"]]
            assert len(asking) == 1
            assert scans(plan_of(asking[0])) == []
            assert InferenceContent._meta.db_table not in asking[0]
            assert f"COUNT(*) FROM {InferenceRecord._meta.db_table}" not in asking[0]

    def test_would_show_a_scan(self, large_log):
        table = InferenceRecord._meta.db_table

        assert scans(plan_of(f"SELECT * FROM {table} AS r WHERE policy = 'x'")) != []  # noqa: S608
