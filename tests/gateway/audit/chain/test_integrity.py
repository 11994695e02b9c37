"""Promises of gateway/audit/chain/integrity.py."""

import pytest
from django.utils import timezone

from gateway.audit.chain import anchors, checkpoints, guards, removal
from gateway.audit.chain.integrity import Cover, integrity_of
from gateway.audit.chain.verify import Sign
from gateway.audit.models import ContentKind, InferenceContent, InferenceRecord
from gateway.audit.writer import Writer
from gateway.ids import new_id
from tests.gateway.audit.chain.test_verify import serve
from tests.gateway.audit.test_store import Chained, closed, opening

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rows():
    return Chained()


@pytest.fixture
def record(rows):
    return serve(rows)


def edit(record, **facts):
    with guards.lifted():
        InferenceRecord.objects.filter(pk=record.pk).update(**facts)


class TestCover:
    def test_grows_with_what_vouches_for_the_record(self, record, settings, tmp_path):
        settings.GATEWAY_AUDIT_ANCHORS = [f"file://{tmp_path}/outside.log"]

        assert integrity_of(record.pk).cover is Cover.NOT_YET
        number = checkpoints.write(now=timezone.now()).number
        assert integrity_of(record.pk).cover is Cover.SIGNED
        anchors.deliver()
        seen = integrity_of(record.pk)

        assert (seen.cover, seen.checkpoint, seen.signs) == (Cover.ANCHORED, number, ())

    def test_is_that_of_the_closing(self, rows):
        row = opening()
        rows.open([row])
        checkpoints.write(now=timezone.now())
        assert integrity_of(row["id"]).cover is Cover.SIGNED

        rows.close([closed(row) | {"worker": None}])

        assert integrity_of(row["id"]).cover is Cover.NOT_YET

    def test_is_not_a_place_that_is_no_longer_set(self, record, settings, tmp_path):
        settings.GATEWAY_AUDIT_ANCHORS = [f"file://{tmp_path}/outside.log"]
        checkpoints.write(now=timezone.now())
        anchors.deliver()

        settings.GATEWAY_AUDIT_ANCHORS = []

        assert integrity_of(record.pk).cover is Cover.SIGNED


class TestSigns:
    def test_are_none_for_a_refusal(self, rows):
        row = opening(state="refused", request=None)
        rows.open([row])

        assert integrity_of(row["id"]).signs == ()

    @pytest.mark.parametrize(
        ("facts", "sign"),
        [
            ({"user_id": "somebody else"}, Sign.RECORD_CHANGED),
            ({"completion_tokens": 9}, Sign.OUTCOME_CHANGED),
            ({"opened_link": None}, Sign.RECORD_INSERTED),
            ({"closed_link": 7}, Sign.OUTCOME_INSERTED),
        ],
    )
    def test_tell_what_was_changed(self, record, facts, sign):
        edit(record, **facts)

        assert integrity_of(record.pk).signs == (sign,)

    def test_tell_that_a_text_was_changed_or_is_gone(self, record):
        contents = InferenceContent.objects.filter(record_id=record.pk)
        with guards.lifted():
            contents.filter(kind=ContentKind.REQUEST).update(body="{}")
            contents.filter(kind=ContentKind.ANSWER).delete()

        assert integrity_of(record.pk).signs == (Sign.CONTENT_CHANGED, Sign.CONTENT_REMOVED)

    def test_are_none_for_what_was_lawfully_erased(self, record):
        writer = Writer("dpo")
        writer.start()
        removal.erase([record.pk], by="dpo", reason="asked", writer=writer)
        writer.stop()

        assert integrity_of(record.pk).signs == ()

    def test_tell_of_a_record_that_was_put_in(self, record):
        record.pk = new_id()
        record.save(force_insert=True)

        assert integrity_of(record.pk).signs == (Sign.RECORD_INSERTED, Sign.OUTCOME_INSERTED)


class TestCost:
    def test_is_a_few_queries(self, record, django_assert_max_num_queries):
        checkpoints.write(now=timezone.now())

        with django_assert_max_num_queries(10):
            integrity_of(record.pk)

    def test_of_nothing_is_an_error(self):
        with pytest.raises(InferenceRecord.DoesNotExist):
            integrity_of(new_id())
