"""Promises of gateway/audit/chain/formats.py: the format to the byte, as in docs/adr/0015."""

import hashlib
import hmac
import json
import struct
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.chain import formats
from gateway.audit.chain.formats import Entry, Head, Kind

SALT = "000102030405060708090a0b0c0d0e0f"
SUBJECT = UUID("01a20739-daaf-7579-92af-f847a39df049")
KEY = bytes(range(32))
VALUES = ("answered", None, 0.1, True, 3, datetime(2026, 11, 23, 10, tzinfo=UTC), 'ü\n"\x01')

# The vectors of docs/adr/0015. A change here breaks every log that was ever written.
FACTS = '["answered",null,"0.1",1,3,"2026-11-23 10:00:00.000000","ü\\n\\"\\u0001"]'
TO_FACTS = "6fe7b0b9527fc5bb54eb93ebd2486ffb79fd40482404d3db5effcfde1ed80630"
TO_CONTENT = "e9a58be637ed73a90c57182eaf3ab135238420d3eb561b4c920444ae5783d5a6"
HEAD = "00000003000000110006613f1f866800000100010002"
TAG = "438c88414d92c09ba2cfdb33b1228874"
STATEMENT = (
    '{"auditor":"aa","columns":{"o":["state"]},"enclave":"lane 1","ephemeral":"bb","lane":3,'
    '"process":"web","started_at":"2026-11-23 10:00:00.000000"}'
)
GENESIS = "238d1a2d1e5bd016e23fbf44bbadc387f2ba8fccaaf4422ae97d9b5e8f439f65"
LINK = "4cdb7ef7cbe7e2abf33be7ff0030fcf7ffb46fd4698bf2926fcf3598422a40dd"
FIRST_KEY = "47f6d97d8520af0c5dd5ba270ac0caecb4e4ef8e588db5a440651cfa41f19578"
NEXT_KEY = "256305335c1cf4613a6cce30a38247c6831ea7fd32c993102f8fdad8a34a1292"
CHECKPOINT = (
    '{"at":"2026-11-23 10:00:30.000000","enclave":"checkpoint 1",'
    f'"heads":[[3,17,"{GENESIS}"]],"number":2,"previous":"{"00" * 32}"'
    "}"
)
DIGEST = "3fa7b821c58c46b7ddb366aca6ff517678cd17d3671e45ed46293cfaae3be411"


def body():
    return formats.pack_entry(
        Kind.CLOSED, SUBJECT, bytes.fromhex(TO_FACTS), bytes.fromhex(TO_CONTENT)
    )


def head():
    return Head(3, 17, 1_795_773_600_000_000, (2,), 1).packed()


class TestVectors:
    def test_facts(self):
        text = formats.facts_text([formats.plain(value) for value in VALUES])

        assert text.decode() == FACTS
        assert formats.commit_to_facts(SALT, text).hex() == TO_FACTS

    def test_content(self):
        assert formats.commit_to_content(SALT, '{"text":"ü"}').hex() == TO_CONTENT
        assert formats.commit_to_content(SALT, None) == bytes(32)

    def test_entry(self):
        assert body().hex() == "63" + SUBJECT.hex + TO_FACTS + TO_CONTENT
        assert head().hex() == HEAD
        assert [tag.hex() for tag in formats.tags(KEY, head(), [body()])] == [TAG]

    def test_lane(self):
        statement = formats.lane_statement(
            lane=3,
            process="web",
            started_at="2026-11-23 10:00:00.000000",
            columns={Kind.OPENED: ["state"]},
            auditor="aa",
            ephemeral="bb",
        )

        assert statement == STATEMENT
        assert formats.genesis(statement).hex() == GENESIS
        assert formats.first_key(bytes(32), statement).hex() == FIRST_KEY

    def test_link(self):
        entries = body() + bytes.fromhex(TAG)

        assert formats.link_hash(bytes.fromhex(GENESIS), head(), entries).hex() == LINK
        assert formats.next_key(KEY).hex() == NEXT_KEY

    def test_checkpoint(self):
        statement = formats.checkpoint_statement(
            number=2,
            at="2026-11-23 10:00:30.000000",
            previous="00" * 32,
            heads=[(3, 17, bytes.fromhex(GENESIS))],
        )

        assert statement == CHECKPOINT
        assert formats.checkpoint_digest(statement) == DIGEST


class TestPlain:
    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_number_is_one_text_that_means_it(self, value):
        assert float(formats.plain(value)) == value

    def test_time_is_utc_with_all_its_microseconds(self):
        moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))

        assert formats.plain(moment) == "2026-01-02 01:04:05.000006"

    @given(st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53), st.text())))
    def test_facts_are_what_any_json_writer_makes_of_them(self, values):
        """A verifier of somebody else's need not know ours."""
        told = json.dumps(values, ensure_ascii=False, separators=(",", ":"))

        assert formats.facts_text(values) == told.encode()

    def test_facts_of_half_a_character_are_refused(self):
        with pytest.raises(TypeError):
            formats.facts_text(["\ud800"])


class TestCommitments:
    def test_need_the_salt(self):
        other = SALT[:-1] + "0"

        assert formats.commit_to_facts(other, FACTS.encode()).hex() != TO_FACTS
        assert formats.commit_to_content(other, '{"text":"ü"}').hex() != TO_CONTENT

    def test_to_facts_and_content_are_never_the_same(self):
        assert formats.commit_to_facts(SALT, b"x") != formats.commit_to_content(SALT, "x")


class TestTags:
    @given(st.binary(min_size=32, max_size=32), st.lists(st.binary(max_size=90), max_size=5))
    def test_are_hmacs(self, key, bodies):
        """Ours are computed block by block, which is quicker for many."""
        expected = [
            hmac.digest(key, head() + struct.pack(">H", index) + one, hashlib.sha256)[:16]
            for index, one in enumerate(bodies)
        ]

        assert formats.tags(key, head(), bodies) == expected

    def test_know_their_place(self):
        here, there = formats.tags(KEY, head(), [body(), body()])

        assert here != there


class TestEntries:
    def test_come_back_as_they_were_packed(self):
        tagged = body() + bytes.fromhex(TAG)

        (entry,) = formats.unpack_entries(tagged)

        assert entry == Entry(
            "c",
            SUBJECT.hex,
            bytes.fromhex(TO_FACTS),
            bytes.fromhex(TO_CONTENT),
            bytes.fromhex(TAG),
        )
        assert formats.unpack_bodies(tagged * 2) == [body(), body()]

    @pytest.mark.parametrize("damage", [b"x", b"\xff" * 97])
    def test_that_are_damaged_are_refused(self, damage):
        with pytest.raises((struct.error, UnicodeDecodeError)):
            formats.unpack_entries(damage)

    def test_lost_come_back_as_they_were_packed(self):
        assert formats.unpack_lost(formats.pack_lost([0, 2, 499])) == (0, 2, 499)


class TestLinkId:
    def test_sorts_by_lane_and_then_by_number(self):
        ids = [formats.link_id(1, 1), formats.link_id(1, 2**32 - 1), formats.link_id(2, 1)]

        assert ids == sorted(ids)
        assert formats.lane_and_number(ids[1]) == (1, 2**32 - 1)
