"""Promises of gateway/audit/admin.py: who sees what, and that nobody changes anything."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core import serializers
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLResolver, reverse
from django.utils import timezone

from features.models import ApiKey, FeatureRule, Group, Membership
from gateway.audit.chain import guards
from gateway.audit.models import InferenceContent, InferenceRecord, Process
from models_registry.models import SelfHostedModel
from tests.factories import make_api_key, make_group, make_member, make_model, make_rule
from tests.gateway.audit import hostile
from tests.gateway.audit.conftest import ANSWER, QUESTION, make_record

pytestmark = pytest.mark.django_db

LIST = reverse("admin:audit_inferencerecord_changelist")
METHODS = ("get", "post", "put", "patch", "delete")
UNSAFE = METHODS[1:]
CANARY = "sk-canary-77aa"


def page_of(record):
    return reverse("admin:audit_inferencerecord_change", args=[record.pk])


def frame_of(record):
    return reverse("admin:audit_content", args=[record.pk])


class Page(HTMLParser):
    """What a browser makes of a page: its elements, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.text = self._spaced = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self._spaced += " "
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]

    def handle_data(self, data):
        self.text += data
        self._spaced += data

    @property
    def words(self):
        """Return the text with one space wherever there is space or an element."""
        return " ".join(self._spaced.split())


class TestList:
    @pytest.mark.parametrize("rows", [3, 30])
    def test_takes_the_same_queries_however_long_it_is(
        self, auditor, rows, django_assert_num_queries
    ):
        for _ in range(rows):
            make_record()

        # The session, the user, two kinds of permissions, the bounded count, the page.
        with django_assert_num_queries(6):
            page = auditor.get(LIST)

        assert page.text.count("Codestral 22B</span>") == rows

    def test_never_touches_content(self, auditor):
        make_record()

        with CaptureQueriesContext(connection) as queries:
            auditor.get(LIST)
            auditor.get(LIST, {"q": "01JC-7", "state__exact": "answered", "caller": "user-7"})

        tables = " ".join(query["sql"] for query in queries)
        assert InferenceRecord._meta.db_table in tables
        assert InferenceContent._meta.db_table not in tables

    def test_shows_what_matters_of_each_record(self, auditor):
        opened_at = datetime(2026, 11, 23, 4, 7, 51, tzinfo=UTC)
        make_record(opened_at=opened_at, state="failed", error_code="backend_auth")

        words = Page(auditor.get(LIST).text).words

        for word in (
            *("2026-11-23 04:07:51", "failed", "backend_auth", "Code Completion"),
            *("Codestral 22B", "payments/core", "user-7", "250 ms"),
        ):
            assert word in words

    def test_tells_the_cause_in_words_where_one_points_at_it(self, auditor):
        make_record(state="failed", error_code="backend_auth")

        assert 'title="The model server refused our API key."' in auditor.get(LIST).text

    def test_begins_with_the_newest(self, auditor):
        for minutes in (2, 0, 1):
            make_record(
                opened_at=timezone.now() - timedelta(minutes=minutes), model_name=f"model-{minutes}"
            )

        found = re.findall(r"model-\d(?=</span>)", auditor.get(LIST).text)

        assert found == ["model-0", "model-1", "model-2"]

    def test_counts_no_further_than_it_can_show(self, auditor, monkeypatch):
        monkeypatch.setattr("gateway.audit.paging.COUNT_MAX", 2)
        for _ in range(3):
            make_record()

        assert "10,000+ inference records" in Page(auditor.get(LIST).text).words

    def test_says_how_many_there_are_where_it_knows(self, auditor):
        make_record()

        words = Page(auditor.get(LIST).text).words

        assert "1 inference record" in words
        assert "Show all" not in words

    def test_has_no_counts_beside_its_filters(self, auditor):
        with CaptureQueriesContext(connection) as queries:
            auditor.get(LIST, {"_facets": "True"})

        counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
        assert len(counts) == 1
        assert "LIMIT 10001" in counts[0]

    def test_says_what_will_appear_where_there_is_nothing_yet(self, auditor):
        assert "No call is on record yet" in auditor.get(LIST).text

    def test_says_that_nothing_matches(self, auditor):
        make_record()

        page = auditor.get(LIST, {"q": "another"}).text

        assert "No record matches" in page
        assert "No call is on record yet" not in page


