"""Promises of gateway/audit/admin.py: who sees what, and that nobody changes anything."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from django.contrib import admin as django_admin
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.core import serializers
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLResolver, reverse
from django.utils import timezone

from features.models import ApiKey, FeatureRule, Group, Membership
from features.policy import Step
from gateway.audit import ladders, readings
from gateway.audit.chain import guards
from gateway.audit.criteria import Criteria
from gateway.audit.models import Chore, ContentReading, InferenceContent, InferenceRecord, Process
from models_registry.models import EgressDestination, SelfHostedModel
from prompts import library
from tests.factories import (
    make_api_key,
    make_group,
    make_member,
    make_model,
    make_rule,
    open_vendor_route,
)
from tests.gateway.audit import hostile
from tests.gateway.audit.conftest import ANSWER, QUESTION, REASON, make_record

pytestmark = pytest.mark.django_db

LIST = reverse("admin:audit_inferencerecord_changelist")
READINGS = reverse("admin:audit_contentreading_changelist")
SLUGS = ("timeline", "conversation", "policy", "prompt", "readers")
METHODS = ("get", "post", "put", "patch", "delete")
UNSAFE = METHODS[1:]
CANARY = "sk-canary-77aa"


def page_of(record, tab=""):
    url = reverse("admin:audit_inferencerecord_change", args=[record.pk])
    return f"{url}?tab={tab}" if tab else url


def frame_of(record):
    return reverse("admin:audit_content", args=[record.pk])


class Page(HTMLParser):
    """What a browser makes of a page: its elements, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.named: list[tuple[str, str]] = []
        self.text = self._spaced = self._link = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self._spaced += " "
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]
        self._link = dict(attrs).get("href") or "" if tag == "a" else ""

    def handle_data(self, data):
        self.text += data
        self._spaced += data
        if self._link:
            self.named.append((data.strip(), self._link))

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

        # The session, the user, two kinds of permissions, the rights to content, the page.
        with django_assert_num_queries(6):
            page = auditor.get(LIST)

        assert page.text.count("Codestral 22B</span>") == rows

    def test_never_touches_content(self, auditor):
        make_record()

        with CaptureQueriesContext(connection) as queries:
            auditor.get(LIST)
            auditor.get(LIST, {"q": "01JC-7", "state": "answered", "user": "user-7"})
            auditor.get(LIST, {"by": "correlation"})

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
        monkeypatch.setattr("gateway.audit.listing.COUNT_MAX", 2)
        for _ in range(3):
            make_record()

        assert "2+ records" in Page(auditor.get(LIST).text).words

    def test_says_how_many_there_are_where_it_knows(self, auditor):
        make_record()

        words = Page(auditor.get(LIST).text).words

        assert "1 record" in words
        assert "Show all" not in words

    def test_leads_to_older_records_and_back(self, auditor):
        for number in range(120):
            make_record(
                opened_at=timezone.now() - timedelta(seconds=number), model_name=f"model-{number}"
            )
        shown, page = [], Page(auditor.get(LIST, {"feature": "code_completions"}).text)

        for label in ("Older", "Older", "Newer", "Newest"):
            shown.append(re.findall(r"model-\d+", page.words)[::49])
            (url,) = [link for name, link in page.named if name == label]
            assert "feature=code_completions" in url
            page = Page(auditor.get(LIST + url).text)

        assert shown == [
            ["model-0", "model-49"],
            ["model-50", "model-99"],
            ["model-100"],
            ["model-50", "model-99"],
        ]
        assert re.findall(r"model-\d+", page.words)[0] == "model-0"

    def test_has_no_counts_beside_its_filters(self, auditor):
        with CaptureQueriesContext(connection) as queries:
            auditor.get(LIST, {"_facets": "True"})

        assert len([q for q in queries if InferenceRecord._meta.db_table in q["sql"]]) == 1

    def test_groups_calls_by_their_correlation_id(self, auditor):
        for _ in range(3):
            make_record(correlation_id="one")
        make_record(correlation_id="other")

        page = Page(auditor.get(LIST, {"by": "correlation"}).text)

        assert "3 one answered" in page.words
        assert "1 other answered" in page.words
        assert f"{LIST}?q=one" in page.links

    def test_renews_itself_where_that_is_asked_for(self, auditor):
        make_record()

        live, still = auditor.get(LIST, {"live": "1", "state": "answered"}), auditor.get(LIST)

        assert 'hx-get="?live=1&amp;state=answered" hx-trigger="every 3s' in live.text
        assert 'hx-get="?' not in still.text

    def test_says_how_far_it_looked_back_where_it_found_nothing(self, auditor, monkeypatch):
        monkeypatch.setattr("gateway.audit.listing.WALK_MAX", 2)
        for _ in range(4):
            make_record()

        page = Page(auditor.get(LIST, {"model": "rare"}).text)

        assert "No record matches back to" in page.words
        assert "Look further back" in [name for name, _ in page.named]

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


