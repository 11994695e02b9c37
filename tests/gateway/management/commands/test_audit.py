"""Promises of `manage.py audit`."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from gateway.audit import chores, listing
from gateway.audit.criteria import Criteria
from gateway.audit.models import Chore, ContentReading, InferenceRecord
from gateway.audit.specimens import SOURCE
from tests.gateway.audit.conftest import QUESTION, make_record

pytestmark = pytest.mark.django_db

NOON = datetime(2025, 11, 23, 12, tzinfo=UTC)


class TestExport:
    @pytest.fixture(autouse=True)
    def _records(self):
        make_record(model_name="before", opened_at=NOON.replace(day=22))
        make_record(model_name="noon", opened_at=NOON)
        make_record(model_name="after", opened_at=NOON.replace(day=24), group_path="legal")

    @pytest.fixture
    def export(self, tmp_path):
        """A function that exports to a file and returns what is in it."""

        def run(*options, name="out"):
            call_command("audit", "export", *options, str(tmp_path / name))
            return (tmp_path / name).read_bytes()

        return run

    @pytest.mark.parametrize(
        ("options", "models"),
        [
            ((), ["before", "noon", "after"]),
            (("--from", "2025-11-23"), ["noon", "after"]),
            (("--to", "2025-11-23"), ["before", "noon"]),
            (("--from", "2025-11-23", "--to", "2025-11-23"), ["noon"]),
            (("--from", "2025-11-23T12:00:01"), ["after"]),
            (("--from", "2025-11-23T13:00:00+01:00"), ["noon", "after"]),
            (("--group", "legal"), ["after"]),
        ],
    )
    def test_writes_what_is_asked_for_oldest_first(self, export, options, models):
        lines = export(*options).splitlines()

        assert [json.loads(line)["model_name"] for line in lines] == models

    def test_writes_every_format(self, export):
        assert export("--format", "csv", name="a").startswith(b'"id","state"')
        assert export("--format", "zip", name="b").startswith(b"PK")

    def test_notes_who_took_how_many(self, export):
        export("--model", "noon")

        reading = ContentReading.objects.get()
        assert reading.reader.endswith(" (console)")
        assert (reading.kind, reading.has_content, reading.count) == ("export", False, 1)

    def test_writes_content_for_a_reason(self, export):
        text = export("--content", "--reason", "case 7").decode()

        assert QUESTION.strip() in text
        assert ContentReading.objects.get().reason == "case 7"

    def test_writes_no_content_without_one(self, export):
        with pytest.raises(CommandError, match="need a --reason"):
            export("--content")

        assert not ContentReading.objects.exists()

    def test_writes_over_no_file(self, export):
        export()

        with pytest.raises(CommandError, match="File exists"):
            export()

    @pytest.mark.parametrize("text", ["soon", "2026-13-01", "2025-11-23T25:00", "2026-11"])
    def test_says_which_time_it_cannot_read(self, export, text):
        with pytest.raises(CommandError, match="is no time"):
            export("--from", text)

    def test_writes_to_standard_output(self, capfdbinary):
        call_command("audit", "export", "-")

        assert len(capfdbinary.readouterr().out.splitlines()) == 3


class TestIndex:
    def test_makes_everything_findable_at_once(self, capsys):
        make_record(question="sheep")

        call_command("audit", "index")

        assert listing.page(Criteria(words="sheep")).count == 1
        assert "is in it" in capsys.readouterr().out
        assert chores.state_of("content index").held_until is None

    def test_leaves_it_to_a_process_that_is_at_it(self):
        Chore.objects.create(
            pk="content index", holder="web", held_until=datetime(2999, 1, 1, tzinfo=UTC)
        )

        with pytest.raises(CommandError, match="A running process is at it"):
            call_command("audit", "index")


class TestGenerate:
    @pytest.mark.django_db(transaction=True)  # the store begins its own
    def test_makes_records_up(self, capsys):
        call_command("audit", "generate", "--records", "3", "--days", "2")

        assert InferenceRecord.objects.filter(instance_id=SOURCE).count() == 3
        assert "3 records made up" in capsys.readouterr().out

    def test_refuses_where_the_settings_do_not_say_that_it_may(self, settings):
        settings.GATEWAY_TAKES_SPECIMENS = False

        with pytest.raises(CommandError, match="may be a real log"):
            call_command("audit", "generate", "--records", "3")

        assert not InferenceRecord.objects.exists()

    def test_is_not_for_production(self):
        from gateway.settings import base

        assert base.GATEWAY_TAKES_SPECIMENS is False