class TestSearch:
    @pytest.fixture
    def search(self, auditor):
        make_record(correlation_id="", model_name="another")

        def found(term):
            page = auditor.get(LIST, {"q": term})
            assert page.status_code == 200
            return re.findall(r'href="/admin/audit/inferencerecord/([0-9a-f-]{36})/', page.text)

        return found

    def test_finds_a_record_by_its_id(self, search):
        record = make_record()

        assert search(str(record.pk)) == [str(record.pk)]

    @pytest.mark.parametrize("correlation_id", ["01JC-8", "2d70b5350d024ee4be71910d92005994"])
    def test_finds_a_record_by_its_correlation_id_even_if_it_looks_like_an_id(
        self, search, correlation_id
    ):
        record = make_record(correlation_id=correlation_id)

        assert search(f" {correlation_id} ") == [str(record.pk)]

    @pytest.mark.parametrize("term", ["01JC", "01jc-7", "%", "______", "'; --"])
    def test_finds_no_part_and_no_pattern(self, search, term):
        make_record(correlation_id="01JC-7")

        assert search(term) == []

    def test_refuses_what_no_database_can_look_for(self, auditor):
        assert "Null characters are not allowed" in auditor.get(LIST, {"q": "\x00"}).text


class TestProcesses:
    def test_says_which_ones_live(self, superuser, settings):
        now = timezone.now()
        for name, seen_at in (("a", now), ("b", now - timedelta(hours=1))):
            Process.objects.create(
                id=name, kind="web", host=name, pid=1, started_at=now, seen_at=seen_at
            )

        words = Page(superuser.get(reverse("admin:audit_process_changelist")).text).words

        assert "Web alive a" in words
        assert "Web gone b" in words


class TestRecord:
    def test_says_first_how_it_ended_and_why(self, auditor):
        record = make_record(
            state="refused",
            error_code="feature_disabled",
            error_detail="group 'payments': off",
            answer=None,
        )

        words = Page(auditor.get(page_of(record)).text).words

        assert "refused The feature is off for this caller. feature_disabled" in words
        assert (
            "group 'payments': off Asked by user-7 (GitLab instance) Group payments/core" in words
        )

    def test_shows_where_the_time_went(self, auditor):
        words = Page(auditor.get(page_of(make_record())).text).words

        assert "Queue 10 ms First token 90 ms Rest of the answer 150 ms Total 250 ms" in words

    def test_is_open_to_read_while_the_model_is_asked(self, auditor):
        record = make_record(
            state="running", answer=None, closed_at=None, total_ms=None, prompt_tokens=None
        )

        page = auditor.get(page_of(record))

        assert "The model is being asked." in page.text
        assert "There is no answer yet." in auditor.get(frame_of(record)).text

    def test_shows_the_conversation_in_a_sandbox_that_allows_nothing(self, auditor):
        record = make_record()

        page = auditor.get(page_of(record)).text

        assert '<iframe sandbox title="Prompt and answer of this record"' in page
        assert frame_of(record) in page
        assert QUESTION.strip() not in page
        assert ANSWER not in page

    def test_has_no_form_that_could_save(self, auditor):
        page = auditor.get(page_of(make_record())).text

        assert "_save" not in page
        assert "deletelink" not in page
        assert "/delete/" not in page

    @pytest.mark.parametrize("unknown", ["00000000-0000-7000-8000-000000000000", "x", "1"])
    def test_that_does_not_exist_is_not_an_error_of_ours(self, auditor, unknown):
        page = auditor.get(reverse("admin:audit_inferencerecord_change", args=[unknown]))

        assert page.status_code == 302
        assert page.headers["Location"] == "/admin/"


class TestFrame:
    def test_shows_prompt_and_answer(self, auditor):
        words = Page(auditor.get(frame_of(make_record())).text).words

        assert f"User {' '.join(QUESTION.split())}" in words
        assert f"Answer {ANSWER} Finish reason: stop" in words

    def test_lets_nothing_run_load_or_stay(self, auditor):
        headers = auditor.get(frame_of(make_record())).headers

        assert headers["Content-Security-Policy"] == (
            "default-src 'none'; style-src 'self'; frame-ancestors 'self'; sandbox"
        )
        assert "no-store" in headers["Cache-Control"]
        assert headers["X-Content-Type-Options"] == "nosniff"

    def test_of_a_record_that_does_not_exist_is_404(self, auditor):
        unknown = "00000000-0000-7000-8000-000000000000"

        assert auditor.get(reverse("admin:audit_content", args=[unknown])).status_code == 404

    def test_of_a_refused_call_says_that_nothing_was_sent(self, auditor):
        record = make_record(state="refused", question=None, answer=None)

        assert "Nothing was sent to a model." in auditor.get(frame_of(record)).text