class TestBackgroundTasks:
    def test_says_how_it_goes_and_what_is_wrong(self, model_administrator):
        now = timezone.now()
        Chore.objects.create(pk="content index", reached=now, looked_at=now, is_behind=True)
        Chore.objects.create(pk="siem", trouble="The server refused the connection.")

        url = reverse("admin:audit_chore_changelist")
        words = Page(model_administrator.get(url).text).words

        assert "content index behind" in words
        assert "siem The server refused the connection." in words


class TestReadings:
    def test_are_ones_own_with_what_was_asked_for(self, reader):
        record = make_record()
        reader.get(frame_of(record))
        readings.note("somebody else", kind="export", reason="theirs")
        me = User.objects.get(username="auditor")
        asked = Criteria(group="payments/")
        for has_content in (True, False):
            readings.note(
                me, kind="export", reason="", criteria=asked, has_content=has_content, count=12_345
            )

        words = Page(reader.get(READINGS).text).words

        assert f"auditor Opened a record {record.pk} {REASON}" in words
        assert "auditor Exported records group: payments/" in words
        assert "auditor Exported records without content group: payments/" in words
        assert "12,345" in words
        assert "theirs" not in words

    def test_are_everybodys_for_those_who_may_see_them(self, auditor):
        readings.note("somebody else", kind="export", reason="theirs")
        right = Permission.objects.get(codename="view_all_readings")
        User.objects.get(username="auditor").user_permissions.add(right)

        assert "theirs" in Page(auditor.get(READINGS).text).words

    @pytest.mark.parametrize("person", ["superuser", "model_administrator"])
    def test_are_nothing_to_administrators(self, person, request):
        browser = request.getfixturevalue(person)

        assert browser.get(READINGS).status_code == 403
        assert READINGS not in Page(browser.get("/admin/").text).links


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
        record = make_record(policy_ms=0.2, render_ms=0.8, connect_ms=4.0)

        words = Page(auditor.get(page_of(record)).text).words

        for told in ("Policy 0.2 ms", "Prompt 0.8 ms", "Connect 4.0 ms", "First token 86 ms"):
            assert told in words
        assert "Rest of the answer 150 ms" in words
        assert "Total from the opened record to its outcome 250 ms" in words

    def test_names_whose_step_it_ended_in(self, auditor):
        record = make_record(
            state="failed", error_code="backend_failed", first_token_ms=None, answer=None
        )

        assert "ended here: the model server" in Page(auditor.get(page_of(record)).text).words

    def test_is_open_to_read_while_the_model_is_asked(self, reader):
        record = make_record(
            state="running", answer=None, closed_at=None, total_ms=None, prompt_tokens=None
        )

        page = reader.get(page_of(record))

        assert "The model is being asked." in page.text
        assert "The call is open; times are written down with its outcome." in page.text
        assert "There is no answer yet." in reader.get(frame_of(record)).text

    def test_asks_why_before_it_shows_the_conversation(self, auditor):
        page = auditor.get(page_of(make_record(), "conversation")).text

        assert "<iframe" not in page
        assert 'name="reason"' in page

    def test_shows_the_conversation_in_a_sandbox_that_allows_nothing(self, reader):
        record = make_record()

        page = reader.get(page_of(record, "conversation")).text

        assert '<iframe sandbox title="Prompt and answer of this record"' in page
        assert frame_of(record) in page
        assert QUESTION.strip() not in page
        assert ANSWER not in page

    def test_shows_the_ladder_as_it_was(self, auditor):
        ladder = (
            Step(group_id=7, level="instance", rule="on, model 'm'", effect="on"),
            Step(group_id=7, level="group 'payments'", rule="no rule", effect="on"),
        )
        record = make_record(ladder_digest=ladders.note(ladder))
        ladders.save()

        words = Page(auditor.get(page_of(record, "policy")).text).words

        assert "instance on, model 'm' on group 'payments' no rule on" in words
        assert "Rule that decided instance: on" in words

    def test_shows_the_definition_of_its_prompt(self, auditor):
        definition = library.all_definitions()["code_completions", "default"]
        known = make_record(prompt_digest=definition.digest, prompt_version=definition.version)
        unknown = make_record(prompt_digest="0" * 64)

        page = Page(auditor.get(page_of(known, "prompt")).text)

        assert definition.version in page.words
        assert "messages:" in page.text
        assert "no definition with this digest" in auditor.get(page_of(unknown, "prompt")).text

    def test_lists_its_readers(self, reader):
        record = make_record()
        reader.get(frame_of(record))

        words = Page(reader.get(page_of(record, "readers")).text).words

        assert f"auditor Opened a record {REASON}" in words

    def test_says_that_nobody_read_it(self, auditor):
        assert "Nobody has opened" in auditor.get(page_of(make_record(), "readers")).text

    @pytest.mark.parametrize("tab", ["", "unheard-of", "timeline"])
    def test_begins_with_its_timeline(self, auditor, tab):
        page = auditor.get(page_of(make_record(), tab)).text

        assert 'href="?tab=timeline" aria-current="page"' in page

    @pytest.mark.parametrize("person", ["superuser", "model_administrator"])
    def test_shows_who_read_it_to_auditors_only(self, person, request):
        browser, record = request.getfixturevalue(person), make_record()

        page = browser.get(page_of(record, "readers")).text

        assert "Readers" not in page
        assert 'href="?tab=timeline" aria-current="page"' in page

    @pytest.mark.parametrize("tab", ["timeline", "conversation", "policy", "prompt", "readers"])
    def test_takes_few_queries(self, reader, tab, django_assert_max_num_queries):
        record = make_record()

        # The session, the user, two kinds of permissions, the record, and what the tab needs.
        with django_assert_max_num_queries(8):
            reader.get(page_of(record, tab))

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


