"""Promises of gateway/audit/export.py: exact, inert, and never more than a part in memory."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import zipfile
from datetime import timedelta

import pytest
from django.utils import timezone

from gateway.audit import export
from gateway.audit.criteria import Criteria
from gateway.audit.export import About, Tally, cell
from gateway.audit.models import ContentKind
from tests.gateway.audit import hostile
from tests.gateway.audit.conftest import add_content, make_record
from tests.gateway.audit.test_admin import TEXT_COLUMNS

FORMULAS = (
    "=1+1",
    "+1",
    "-1+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "  =1",
    '=HYPERLINK("http://evil.example","x")',
    "＝1+1",
    "=cmd|'/C powershell'!A1",
)
HOSTILE = (*hostile.SCRIPTS, *hostile.HIDDEN, *FORMULAS, 'a"b,c\nd')

pytestmark = pytest.mark.django_db


def about(**facts):
    usual = {
        "reader": "anna",
        "reason": "case 7",
        "criteria": Criteria(),
        "has_content": False,
        "at": timezone.now(),
    }
    return About(**{**usual, **facts})


def exported(format_, **facts):
    tally = Tally()
    data = b"".join(export.pieces(format_, about(**facts), tally=tally))
    return data, tally.count


def json_lines(**facts):
    return [json.loads(line) for line in exported("jsonl", **facts)[0].splitlines()]


def csv_rows(**facts):
    text = exported("csv", **facts)[0].decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


class TestJsonLines:
    def test_hold_every_column_oldest_first(self):
        first, second = make_record(model_name="a"), make_record(model_name="b", error_code="x")

        rows = json_lines()

        assert [row["id"] for row in rows] == [str(first.pk), str(second.pk)]
        assert set(rows[0]) == set(export.COLUMNS)
        assert (rows[1]["error_code"], rows[1]["total_ms"]) == ("x", 250.0)
        assert rows[0]["opened_at"] == first.opened_at.isoformat()

    def test_hold_content_where_it_is_asked_for(self):
        make_record(question="how?", answer="so")
        make_record(question="why?", answer=None)

        answered, open_ = json_lines(has_content=True)

        assert answered["request"]["prompt"]["messages"][0]["content"] == "how?"
        assert answered["answer"]["text"] == "so"
        assert open_["answer"] is None
        assert "request" not in json_lines()[0]

    @pytest.mark.parametrize("text", HOSTILE)
    def test_say_exactly_what_is_on_record_and_mean_nothing_else(self, text):
        clean = text.replace("\x00", "")[:90]
        record = make_record(question=text, answer=text, **dict.fromkeys(TEXT_COLUMNS, clean))

        data, _ = exported("jsonl", has_content=True)

        (row,) = [json.loads(line) for line in data.splitlines()]
        assert row["answer"]["text"] == row["request"]["inputs"]["prefix"] == text
        assert row["model_name"] == record.model_name == clean
        assert re.fullmatch(rb"[ -~]+\n", data)
        assert not set(b"<>&") & set(data)


class TestCsv:
    def test_has_a_line_for_each_record_below_the_names(self):
        record = make_record(model_name="a")

        (row,) = csv_rows()

        assert (row["id"], row["model_name"], row["total_ms"]) == (str(record.pk), "a", "250.0")
        assert tuple(row) == export.COLUMNS

    def test_holds_content_as_json(self):
        make_record(question="how?", answer="so")

        (row,) = csv_rows(has_content=True)

        assert json.loads(row["answer"])["text"] == "so"
        assert json.loads(row["request"])["inputs"] == {"prefix": "how?"}

    @pytest.mark.parametrize("text", HOSTILE)
    def test_is_no_formula_hides_nothing_and_drives_no_terminal(self, text):
        make_record(
            question=text,
            answer=text,
            **dict.fromkeys(TEXT_COLUMNS, text.replace("\x00", "")[:90]),
        )

        data, _ = exported("csv", has_content=True)
        (row,) = csv_rows(has_content=True)

        for value in row.values():
            assert not value.lstrip(" ").startswith(export.FORMULA)
        assert not set(data) & (set(range(32)) - set(b"\t\r\n"))
        assert "\x7f" not in data.decode()
        assert "\u202e" not in data.decode()
        assert all(line.startswith('"') for line in data.decode().split("\r\n") if line)

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (None, ""),
            (7, "7"),
            (-7.5, "-7.5"),
            (True, "True"),
            ("plain", "plain"),
            ("=1+1", "'=1+1"),
            ("  @x", "'  @x"),
            ("a=b", "a=b"),
            ("\x1b[31m", "⟦ESC⟧[31m"),
            ({"a": "<b>"}, '{"a":"\\u003cb\\u003e"}'),
        ],
    )
    def test_shows_values_as_a_spreadsheet_may_have_them(self, value, shown):
        assert cell(value) == shown


class TestBundle:
    def test_holds_the_records_and_a_manifest_that_proves_them(self):
        make_record(question="how?", model_name="a")
        make_record(model_name="b")

        data, count = exported("zip", criteria=Criteria(model="a"), has_content=True)

        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            records, manifest = archive.read("records.jsonl"), archive.read("manifest.json")
        told = json.loads(manifest)
        assert json.loads(records)["request"]["inputs"]["prefix"] == "how?"
        assert told["files"]["records.jsonl"] == {
            "sha256": hashlib.sha256(records).hexdigest(),
            "bytes": len(records),
        }
        assert (told["made_by"], told["reason"], told["records"]) == ("anna", "case 7", count)
        assert (told["filter"], told["with_content"], count) == ({"model": "a"}, True, 1)


class TestUntilNow:
    def test_takes_nothing_that_comes_while_it_is_made(self):
        now = timezone.now()
        make_record(opened_at=now - timedelta(seconds=1))
        make_record(opened_at=now + timedelta(seconds=1))

        assert exported("jsonl", at=now)[1] == 1

    def test_keeps_to_an_earlier_end(self):
        now = timezone.now()
        make_record(opened_at=now - timedelta(seconds=1))

        asked = Criteria(until=now - timedelta(seconds=2))

        assert exported("jsonl", at=now, criteria=asked)[1] == 0


class TestMemory:
    @pytest.mark.parametrize("format_", ["csv", "jsonl", "zip"])
    def test_holds_a_chunk_at_a_time(self, format_, monkeypatch):
        monkeypatch.setattr(export, "CHUNK", 2)
        monkeypatch.setattr(export, "CONTENT_CHUNK", 1)
        for _ in range(5):
            make_record()
        tally, seen = Tally(), []

        for _ in export.pieces(format_, about(has_content=True), tally=tally):
            seen.append(tally.count)

        assert [count for count in seen if count] == sorted(count for count in seen if count)
        assert {1, 2, 3, 4, 5} <= set(seen)

    def test_asks_for_content_of_few_records_at_once(self, django_assert_max_num_queries):
        for _ in range(60):
            make_record(question=None, answer=None)
        record = make_record(question=None, answer=None)
        add_content(record, ContentKind.ANSWER, {"text": "x"})

        # A page, its records, and content for twenty at a time.
        with django_assert_max_num_queries(2 + 4):
            exported("jsonl", has_content=True)