class TestWhoMayReadContent:
    @pytest.mark.parametrize("person", ["superuser", "model_administrator"])
    def test_others_see_everything_but_the_content(self, person, request):
        browser, record = request.getfixturevalue(person), make_record()

        page, frame = browser.get(page_of(record)), browser.get(frame_of(record))

        assert page.status_code == 200
        assert "payments/core" in page.text
        assert "<iframe" not in page.text
        assert "shown to the role Auditors only" in page.text
        assert frame.status_code == 403
        assert ANSWER not in page.text + frame.text

    def test_no_page_beside_the_frame_holds_content_even_for_an_auditor(self, auditor):
        record = make_record(question="canary question", answer="canary answer")

        pages = [
            auditor.get(url).text
            for url in (LIST, page_of(record), f"{page_of(record)[:-7]}history/")
        ]

        assert "canary" not in "".join(pages)

    def test_strangers_are_sent_to_the_login(self, db):
        record = make_record()

        for url in (LIST, page_of(record), frame_of(record)):
            answer = Client().get(url)
            assert answer.status_code == 302
            assert answer.headers["Location"].startswith("/admin/login/")

    def test_the_right_to_content_alone_opens_nothing(self, roles):
        user = User.objects.create_user("person", is_staff=True)
        user.user_permissions.add(
            *roles["Auditors"].permissions.filter(codename="read_content"),
        )
        browser = Client()
        browser.force_login(user)

        assert browser.get(frame_of(make_record())).status_code == 403


@pytest.mark.parametrize("person", ["auditor", "model_administrator", "superuser"])
class TestNobodyChangesARecord:
    @pytest.mark.parametrize("method", UNSAFE)
    def test_every_method_that_could_is_405(self, person, method, request):
        browser, record = request.getfixturevalue(person), make_record()
        before = everything()
        routes = (
            *(LIST, f"{LIST}add/", page_of(record), frame_of(record)),
            *(f"{LIST}{record.pk}/delete/", f"{LIST}{record.pk}/history/", f"{LIST}{record.pk}/"),
        )

        statuses = [
            getattr(browser, method)(url, {"post": "yes", "state": "answered"}).status_code
            for url in routes
        ]

        assert set(statuses) == {405}
        assert everything() == before

    def test_no_page_offers_to_add_or_delete(self, person, request):
        browser, record = request.getfixturevalue(person), make_record()

        assert browser.get(f"{LIST}add/").status_code == 403
        assert browser.get(f"{LIST}{record.pk}/delete/").status_code == 403
        assert "delete_selected" not in browser.get(LIST).text


def everything():
    """Return what is stored, apart from sessions and when people logged in."""
    models = [m for m in django_admin.site._registry if m not in (Session, User)]
    return serializers.serialize("json", [row for m in models for row in m.objects.order_by("pk")])


# What an auditor may open, whatever the method, because it changes nothing.
HARMLESS = {
    *("index", "search", "jsi18n", "password_change_done", "login"),
    *("audit_inferencerecord_changelist", "audit_inferencerecord_change"),
    *("audit_inferencerecord_history", "audit_content"),
}
# What changes only the auditor's own session or password.
OWN = {"logout", "password_change"}


class TestAuditorsReadRecordsAndNothingElse:
    """Walks every route of the admin with every method; a new route is refused or fails here."""

    @pytest.fixture
    def rows(self, roles):
        """One row of everything, and the secrets that no page may show."""
        model = make_model(api_key=CANARY)
        group = make_group("payments")
        key, key_text = make_api_key(group)
        now = timezone.now()
        process = Process(id="p", kind="web", host="h", pid=1, started_at=now, seen_at=now)
        process.save()
        rows = {
            "models_registry/selfhostedmodel": model,
            "features/group": group,
            "features/featurerule": make_rule(group, model=model),
            "features/membership": make_member(group, "user-7"),
            "features/apikey": key,
            "auth/user": User.objects.create_user("other", password="secret"),
            "auth/group": roles["Auditors"],
            "audit/inferencerecord": make_record(),
            "audit/process": process,
        }
        return rows, (CANARY, model.api_key, key_text, key.digest)

    def routes(self, rows):
        """Yield name and URL of every route, with the id of a row that exists."""
        for path, name in flat(django_admin.site.get_urls()):
            if path.startswith("^(?P<app_label>"):
                labels = re.search(r">([\w|]+)\)", path)[1].split("|")
                yield from ((f"app_list {label}", f"/admin/{label}/") for label in labels)
            elif "(?P<url>" in path:
                yield "catch all", "/admin/anything/else/"
            else:
                row = rows.get("/".join(path.split("/")[:2]))
                yield name, "/admin/" + re.sub(r"<[^>]*>", str(row.pk) if row else "1", path)

    def test_on_every_route_with_every_method(self, auditor, rows):
        rows, secrets = rows
        before, wrong, shown, walked = everything(), [], "", 0

        for name, url in self.routes(rows):
            for method in METHODS:
                answer = getattr(auditor, method)(url, {"post": "yes", "s": "a", "term": "a"})
                walked += 1
                shown += answer.text if answer.status_code == 200 else ""
                if name == "logout" and answer.status_code == 200:
                    auditor.force_login(User.objects.get(username="auditor"))
                if not is_right(name, method, answer):
                    wrong.append((name, method, url, answer.status_code))

        assert wrong == []
        assert everything() == before
        assert walked > 200
        assert [secret for secret in secrets if secret in shown] == []

    def test_sees_no_link_to_anything_else(self, auditor, rows):
        page = Page(auditor.get("/admin/").text)

        lists = {link for link in page.links if re.fullmatch(r"/admin/\w+/\w+/", link)}
        assert lists == {LIST}