class TestWhoMayReadContent:
    @pytest.mark.parametrize("person", ["superuser", "model_administrator"])
    def test_others_see_everything_but_the_content(self, person, request):
        browser, record = request.getfixturevalue(person), make_record()

        page, frame = browser.get(page_of(record, "conversation")), browser.get(frame_of(record))

        assert page.status_code == 200
        assert "payments/core" in page.text
        assert "<iframe" not in page.text
        assert "shown to the role Auditors only" in page.text
        assert frame.status_code == 403
        assert ANSWER not in page.text + frame.text

    def test_no_page_beside_the_frame_holds_content_even_for_a_reader(self, reader):
        record = make_record(question="canary question", answer="canary answer")

        urls = (LIST, f"{page_of(record)[:-7]}history/", *(page_of(record, tab) for tab in SLUGS))
        pages = [reader.get(url).text for url in urls]

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
            *(LIST, f"{LIST}add/", page_of(record), frame_of(record), READINGS, f"{READINGS}add/"),
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
    own = (Session, User, ContentReading)
    models = [m for m in django_admin.site._registry if m not in own]
    return serializers.serialize("json", [row for m in models for row in m.objects.order_by("pk")])


# What an auditor may open, whatever the method, because it changes nothing.
HARMLESS = {
    *("index", "search", "jsi18n", "password_change_done", "login"),
    *("audit_inferencerecord_changelist", "audit_inferencerecord_change"),
    *("audit_inferencerecord_history", "audit_content"),
    *("audit_contentreading_changelist", "audit_contentreading_change"),
    "audit_contentreading_history",
}
# What changes only the auditor's own session or password, or writes down what they read.
OWN = {"logout", "password_change", "audit_reason", "audit_export"}


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
            "models_registry/egressdestination": EgressDestination.objects.create(
                host="10.1.2.3", port=8000, purpose="model"
            ),
            "features/group": group,
            "features/featurerule": make_rule(group, model=model),
            "features/membership": make_member(group, "user-7"),
            "features/apikey": key,
            "features/vendorroute": open_vendor_route(),
            "auth/user": User.objects.create_user("other", password="secret"),
            "auth/group": roles["Auditors"],
            "audit/inferencerecord": make_record(),
            "audit/process": process,
            "audit/chore": Chore.objects.create(pk="siem"),
            "audit/contentreading": ContentReading.objects.create(at=now, kind="content"),
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
        assert lists == {LIST, READINGS}


def flat(patterns, prefix=""):
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from flat(pattern.url_patterns, path)
        else:
            yield path, pattern.name


