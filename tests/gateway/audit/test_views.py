"""Promises of gateway/audit/views.py: nothing is shown before it is noted who reads it, and why."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from gateway.audit import indexing
from gateway.audit.models import ContentReading, InferenceRecord
from tests.gateway.audit.conftest import ANSWER, QUESTION, REASON, make_record
from tests.gateway.audit.test_admin import LIST, Page, frame_of, page_of

pytestmark = pytest.mark.django_db

REASON_PAGE, EXPORT = reverse("admin:audit_reason"), reverse("admin:audit_export")


def noted():
    """Return what is on record about readers: what they did, why, with how many records."""
    rows = ContentReading.objects.order_by("pk")
    return [(row.reader, row.kind, row.reason, row.count) for row in rows]


def body(answer):
    return b"".join(answer.streaming_content)


class TestFrame:
    def test_shows_prompt_and_answer(self, reader):
        words = Page(reader.get(frame_of(make_record())).text).words

        assert f"User {' '.join(QUESTION.split())}" in words
        assert f"Answer {ANSWER} Finish reason: stop" in words

    def test_notes_every_record_that_is_opened(self, reader):
        records = [make_record(), make_record()]

        for record in records:
            reader.get(frame_of(record))

        assert noted() == [("auditor", "content", REASON, None)] * 2
        assert {row.record_id for row in ContentReading.objects.all()} == {r.pk for r in records}

    def test_shows_nothing_that_it_could_not_note(self, reader, monkeypatch):
        def full(**_):
            raise DatabaseError("disk full")

        monkeypatch.setattr(ContentReading.objects, "create", full)
        reader.raise_request_exception = False

        answer = reader.get(frame_of(make_record()))

        assert answer.status_code == 503
        assert ANSWER not in answer.text

    def test_is_noted_before_content_is_fetched(self, reader, monkeypatch):
        order = []
        create = ContentReading.objects.create
        monkeypatch.setattr(
            "gateway.audit.views._conversation", lambda _: order.append("fetched") or {}
        )
        monkeypatch.setattr(
            ContentReading.objects, "create", lambda **f: order.append("noted") or create(**f)
        )

        reader.get(frame_of(make_record()))

        assert order == ["noted", "fetched"]

    def test_shows_nothing_without_a_reason(self, auditor):
        answer = auditor.get(frame_of(make_record()))

        assert answer.status_code == 403
        assert "Give a reason" in answer.text
        assert ANSWER not in answer.text
        assert noted() == []

    def test_lets_nothing_run_load_or_stay(self, reader):
        headers = reader.get(frame_of(make_record())).headers

        assert headers["Content-Security-Policy"] == (
            "default-src 'none'; style-src 'self'; frame-ancestors 'self'; sandbox"
        )
        assert "no-store" in headers["Cache-Control"]
        assert headers["X-Content-Type-Options"] == "nosniff"

    def test_of_a_record_that_does_not_exist_is_404_and_notes_nothing(self, reader):
        unknown = "00000000-0000-7000-8000-000000000000"

        assert reader.get(reverse("admin:audit_content", args=[unknown])).status_code == 404
        assert noted() == []

    def test_of_a_refused_call_says_that_nothing_was_sent(self, reader):
        record = make_record(state="refused", question=None, answer=None)

        assert "Nothing was sent to a model." in reader.get(frame_of(record)).text


class TestReason:
    def test_leads_on_to_where_the_reader_was(self, auditor):
        onward = f"{LIST}?words=sheep"

        page = auditor.get(REASON_PAGE, {"next": onward})
        answer = auditor.post(REASON_PAGE, {"reason": "case 9", "next": onward})

        assert f'name="next" value="{onward}"' in page.text
        assert (answer.status_code, answer.headers["Location"]) == (302, onward)

    @pytest.mark.parametrize(
        "elsewhere",
        ["https://evil.example/", "//evil.example/admin/", "/other", "javascript:alert(1)", ""],
    )
    def test_leads_nowhere_else(self, auditor, elsewhere):
        answer = auditor.post(REASON_PAGE, {"reason": "case 9", "next": elsewhere})

        assert answer.headers["Location"] == LIST

    @pytest.mark.parametrize("reason", ["", "  ", "ab", "x" * 256])
    def test_has_to_be_one(self, auditor, reason):
        answer = auditor.post(REASON_PAGE, {"reason": reason})

        assert answer.status_code == 200
        assert auditor.get(frame_of(make_record())).status_code == 403

    def test_can_be_ended(self, reader):
        reader.post(REASON_PAGE, {"end": "1"})

        assert reader.get(frame_of(make_record())).status_code == 403

    def test_is_asked_of_nobody_who_may_not_read(self, superuser):
        assert superuser.get(REASON_PAGE).status_code == 403
        assert superuser.post(REASON_PAGE, {"reason": "case 9"}).status_code == 403

    def test_is_not_taken_from_another_site(self, roles, auditor):
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(User.objects.get(username="auditor"))

        assert strict.post(REASON_PAGE, {"reason": "case 9"}).status_code == 403


class TestSearchInContent:
    @pytest.fixture(autouse=True)
    def _records(self):
        make_record(question="nineteen sheep", model_name="found")
        make_record(question="goats", model_name="other")
        indexing.step(None, now=timezone.now())

    def test_finds_and_is_noted_with_filter_and_count(self, reader):
        words = Page(reader.get(LIST, {"words": "sheep", "feature": "code_completions"}).text).words

        assert "found" in words
        assert "other" not in words
        assert noted() == [("auditor", "search", REASON, 1)]
        asked = json.loads(ContentReading.objects.get().criteria)
        assert asked == {"words": "sheep", "feature": "code_completions"}

    def test_asks_why_first(self, auditor):
        answer = auditor.get(LIST, {"words": "sheep"})

        assert answer.status_code == 302
        assert answer.headers["Location"].startswith(REASON_PAGE)
        assert "words%3Dsheep" in answer.headers["Location"]
        assert noted() == []

    @pytest.mark.parametrize("person", ["superuser", "model_administrator"])
    def test_is_for_those_who_may_read_content(self, person, request):
        browser = request.getfixturevalue(person)

        assert browser.get(LIST, {"words": "sheep"}).status_code == 403
        assert 'name="words"' not in browser.get(LIST).text

    def test_shows_nothing_that_it_could_not_note(self, reader, monkeypatch):
        def full(**_):
            raise DatabaseError("disk full")

        monkeypatch.setattr(ContentReading.objects, "create", full)
        reader.raise_request_exception = False

        assert reader.get(LIST, {"words": "sheep"}).status_code == 503

    def test_says_what_is_not_in_the_index_yet(self, reader):
        assert "Nothing is indexed yet" in reader.get(LIST, {"words": "sheep"}).text

    def test_says_where_there_is_no_word_to_look_for(self, reader):
        page = reader.get(LIST, {"words": "!!"})

        assert "There is no word in it" in page.text


class TestExport:
    @pytest.fixture(autouse=True)
    def _records(self):
        make_record(model_name="a")
        make_record(model_name="b")

    def post(self, browser, query="", **fields):
        return browser.post(f"{EXPORT}{query}", {"format": "jsonl", **fields})

    def test_is_what_the_list_shows_and_is_noted_with_its_count(self, auditor):
        answer = self.post(auditor, "?model=b")

        rows = [json.loads(line) for line in body(answer).splitlines()]
        assert [row["model_name"] for row in rows] == ["b"]
        assert noted() == [("auditor", "export", "", 1)]
        assert ContentReading.objects.get().has_content is False

    def test_is_noted_before_it_is_sent(self, auditor):
        self.post(auditor)

        assert noted() == [("auditor", "export", "", None)]

    def test_counts_what_was_sent_when_its_reader_hangs_up(self, auditor, monkeypatch):
        monkeypatch.setattr("gateway.audit.export.CHUNK", 1)
        answer = self.post(auditor)

        next(answer.streaming_content)
        for close in answer._resource_closers:  # as the server does; `close` ends the connection
            close()

        assert noted() == [("auditor", "export", "", 1)]

    def test_holds_content_for_a_reason(self, auditor):
        answer = self.post(auditor, has_content="on", reason=REASON)

        assert QUESTION.strip() in body(answer).decode()
        assert noted() == [("auditor", "export", REASON, 2)]
        record = InferenceRecord.objects.first()
        readers = Page(auditor.get(page_of(record, "readers")).text).words
        assert f"auditor Exported records {REASON}" in readers

    def test_holds_no_content_without_one(self, auditor):
        page = self.post(auditor, has_content="on")

        assert "Prompts and answers need a reason." in page.text
        assert noted() == []

    def test_of_a_person_who_may_not_read_content_holds_none(self, auditor):
        user = User.objects.get(username="auditor")
        user.groups.first().permissions.remove(
            *user.groups.first().permissions.filter(codename="read_content")
        )

        answer = self.post(auditor, has_content="on", reason=REASON)

        assert "has_content" not in auditor.get(EXPORT).text
        assert QUESTION.strip() not in body(answer).decode()

    def test_by_words_asks_why_first(self, auditor):
        answer = self.post(auditor, "?words=sheep")

        assert answer.headers["Location"].startswith(REASON_PAGE)
        assert noted() == []

    @pytest.mark.parametrize("person", ["superuser", "model_administrator"])
    def test_is_for_those_who_were_given_the_right(self, person, request):
        browser = request.getfixturevalue(person)

        assert browser.get(EXPORT).status_code == 403
        assert self.post(browser).status_code == 403
        assert "Export" not in browser.get(LIST).text

    @pytest.mark.parametrize(
        ("format_", "media_type"),
        [
            ("csv", "text/csv; charset=utf-8"),
            ("jsonl", "application/x-ndjson"),
            ("zip", "application/zip"),
        ],
    )
    def test_is_a_file_that_no_browser_opens(self, auditor, format_, media_type):
        headers = self.post(auditor, format=format_).headers

        assert headers["Content-Type"] == media_type
        assert headers["Content-Disposition"].startswith('attachment; filename="enclave-records-')
        assert headers["Content-Disposition"].endswith(f'.{format_}"')
        assert "sandbox" in headers["Content-Security-Policy"]
        assert "no-store" in headers["Cache-Control"]

    def test_as_a_bundle_says_who_made_it_of_what(self, auditor):
        answer = self.post(auditor, "?model=a", format="zip", reason="case 9")

        with zipfile.ZipFile(io.BytesIO(body(answer))) as archive:
            manifest = json.loads(archive.read("manifest.json"))
        assert (manifest["made_by"], manifest["reason"]) == ("auditor", "case 9")
        assert (manifest["filter"], manifest["records"]) == ({"model": "a"}, 1)

    def test_says_before_what_it_will_hold(self, auditor):
        words = Page(auditor.get(f"{EXPORT}?model=a&user=user-7").text).words

        assert "user user-7 model a" in words
        assert "1 record. Back to the list" in words

    def test_goes_back_to_the_list_where_the_filter_cannot_be_read(self, auditor):
        answer = auditor.get(f"{EXPORT}?ms_from=soon")

        assert answer.headers["Location"] == f"{LIST}?ms_from=soon"