def flat(patterns, prefix=""):
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from flat(pattern.url_patterns, path)
        else:
            yield path, pattern.name


def is_right(name, method, answer):
    if name in HARMLESS:
        return answer.status_code in (200, 302, 405)
    if name in OWN:
        return answer.status_code in (200, 405)
    if name == "app_list audit":
        return answer.status_code == 200
    if name is None:  # from a row's bare address to its page, which refuses
        return answer.status_code == 405 or answer.headers.get("Location", "").endswith("/change/")
    return answer.status_code in (403, 404, 405)


TEXT_COLUMNS = (
    *("instance_id", "user_id", "global_user_id", "api_key_name", "group_path", "feature"),
    *("endpoint", "correlation_id", "policy", "model_name", "prompt_version", "error_detail"),
)


class TestHostileText:
    """In every text column, in the prompt and in the answer, on every page."""

    def pages(self, auditor, text):
        with guards.lifted():
            InferenceRecord.objects.all().delete()
        record = make_record(
            question=text,
            answer=text,
            error_code="backend_failed",
            **dict.fromkeys(TEXT_COLUMNS, text[:90]),
        )
        return [Page(auditor.get(url).text) for url in (LIST, page_of(record), frame_of(record))]

    @pytest.mark.parametrize("text", hostile.SCRIPTS)
    def test_adds_no_element_and_no_attribute_and_is_shown_as_it_is(self, auditor, text):
        harmless = self.pages(auditor, "harmless")

        for clean, dirty in zip(harmless, self.pages(auditor, text), strict=True):
            assert dirty.elements == clean.elements
            assert text in dirty.text
            assert not any(link.lstrip().startswith("javascript:") for link in dirty.links)

    @pytest.mark.parametrize(
        ("text", "spelled"),
        [(text, spelled) for text, spelled in hostile.HIDDEN.items() if "\x00" not in text],
    )
    def test_hides_nothing(self, auditor, text, spelled):
        for page in self.pages(auditor, text):
            assert spelled in page.text
            assert text not in page.text

    def test_hides_no_nul_in_content(self, auditor):
        record = make_record(question="nul\x00", answer="\x00nul")

        text = Page(auditor.get(frame_of(record)).text).text

        assert "nul⟦NUL⟧" in text
        assert "⟦NUL⟧nul" in text

    def test_in_the_search_and_the_filters_stays_text(self, auditor):
        for text in hostile.SCRIPTS:
            fields = dict.fromkeys(("q", "caller", "group", "model", "state__exact"), text)

            page = Page(auditor.get(LIST, fields).text)

            assert [e for e in page.elements if e[0] == "script" and "src" not in e[1]] == []
            assert "onerror" not in str(page.elements)


class TestQueryString:
    @pytest.mark.parametrize(
        "query",
        [
            {"error_detail__regex": "(a+)+$"},
            {"correlation_id__icontains": "a"},
            {"model_name__startswith": "a"},
            *(
                {name: "\x00"}
                for name in (
                    "group",
                    "caller",
                    "cause",
                    "feature",
                    "state__exact",
                    "opened_at_to_0",
                )
            ),
        ],
    )
    def test_may_not_hold_patterns_or_nul(self, auditor, query):
        assert auditor.get(LIST, query).status_code == 400

    @pytest.mark.parametrize(
        "query", [{"o": "1.2.3"}, {"p": "x"}, {"p": "99999"}, {"all": ""}, {"e": "1"}, {"x": "y"}]
    )
    def test_never_breaks_the_page(self, auditor, query):
        make_record()

        assert auditor.get(LIST, query, follow=True).status_code == 200


class TestConfigurationStaysHidden:
    def test_no_row_of_the_control_plane_is_named_to_an_auditor(self, auditor):
        make_rule(make_group("secret-group"), model=make_model(name="secret-model"))

        shown = "".join(auditor.get(url).text for url in ("/admin/", LIST))

        assert "secret-" not in shown
        assert all(m.objects.exists() for m in (FeatureRule, Group, SelfHostedModel))
        assert not ApiKey.objects.exists()
        assert not Membership.objects.exists()