def is_right(name, method, answer):
    if name == "audit_content" and method == "get":
        return answer.status_code == 403  # nobody said why
    if name in HARMLESS:
        return answer.status_code in (200, 302, 405)
    if name in OWN:
        return answer.status_code in (200, 302, 405)
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

    def pages(self, reader, text):
        with guards.lifted():
            InferenceRecord.objects.all().delete()
        ContentReading.objects.all().delete()
        step = Step(group_id=1, level=text, rule=text, effect=text)
        record = make_record(
            question=text,
            answer=text,
            error_code="backend_failed",
            ladder_digest=ladders.note((step,)),
            **dict.fromkeys(TEXT_COLUMNS, text[:90]),
        )
        ladders.save()
        readings.note(text, kind="content", reason=text, record_id=record.pk)
        asked = Criteria(model=text)
        readings.note(
            User.objects.get(username="auditor"), kind="search", reason=text, criteria=asked
        )
        urls = (LIST, f"{LIST}?by=correlation", READINGS, frame_of(record))
        return [
            Page(reader.get(url).text) for url in (*urls, *(page_of(record, tab) for tab in SLUGS))
        ]

    @pytest.mark.parametrize("text", hostile.SCRIPTS)
    def test_adds_no_element_and_no_attribute_and_is_shown_as_it_is(self, reader, text):
        harmless = self.pages(reader, "harmless")

        for clean, dirty in zip(harmless, self.pages(reader, text), strict=True):
            assert dirty.elements == clean.elements
            assert text in dirty.text
            assert not any(link.lstrip().startswith("javascript:") for link in dirty.links)

    @pytest.mark.parametrize(
        ("text", "spelled"),
        [(text, spelled) for text, spelled in hostile.HIDDEN.items() if "\x00" not in text],
    )
    def test_hides_nothing(self, reader, text, spelled):
        for page in self.pages(reader, text):
            assert spelled in page.text
            assert text not in page.text

    def test_hides_no_nul_in_content(self, reader):
        record = make_record(question="nul\x00", answer="\x00nul")

        text = Page(reader.get(frame_of(record)).text).text

        assert "nul⟦NUL⟧" in text
        assert "⟦NUL⟧nul" in text

    def test_in_the_search_and_the_filters_stays_text(self, reader):
        for text in hostile.SCRIPTS:
            names = ("q", "user", "key", "group", "model", "state", "words", "endpoint")
            for fields in (dict.fromkeys(names, text), {"q": text, "by": "correlation"}):
                page = Page(reader.get(LIST, fields).text)

                assert [e for e in page.elements if e[0] == "script" and "src" not in e[1]] == []
                assert "onerror" not in str(page.elements)
                assert not any(link.lstrip().startswith("javascript:") for link in page.links)


class TestQueryString:
    @pytest.mark.parametrize(
        "query",
        [
            {"error_detail__regex": "(a+)+$"},
            {"correlation_id__icontains": "a"},
            {"model_name__startswith": "a"},
            *({name: "\x00"} for name in ("group", "user", "cause", "feature", "state", "ms_to")),
        ],
    )
    def test_may_not_hold_patterns_or_nul(self, auditor, query):
        assert auditor.get(LIST, query).status_code == 400

    @pytest.mark.parametrize(
        "query",
        [
            *({"o": "1.2.3"}, {"p": "x"}, {"p": "99999"}, {"all": ""}, {"e": "1"}, {"x": "y"}),
            *({"before": "x"}, {"after": "\x00"}, {"before": f"20261123T120000.000000_{'0' * 32}"}),
            *({"before": f"00010101T000000.000000_{'f' * 32}"}, {"opened_at_from_0": "9999-12-31"}),
            {"words": "a", "opened_at_from_0": "9999-12-31", "by": "correlation"},
            {"words": "a", "opened_at_to_0": "0001-01-01"},
            *({"by": "x", "live": "x"}, {"words": "\x00a"}, {"words": "!"}, {"ms_from": "x"}),
        ],
    )
    def test_never_breaks_the_page(self, reader, query):
        make_record()

        assert reader.get(LIST, query, follow=True).status_code == 200


class TestConfigurationStaysHidden:
    def test_no_row_of_the_control_plane_is_named_to_an_auditor(self, auditor):
        make_rule(make_group("secret-group"), model=make_model(name="secret-model"))

        shown = "".join(auditor.get(url).text for url in ("/admin/", LIST))

        assert "secret-" not in shown
        assert all(m.objects.exists() for m in (FeatureRule, Group, SelfHostedModel))
        assert not ApiKey.objects.exists()
        assert not Membership.objects.exists()
