"""Promises of gateway/audit/chain/guards.py, on the database that the tests run on.

What the roles of PostgreSQL may: tests/gateway/audit/chain/test_verbs.py.
"""

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from gateway.audit.chain import checkpoints, guards
from gateway.audit.models import (
    Checkpoint,
    InferenceContent,
    InferenceRecord,
    Lane,
    LaneHead,
    Link,
)
from tests.gateway.audit.test_store import Chained, closed, opening

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def records():
    """One closed and one open record, and a checkpoint."""
    rows = Chained()
    first, second = opening(), opening()
    rows.open([first, second])
    rows.claim([first["id"]], worker="worker1", now=timezone.now())
    rows.close([closed(first)])
    checkpoints.write(now=timezone.now())
    return InferenceRecord.objects.get(pk=first["id"]), InferenceRecord.objects.get(pk=second["id"])


def refused(change):
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        change()
    return True


class TestClosedRecord:
    def test_cannot_be_changed(self, records):
        rows = InferenceRecord.objects.filter(pk=records[0].pk)

        assert refused(lambda: rows.update(user_id="somebody else"))
        assert refused(lambda: rows.update(state="running"))

    def test_cannot_be_deleted_nor_an_open_one(self, records):
        for record in records:
            assert refused(record.delete)

    def test_is_left_alone_by_a_change_of_open_ones(self, records):
        """As the hot path's UPDATE, which names the open states."""
        changed = InferenceRecord.objects.filter(state="queued").update(state="running")

        assert changed == 1


class TestWhatIsChained:
    @pytest.mark.parametrize(
        ("model", "change"),
        [
            (InferenceContent, {"body": "{}"}),
            (Lane, {"signature": ""}),
            (Link, {"at": 0}),
            (Checkpoint, {"statement": "{}"}),
        ],
    )
    def test_can_neither_be_changed_nor_deleted(self, records, model, change):
        rows = model.objects.all()
        assert rows.exists()

        assert refused(lambda: rows.update(**change))
        assert refused(rows.delete)

    def test_cannot_be_emptied_at_a_stroke(self, records):
        def empty():
            with connection.cursor() as cursor:
                # SQLite has no TRUNCATE.
                is_sqlite = connection.vendor == "sqlite"
                cursor.execute("DELETE FROM audit_link" if is_sqlite else "TRUNCATE audit_link")

        assert refused(empty)

    def test_does_not_include_the_notes(self, records):
        assert LaneHead.objects.update(number=0) == 1
        checkpoints.write(now=timezone.now())


class TestLifted:
    def test_lets_this_transaction_delete(self, records):
        with guards.lifted():
            InferenceContent.objects.all().delete()
            InferenceRecord.objects.filter(pk=records[0].pk).update(user_id="")

        assert not InferenceContent.objects.exists()

    def test_ends_with_it(self, records):
        with guards.lifted():
            pass

        assert refused(records[0].delete)

    def test_ends_with_it_inside_another(self, records):
        with transaction.atomic():
            with guards.lifted():
                pass
            assert refused(records[0].delete)

    def test_ends_with_a_failure_too(self, records):
        with pytest.raises(ZeroDivisionError), guards.lifted():
            1 / 0  # noqa: B018

        assert refused(records[0].delete)


class TestInstalled:
    def test_after_all_migrations(self):
        """A migration that builds a table anew on SQLite drops its triggers."""
        assert guards.is_whole()

    def test_is_noticed_when_one_is_missing(self):
        with connection.cursor() as cursor:
            on_table = " ON audit_link" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER audit_link_stays{on_table}")

        assert not guards.is_whole()

        guards.install()
        assert guards.is_whole()

    def test_may_be_repeated(self):
        guards.install()
        guards.install()

        assert guards.is_whole()
