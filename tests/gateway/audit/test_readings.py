"""Promises of gateway/audit/readings.py."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from gateway.audit import readings
from gateway.audit.criteria import Criteria
from gateway.audit.models import ContentReading, ReadingKind
from tests.gateway.audit.conftest import make_record


class TestReason:
    def test_holds_for_a_while(self, monkeypatch):
        session: dict[str, object] = {}

        readings.remember(session, "case 7")
        held = readings.reason_of(session)
        monkeypatch.setattr(readings.time, "time", lambda: 4e9)

        assert (held, readings.reason_of(session)) == ("case 7", "")

    def test_is_taken_back(self):
        session: dict[str, object] = {}
        readings.remember(session, "case 7")

        readings.remember(session, "")

        assert readings.reason_of(session) == ""

    def test_is_none_at_first(self):
        assert readings.reason_of({}) == ""


@pytest.mark.django_db
class TestNote:
    def test_says_who_read_what_when_and_why(self):
        person, record = User.objects.create_user("anna"), make_record()

        noted = readings.note(
            person, kind=ReadingKind.CONTENT, reason="case 7", record_id=record.pk
        )

        found = ContentReading.objects.get()
        assert found == noted
        assert (found.reader, found.reader_id, found.reason) == ("anna", person.pk, "case 7")
        assert (found.record_id, found.count) == (record.pk, None)
        assert timezone.now() - found.at < timedelta(seconds=5)

    def test_keeps_the_filter_of_a_search_so_that_it_can_be_asked_again(self):
        asked = Criteria(words="password", group="payments/", since=timezone.now())

        readings.note("root", kind=ReadingKind.SEARCH, reason="", criteria=asked, count=3)

        assert readings.criteria_of(ContentReading.objects.get()) == asked

    def test_takes_the_count_of_an_export_once(self):
        reading = readings.note("root", kind=ReadingKind.EXPORT, reason="")

        readings.finish(reading, 7)
        readings.finish(reading, 9)

        reading.refresh_from_db()
        assert reading.count == 7


@pytest.mark.django_db
class TestOfRecord:
    def test_is_who_opened_it_the_newest_first(self):
        record, other = make_record(), make_record()
        for name, where in (("first", record), ("second", record), ("third", other)):
            readings.note(name, kind=ReadingKind.CONTENT, reason="x", record_id=where.pk)

        assert [reading.reader for reading in readings.of_record(record)] == ["second", "first"]

    def test_is_who_exported_it_with_its_content(self):
        record = make_record(group_path="payments")
        for name, facts in (
            ("took it", {"criteria": Criteria(group="payments/")}),
            ("took all", {"criteria": Criteria()}),
            ("took another", {"criteria": Criteria(group="legal")}),
            ("took no content", {"criteria": Criteria(), "has_content": False}),
        ):
            readings.note(name, kind=ReadingKind.EXPORT, reason="x", **facts)

        assert [r.reader for r in readings.of_record(record)] == ["took all", "took it"]

    def test_is_nobody_who_exported_before_the_call(self):
        readings.note("early", kind=ReadingKind.EXPORT, reason="x", criteria=Criteria())

        assert readings.of_record(make_record()) == []


@pytest.mark.django_db
class TestVisibleTo:
    def test_is_what_one_read_oneself_or_everything(self):
        anna, berta = (User.objects.create_user(name) for name in ("anna", "berta"))
        for person in (anna, berta):
            readings.note(person, kind=ReadingKind.CONTENT, reason="x")

        assert [r.reader for r in readings.visible_to(anna)] == ["anna"]
        berta.user_permissions.add(Permission.objects.get(codename="view_all_readings"))
        assert readings.visible_to(User.objects.get(pk=berta.pk)).count() == 2
