"""Promises of gateway/audit/chain/proof.py; that it can be verified: test_tampering.py."""

import random

import orjson
import pytest

from gateway.audit.chain import guards, proof
from gateway.audit.models import InferenceContent, InferenceRecord
from gateway.ids import new_id
from scripts.verify_audit_log import Verifier
from tests.gateway.audit.chain.tampering import write_log
from tests.gateway.audit.chain.test_verify import serve
from tests.gateway.audit.test_store import Chained

pytestmark = pytest.mark.django_db(transaction=True)


def told():
    """Return what the lines say: (what, said)."""
    first, *rest = map(orjson.loads, proof.lines(with_content=True))
    assert first["enclave"] == "proof 1"
    return [next(iter(line.items())) for line in rest]


class TestLines:
    def test_come_in_the_order_that_one_reading_needs(self):
        write_log(random.Random(1), records=20, erased=2, purged=4)

        kinds = [what for what, _ in told()]

        steps = [kind for index, kind in enumerate(kinds) if index == 0 or kinds[index - 1] != kind]
        assert steps[:2] == ["event", "checkpoint"]
        assert set(steps[2:]) == {"lane", "link"}

    def test_carry_the_text_that_was_committed_to(self):
        record = serve(Chained(), user_id="Zoë")

        entries = [entry for what, said in told() if what == "link" for entry in said["entries"]]

        assert [entry["kind"] for entry in entries] == ["o", "g"]
        assert {entry["subject"] for entry in entries} == {record.pk.hex}
        assert '"Zoë"' in entries[0]["found"]["facts"]
        assert orjson.loads(entries[1]["found"]["content"])["text"] == "done"

    def test_name_what_no_link_vouches_for(self):
        record = serve(Chained())
        record.pk = new_id()
        record.save(force_insert=True)

        assert told()[-1] == ("loose", {"id": record.pk.hex, "what": "record"})


class TestWithoutContent:
    def test_holds_no_prompt_and_no_answer(self):
        serve(Chained(), request='{"prompt": "canary"}')

        text = b"".join(proof.lines(with_content=False))

        assert b"canary" not in text
        assert b"done" not in text

    def test_can_be_verified_but_for_the_content(self):
        serve(Chained())
        lanes = [said for what, said in told() if what == "lane"]
        with guards.lifted():
            InferenceContent.objects.all().delete()
            InferenceRecord.objects.update(user_id="somebody else")
        verifier = Verifier({lanes[0]["key"]}, None, [])

        verifier.read(line.decode() for line in proof.lines(with_content=False))

        assert [sign for sign, _, _ in verifier.signs] == ["record_changed"]
