"""Promises of gateway/audit/chain/lanes.py."""

import time
from datetime import timedelta

import orjson
import pytest
from django.db import IntegrityError
from django.utils import timezone

from gateway.audit.chain import formats, keys, lanes
from gateway.audit.chain.formats import Kind
from gateway.audit.models import InferenceRecord, Lane, LaneHead
from gateway.audit.records import Outcome, closing
from gateway.audit.store import BLANK
from tests.gateway.audit.test_store import opening

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lane():
    return lanes.begin("web1")


def close_of(row, **facts):
    return closing(row["id"], Outcome(state="answered", answer="done"), worker=None, **facts)


def entries_of(link):
    return formats.unpack_entries(link.entries)


class TestBegin:
    def test_is_signed_and_says_what_its_entries_will_commit_to(self, lane):
        row = Lane.objects.get()

        said = orjson.loads(row.statement)
        trusted = {keys.public_text(keys.signing_key())}
        assert keys.is_signed(
            row.statement, row.signature, signed_by=row.signed_by, trusted=trusted
        )
        assert (said["lane"], said["process"]) == (lane.id, "web1")
        assert said["columns"] == {str(kind): list(names) for kind, names in lanes.COLUMNS.items()}

    def test_is_noted_for_the_next_checkpoint(self, lane):
        assert list(LaneHead.objects.values_list("lane", "number")) == [(lane.id, -1)]

    def test_takes_the_next_number_when_another_process_was_quicker(self, monkeypatch):
        real = lanes._begin
        taken = []

        def begin_late(number, process_id):
            if not taken:
                taken.append(real(number, "quicker"))
            return real(number, process_id)

        monkeypatch.setattr(lanes, "_begin", begin_late)

        lane = lanes.begin("slower")

        assert lane.id == taken[0].id + 1

    def test_gives_up_at_last(self, monkeypatch):
        def refuse(*_):
            raise IntegrityError

        monkeypatch.setattr(lanes, "_begin", refuse)

        with pytest.raises(IntegrityError, match="after 20 attempts"):
            lanes.begin("web1")


class TestColumns:
    def test_leave_out_nothing_but_the_way_to_the_chain(self):
        covered = {*lanes.COLUMNS[Kind.OPENED], *lanes.COLUMNS[Kind.CLOSED]}

        assert set(BLANK) - covered == {
            *("id", "opened_link", "closed_link", "opening_salt", "outcome_salt")
        }
        assert set(lanes.COLUMNS[Kind.WRITTEN]) == covered - {"claimed_at", "worker_process"}
        assert set(lanes.COLUMNS[Kind.GIVEN_UP]) == (
            set(lanes.COLUMNS[Kind.CLOSED]) - {"claimed_at", "worker_process"}
        )


class TestOpened:
    def test_enters_each_record_under_salts_of_its_own(self, lane):
        rows = [opening(), opening(state="refused", request=None)]

        link = lane.opened(rows)

        assert [entry.kind for entry in entries_of(link)] == ["o", "w"]
        assert [entry.subject for entry in entries_of(link)] == [row["id"].hex for row in rows]
        assert [row["opened_link"] for row in rows] == [link.id, link.id]
        assert [row["closed_link"] for row in rows] == [None, link.id]
        salts = [row[name] for row in rows for name in ("opening_salt", "request_salt")]
        assert len({*salts}) == 4
        assert {len(salt) for salt in salts} == {32}

    def test_commits_to_what_the_row_says(self, lane):
        row = opening(user_id="Zoë", queue_ms=3)

        (entry,) = entries_of(lane.opened([row]))

        names = lanes.COLUMNS[Kind.OPENED]
        text = formats.facts_text([formats.plain(row[name]) for name in names])
        assert entry.facts == formats.commit_to_facts(row["opening_salt"], text)
        assert entry.content == formats.commit_to_content(row["request_salt"], row["request"])


class TestClosed:
    def test_commits_to_the_claim_where_its_holder_closes(self, lane):
        row = opening()
        by_holder = closing(
            row["id"], Outcome(state="failed"), worker="v1", claimed_at=timezone.now()
        )

        (entry,) = entries_of(lane.closed([by_holder]))

        assert entry.kind == "c"
        assert by_holder["worker_process"] == "v1"
        assert entry.content == formats.NO_CONTENT

    def test_does_not_where_another_closes(self, lane):
        (entry,) = entries_of(lane.closed([close_of(opening())]))

        assert entry.kind == "g"

    def test_takes_a_whole_number_for_the_fraction_that_it_will_be(self, lane):
        """The database gives 12.0 back for 12."""
        whole, fraction = (
            closing(opening()["id"], Outcome(state="failed", total_ms=ms), worker=None)
            for ms in (12, 12.0)
        )
        fraction["closed_at"] = whole["closed_at"]

        texts = [lanes._facts(Kind.GIVEN_UP, row) for row in (whole, fraction)]

        assert texts[0] == texts[1]


class TestLinks:
    def test_follow_each_other(self, lane):
        genesis = lane.hash

        first, second = lane.opened([opening()]), lane.opened([opening()])

        assert [formats.lane_and_number(link.id) for link in (first, second)] == [
            (lane.id, 1),
            (lane.id, 2),
        ]
        for previous, link, number in ((genesis, first, 1), (first.hash, second, 2)):
            head = formats.Head(lane.id, number, link.at, (), 1).packed()
            assert link.hash == formats.link_hash(previous, head, link.entries)

    def test_have_a_key_each_and_the_lane_forgets_it(self, lane):
        key = lane.key

        link = lane.opened([opening()])

        head = formats.Head(lane.id, 1, link.at, (), 1).packed()
        (entry,) = entries_of(link)
        assert [entry.tag] == formats.tags(key, head, formats.unpack_bodies(link.entries))
        assert lane.key == formats.next_key(key)

    def test_say_which_closes_of_the_one_before_came_too_late(self, lane):
        rows = [close_of(opening()) for _ in range(3)]
        lane.closed(rows)

        lane.lose(rows, {rows[1]["id"]})
        following, after = lane.opened([opening()]), lane.opened([opening()])

        assert formats.unpack_lost(following.lost) == (0, 2)
        assert formats.unpack_lost(after.lost) == ()

    def test_keep_their_order_when_the_clock_is_set_back(self, lane, monkeypatch):
        first = lane.opened([opening()])
        earlier = time.time_ns() - 3_600_000_000_000
        monkeypatch.setattr(time, "time_ns", lambda: earlier)

        second = lane.opened([opening()])

        assert second.at == first.at


class TestCopy:
    def test_can_be_thrown_away(self, lane):
        before = lane.copy()

        lane.copy().opened([opening()])

        assert lane == before


class TestAge:
    def test_ends_a_lane_after_a_day(self, lane):
        assert not lane.is_old()

        lane.began_at -= timedelta(hours=25).total_seconds()

        assert lane.is_old()


class TestFacts:
    def test_are_the_same_when_the_record_is_read_again(self, lane):
        row = opening(is_streamed=True, api_key_id=7, model_id=None)
        InferenceRecord.objects.create(**{name: row[name] for name in BLANK})
        record = InferenceRecord.objects.get()

        again = [formats.plain(getattr(record, name)) for name in lanes.COLUMNS[Kind.OPENED]]

        assert lanes._facts(Kind.OPENED, row) == formats.facts_text(again)
