"""Promises of gateway/audit/chain/removal.py: an event first, then the deletion."""

from datetime import timedelta
from uuid import UUID

import orjson
import pytest
from django.db import OperationalError
from django.utils import timezone

from gateway.audit import store
from gateway.audit.chain import guards, removal
from gateway.audit.models import Event, InferenceContent, InferenceRecord
from gateway.audit.writer import Writer
from gateway.errors import AuditUnavailable
from gateway.ids import first_id, new_id
from tests.gateway.audit.chain.test_verify import look, serve
from tests.gateway.audit.test_store import Chained, opening

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def writer():
    writer = Writer("retention")
    writer.start()
    yield writer
    writer.stop()


def old_id(days):
    """Return an id as it was made some days ago."""
    return UUID(int=first_id(before(days)).int | (new_id().int & ((1 << 80) - 1)))


@pytest.fixture
def records():
    """A closed record of each of three days, the oldest first; and one that is old and open."""
    rows = Chained()
    closed = [serve(rows, id=old_id(days)) for days in (30, 20, 10)]
    rows.open([opening(id=old_id(40))])
    return closed


def before(days):
    return timezone.now() - timedelta(days=days)


WHO = {"by": "dpo", "reason": "policy"}


class TestErase:
    def test_leaves_the_record_and_says_who_and_why(self, records, writer):
        removal.erase([records[0].pk], by="dpo", reason="Article 17", writer=writer)

        assert InferenceRecord.objects.filter(pk=records[0].pk).exists()
        assert not InferenceContent.objects.filter(record_id=records[0].pk).exists()
        event = Event.objects.get()
        assert (event.kind, event.by, event.record_id) == ("erased", "dpo", records[0].pk)
        assert orjson.loads(event.detail) == {"reason": "Article 17"}
        report = look()
        assert (report.findings, report.erased) == ([], 2)

    def test_excuses_no_other_record(self, records, writer):
        removal.erase([records[0].pk], writer=writer, **WHO)
        with guards.lifted():
            InferenceContent.objects.filter(record_id=records[1].pk).delete()

        assert {finding.record for finding in look().findings} == {records[1].pk.hex}


class TestExpire:
    def test_erases_old_content_but_what_is_to_be_kept(self, records, writer):
        removal.expire(before(15), keep=[records[1].pk], writer=writer, **WHO)

        left = set(InferenceContent.objects.values_list("record_id", flat=True))
        assert left == {records[1].pk, records[2].pk}
        assert InferenceRecord.objects.count() == 4
        assert look().findings == []

    def test_excuses_neither_what_is_kept_nor_what_is_younger(self, records, writer):
        removal.expire(before(15), keep=[records[1].pk], writer=writer, **WHO)
        with guards.lifted():
            InferenceContent.objects.all().delete()

        assert {finding.record for finding in look().findings} == {
            records[1].pk.hex,
            records[2].pk.hex,
        }


class TestPurge:
    def test_deletes_old_records_but_open_ones_and_those_to_be_kept(self, records, writer):
        removal.purge(before(15), keep=[records[1].pk], writer=writer, **WHO)

        left = InferenceRecord.objects.filter(closed_at__isnull=False)
        assert set(left.values_list("pk", flat=True)) == {records[1].pk, records[2].pk}
        assert InferenceRecord.objects.filter(closed_at__isnull=True).count() == 1
        report = look()
        assert (report.findings, report.purged) == ([], 1)

    def test_excuses_neither_what_is_kept_nor_what_is_younger(self, records, writer):
        removal.purge(before(15), keep=[records[1].pk], writer=writer, **WHO)
        left = InferenceRecord.objects.filter(closed_at__isnull=False)
        with guards.lifted():
            InferenceContent.objects.filter(record_id__in=left.values("pk")).delete()
            left.delete()

        assert {finding.record for finding in look().findings} == {
            records[1].pk.hex,
            records[2].pk.hex,
        }

    def test_goes_batch_by_batch(self, records, writer, monkeypatch):
        monkeypatch.setattr(removal, "BATCH", 1)

        removal.purge(before(5), keep=[], writer=writer, **WHO)

        assert InferenceRecord.objects.count() == 1
        assert look().findings == []


class TestOutage:
    def test_deletes_nothing_that_is_not_on_record(self, records, writer, monkeypatch):
        class Broken(store.Store):
            def note(self, *_):
                raise OperationalError

        monkeypatch.setattr(store, "for_connection", Broken)

        with pytest.raises(AuditUnavailable):
            removal.purge(before(5), keep=[], writer=writer, **WHO)

        assert InferenceRecord.objects.count() == 4

    def test_waits_no_longer_than_a_request(self, records, settings):
        settings.GATEWAY_AUDIT_TIMEOUT_S = 0.1

        with pytest.raises(AuditUnavailable):
            removal.erase([records[0].pk], writer=Writer("never started"), **WHO)

        assert InferenceContent.objects.filter(record_id=records[0].pk).exists()
