"""Promises of gateway/audit/contentindex.py, on SQLite and on PostgreSQL."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection

from gateway.audit import contentindex
from gateway.audit.contentindex import Entry, Query, key_of, normalized, place_of, words_of
from gateway.audit.criteria import UnreadableCriteria
from gateway.ids import new_id

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def put(text, at=NOON, **facts):
    """Index a text as a record's content; return the record's id."""
    entry = Entry(record_id=new_id(), opened_at=at, words=words_of([{"text": text}]))
    contentindex.add([entry], **facts)
    return entry.record_id


def find(text, **bounds):
    """Return the ids of the records that are found, and the whole answer."""
    open_ended = {"since": None, "until": None, "before": None, "after": None, "limit": 100}
    hits = contentindex.find(text, **{**open_ended, **bounds})
    with connection.cursor() as cursor:
        cursor.execute(hits.sql, hits.values)
        return [UUID(str(row[0])) for row in cursor.fetchall()]


class TestWords:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("def user_id(self):", "def user id self"),
            ("foo.bar-baz/Qux", "foo bar baz qux"),
            ("STRASSE Straße ﬁn", "strasse strasse fin"),
            ("東京 abc", "東 京 abc"),
            ("a\x00b\u202ec\x1b[31m", "a b c 31m"),
            ("<script>alert('x')</script>", "script alert x script"),
            ("x" * 70, "x" * 64),
            ("", ""),
            ("!?", ""),
        ],
    )
    def test_are_letters_and_digits_in_one_form(self, text, words):
        assert normalized(text) == words

    def test_of_a_record_are_everything_somebody_said_once(self):
        request = {
            "inputs": {"prefix": "count sheep", "cut": "all of this"},
            "prompt": {"messages": [{"role": "user", "content": "Please count sheep now"}]},
        }

        words = words_of([request, {"text": "one, two", "finish_reason": "stop"}])

        assert words == "please count sheep now all of this one two"

    def test_of_many_messages_are_found_in_no_time(self):
        messages = [{"content": f"message {number} " + "x " * 300} for number in range(5_000)]

        began = time.perf_counter()
        words_of([{"prompt": {"messages": messages}}])

        assert time.perf_counter() - began < 1

    def test_of_a_very_long_text_are_those_of_its_beginning(self):
        words = words_of([{"text": "a " * contentindex.INDEXED_MAX}])

        assert len(words) < contentindex.INDEXED_MAX


class TestQuery:
    def test_is_words_phrases_and_words_that_must_not_be_there(self):
        query = Query.read('user_id "the end" -draft -"not this"')

        assert query == Query(wanted=("user id", "the end"), unwanted=("draft", "not this"))

    @pytest.mark.parametrize("text", ["", "  ", "!!", "-draft", '""', "-", '"'])
    def test_needs_a_word(self, text):
        with pytest.raises(UnreadableCriteria, match="no word"):
            Query.read(text)


class TestKey:
    def test_sorts_by_time_and_leads_back(self):
        ids = [new_id() for _ in range(3)]
        keys = [key_of(NOON + timedelta(microseconds=n), pk) for n, pk in enumerate(ids)]

        assert keys == sorted(keys)
        assert key_of(*place_of(keys[1])) == keys[1]
        assert place_of(keys[1])[0] == NOON + timedelta(microseconds=1)

    def test_fits_into_the_databases_for_two_centuries(self):
        assert key_of(datetime(2226, 1, 1, tzinfo=UTC), UUID(int=2**128 - 1)) < 2**63


@pytest.mark.django_db
class TestFind:
    def test_finds_words_phrases_and_parts_of_identifiers(self):
        wanted = put("def total_price(basket): return 1")
        put("something else entirely")

        for text in ("price", "TOTAL", "total_price", '"price basket"', "basket -else", "1"):
            assert find(text) == [wanted]
        for text in ('"basket price"', "pric", "price -basket", "price entirely"):
            assert find(text) == []

    def test_finds_a_part_of_a_sentence_without_spaces(self):
        wanted = put("東京都に行く")

        assert find("京都") == [wanted]
        assert find("都京") == []

    def test_begins_with_the_newest_and_goes_no_further_than_the_limit(self):
        ages = [timedelta(days=40), timedelta(0), timedelta(hours=5), timedelta(days=3)]
        by_age = dict(sorted((age, put("needle", NOON - age)) for age in ages))

        newest = list(by_age.values())

        assert find("needle")[:3] == newest[:3]
        assert find("needle", limit=2) == newest[:2]

    def test_keeps_to_a_time_and_to_one_side_of_a_place(self):
        times = [NOON - timedelta(hours=n) for n in range(5)]
        ids = [put("needle", at) for at in times]

        assert find("needle", since=times[3], until=times[1]) == ids[1:4]
        assert find("needle", before=key_of(times[1], ids[1])) == ids[2:]
        assert find("needle", after=key_of(times[2], ids[2])) == ids[1::-1]

    @pytest.mark.parametrize("year", [1, 1969, 9999])
    def test_takes_any_time(self, year):
        put("needle")
        at, is_past = NOON.replace(year=year), year < 2000

        assert len(find("needle", since=at)) == is_past
        assert len(find("needle", until=at)) == (not is_past)
        assert len(find("needle", before=key_of(at, UUID(int=0)))) == (not is_past)
        assert len(find("needle", after=key_of(at, UUID(int=0)))) == is_past

    @pytest.mark.parametrize(
        "text",
        ['"', "a OR b", "NEAR(a b)", "words:x", "*", "a*", "'; --", "a & !b", "$$", "(", "h:1"],
    )
    def test_takes_the_languages_of_the_databases_for_words(self, text):
        put("a b words x or near h 1")

        try:
            assert len(find(text)) <= 1
        except UnreadableCriteria:
            assert normalized(text) == ""

    def test_says_how_many_there_are(self):
        for _ in range(3):
            put("needle")
        hits = contentindex.find("needle", since=None, until=None, before=None, after=None, limit=1)

        with connection.cursor() as cursor:
            cursor.execute(hits.count, hits.counted)
            assert len(cursor.fetchall()) == 3

    def test_reaches_everything_in_steps_where_the_index_has_no_order(self):
        first = put("needle", NOON - timedelta(days=100))
        put("hay", NOON)
        found, place = [], None

        for _ in range(6):
            hits = contentindex.find(
                "needle", since=None, until=None, before=place, after=None, limit=9
            )
            found += find("needle", before=place, limit=9)
            if hits.edge is None:
                break
            place = hits.edge

        assert found == [first]


@pytest.mark.django_db
class TestRows:
    def test_stand_beside_each_other_where_their_keys_are_the_same(self):
        ids = [UUID(int=number << 20) for number in range(3)]
        assert len({key_of(NOON, pk) for pk in ids}) == 1
        for number, pk in enumerate(ids):
            entry = Entry(record_id=pk, opened_at=NOON, words=f"needle {number}")
            contentindex.add([entry], taken=contentindex.indexed(NOON, NOON))

        assert set(find("needle")) == set(ids)
        assert set(contentindex.indexed(NOON, NOON).values()) == set(ids)

    def test_are_gone_when_they_are_forgotten(self):
        pk, other = put("needle"), put("needle")

        contentindex.forget([(pk, NOON)])

        assert find("needle") == [other]

    def test_of_a_record_whose_key_was_moved_are_forgotten_too(self):
        ids = [UUID(int=number << 20) for number in range(2)]
        for pk in ids:
            entry = Entry(record_id=pk, opened_at=NOON, words="needle")
            contentindex.add([entry], taken=contentindex.indexed(NOON, NOON))

        contentindex.forget([(ids[1], NOON)])

        assert find("needle") == ids[:1]
