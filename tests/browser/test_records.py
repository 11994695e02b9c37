"""From a call to its record in the admin, as an auditor sees it."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.browser.conftest import LIST
from tests.gateway.audit import hostile

QUESTION = "def hello():\n    "
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(17, 24, 39)"


def background(frame):
    return frame.eval_on_selector("body", "body => getComputedStyle(body).backgroundColor")


class TestFirstLook:
    def test_ends_with_the_printed_administrator_reading_the_record(self, visit, facts, ask):
        answer = ask(QUESTION, request_id="first look")
        visitor = visit()
        visitor.log_in(facts["ADMIN_USER"], facts["ADMIN_PASSWORD"])

        page = visitor.open("first look")

        assert answer.status_code == 200
        assert page.get_by_text("The model answered.").is_visible()
        texts = visitor.frame().locator("main > section pre").all_inner_texts()
        assert any("def hello():" in text for text in texts[:-1])
        assert texts[-1].strip() == answer.json()["choices"][0]["text"].strip()


class TestRoles:
    def test_an_auditor_finds_the_call_that_was_just_made_and_reads_it(self, visit, ask):
        ask(QUESTION, request_id="an auditor's")
        visitor = visit()
        page = visitor.log_in("auditor")

        page.get_by_role("link", name="Inference records").first.click()
        page.wait_for_url(f"**{LIST}")
        row = page.locator("#result_list tbody tr").first

        assert row.get_by_text("answered").is_visible()
        assert row.get_by_text("First look").is_visible()
        visitor.open("an auditor's")
        assert "def hello():" in visitor.frame().locator("main").inner_text()

    @pytest.mark.parametrize("name", ["operator", "superuser"])
    def test_others_see_the_record_without_its_content(self, visit, ask, name):
        ask(QUESTION, request_id=f"for {name}")
        visitor = visit()
        visitor.log_in(name)

        visitor.open(f"for {name}")
        page = visitor.tab("Conversation")

        assert page.get_by_text("shown to the role Auditors only").is_visible()
        assert page.locator("iframe").count() == 0
        assert not any(path.endswith("/content/") for path in visitor.paths)


class TestFrame:
    def test_runs_no_script_and_reaches_nothing_outside(self, visit, ask):
        ask(QUESTION, request_id="sandbox")
        visitor = visit()
        visitor.log_in("auditor")
        page = visitor.open("sandbox")

        visitor.frame()

        assert page.locator("iframe").get_attribute("sandbox") == ""
        assert page.evaluate("document.querySelector('iframe').contentDocument") is None

    def test_opens_on_a_page_of_its_own(self, visit, ask):
        ask(QUESTION, request_id="alone")
        visitor = visit()
        visitor.log_in("auditor")
        page = visitor.open("alone")
        visitor.frame()

        with visitor.context.expect_page() as opened:
            page.get_by_text("Open on a page of its own").click()

        opened.value.wait_for_load_state()
        assert "def hello():" in opened.value.locator("main").inner_text()

    @pytest.mark.parametrize(("system", "other"), [("light", "dark"), ("dark", "light")])
    def test_follows_the_theme_chosen_in_the_admin_and_is_not_read_again(
        self, visit, ask, system, other
    ):
        colors = {"light": LIGHT, "dark": DARK}
        ask(QUESTION, request_id=f"theme {system}")
        visitor = visit(color_scheme=system)
        visitor.log_in("auditor")
        page = visitor.open(f"theme {system}")
        frame = visitor.frame()
        before = background(frame)
        loads = len([path for path in visitor.paths if "/content/" in path])

        page.evaluate(f"Alpine.$data(document.documentElement).switchTheme('{other}')")
        page.wait_for_function(f"document.querySelector('iframe').src.endsWith('#{other}')")
        page.wait_for_timeout(200)

        assert before == colors[system]
        assert background(visitor.frame()) == colors[other]
        assert len([path for path in visitor.paths if "/content/" in path]) == loads == 1


class TestReason:
    def test_is_asked_before_content_is_shown_and_stands_with_the_readers(self, visit, ask):
        ask(QUESTION, request_id="why")
        visitor = visit()
        visitor.log_in("auditor")
        visitor.open("why")

        page = visitor.tab("Conversation")
        before = page.locator("iframe").count()
        visitor.frame()
        visitor.tab("Readers")

        assert before == 0
        row = page.locator(".audit-table tbody tr").first.inner_text()
        assert row.split("\t")[1:] == ["auditor", "Opened a record", "case 2026-117"]

    def test_is_remembered_and_can_be_ended(self, visit, ask):
        for number in (1, 2):
            ask(QUESTION, request_id=f"remembered {number}")
        visitor = visit()
        visitor.log_in("auditor")
        visitor.open("remembered 1")
        visitor.frame()

        visitor.open("remembered 2")
        page = visitor.tab("Conversation")
        is_asked_again = page.locator("input[name=reason]").count()
        visitor.frame()
        page.get_by_role("button", name="Give another reason").click()

        assert is_asked_again == 0
        page.get_by_label("Reason").wait_for()


class TestSearchInContent:
    def test_leads_over_the_reason_to_the_record_that_holds_the_words(self, visit, ask):
        ask("# the zebra crosses\n", request_id="zebra")
        visitor = visit()
        page = visitor.log_in("auditor")

        page.goto(LIST)
        page.get_by_label("Words in prompts and answers").fill('"zebra crosses"')
        page.get_by_role("button", name="Search content").click()
        page.get_by_label("Reason").fill("case 7")
        page.get_by_role("button", name="Go on").click()
        page.wait_for_url("**words=*")
        for _ in range(20):  # the index follows within seconds
            if page.locator("#result_list tbody tr").count():
                break
            page.wait_for_timeout(500)
            page.reload()

        assert page.locator("#result_list tbody tr").count() == 1
        assert page.get_by_text("This search is noted with the reason “case 7”").is_visible()
        page.locator("#result_list tbody a").first.click()
        assert "zebra" in visitor.frame().locator("main").inner_text()


class TestLive:
    def test_shows_a_new_call_without_being_asked(self, visit, ask):
        visitor = visit()
        page = visitor.log_in("auditor")
        page.goto(f"{LIST}?model=echo")
        page.get_by_role("button", name="Live").click()
        page.wait_for_url("**live=1*")
        before = page.locator("#result_list tbody th a").first.get_attribute("href")

        ask(QUESTION, request_id="live")

        page.wait_for_function(
            "before => document.querySelector('#result_list tbody th a')"
            ".getAttribute('href') !== before",
            arg=before,
            timeout=10_000,
        )
        assert page.get_by_text("Live: as of").is_visible()


class TestTabs:
    def test_lead_through_everything_about_a_record(self, visit, ask):
        ask(QUESTION, request_id="tabs")
        visitor = visit()
        page = visitor.log_in("auditor")
        visitor.open("tabs")

        assert (
            page.get_by_text("Rest of the answer").or_(page.get_by_text("Model")).first.is_visible()
        )
        visitor.tab("Policy")
        page.wait_for_timeout(1200)  # a ladder is written within a second of its first call
        page.reload()
        assert page.get_by_role("row", name="instance").is_visible()
        visitor.tab("Prompt version")
        assert page.get_by_text("its digest is the record's").is_visible()
        visitor.tab("Readers")
        assert page.get_by_text("Nobody has opened").is_visible()


class TestExport:
    def test_is_a_download_of_what_the_list_shows(self, visit, ask, tmp_path):
        ask(QUESTION, request_id="exported")
        visitor = visit()
        page = visitor.log_in("auditor")
        page.goto(f"{LIST}?q=exported")
        page.get_by_role("link", name="Export").click()
        page.get_by_label("With prompts and answers").check()
        page.get_by_label("Reason").fill("case 7")

        with page.expect_download() as started:
            page.get_by_role("button", name="Export").click()

        started.value.save_as(tmp_path / "export.csv")
        text = (tmp_path / "export.csv").read_text()
        # To the browser, a page that turns out to be a file is a page that failed.
        assert visitor.problems == [f"failed: {page.url}"]
        visitor.problems.clear()
        assert started.value.suggested_filename.endswith(".csv")
        assert len(text.splitlines()) == 2
        assert "def hello()" in text


class TestHostileText:
    def test_does_nothing_on_any_page(self, visit, ask):
        for number, text in enumerate(hostile.SCRIPTS):
            given = ask(f"{text}\n{text}", request_id=f"{number} {text}")
            assert given.status_code == 200
        visitor = visit()
        page = visitor.log_in("auditor")

        page.goto(LIST)
        page.wait_for_load_state("networkidle")
        rows = page.locator("#result_list tbody th a")
        newest = [rows.nth(at).get_attribute("href") for at in range(len(hostile.SCRIPTS))]
        for number, text in enumerate(hostile.SCRIPTS):
            page.goto(newest[-1 - number])
            assert page.get_by_text(f"{number} {text}", exact=True).is_visible()
            assert text in visitor.frame().locator("main").inner_text()

        assert page.evaluate("document.title").endswith("Enclave")
        # What an attack would have done stands in the visitor's problems.

    def test_does_nothing_as_a_filter_a_reason_or_a_reader(self, visit, ask):
        visitor = visit()
        page = visitor.log_in("auditor")
        ask(QUESTION, request_id="hostile reason")
        for text in hostile.SCRIPTS[::8]:
            visitor.open("hostile reason")
            visitor.tab("Conversation")
            page.get_by_label("Reason").fill(text)
            page.get_by_role("button", name="Show prompt and answer").click()
            visitor.frame()
            visitor.tab("Readers")
            assert page.get_by_text(text, exact=True).first.is_visible()
            asked = urlencode({"words": text, "group": text, "by": "correlation"})
            page.goto(f"{LIST}?{asked}", wait_until="networkidle")
            page.goto(f"{LIST}export/?{urlencode({'model': text})}")
            assert page.locator(".audit-asked").get_by_text(text).is_visible()
            visitor.open("hostile reason")
            visitor.frame()
            page.get_by_role("button", name="Give another reason").click()
            page.get_by_label("Reason").wait_for()
        page.goto("/admin/audit/contentreading/")

        assert page.evaluate("document.title").endswith("Enclave")

    def test_means_nothing_in_an_export_even_to_a_browser(self, visit, gateway, ask):
        ask("\n".join((*hostile.SCRIPTS, *hostile.HIDDEN)), request_id="exported <script>")
        page = visit().log_in("auditor")
        options = ("--content", "--reason", "case 7", "--key", "First look")

        lines = gateway.manage("audit", "export", *options, "-")
        cells = gateway.manage("audit", "export", *options, "--format", "csv", "-")
        page.set_content(lines)

        assert page.evaluate("document.body.children.length") == 0
        for text in (lines, cells):
            assert "exported" in text
            assert not any(ord(char) < 32 and char not in "\r\n" for char in text)
            assert not any(char in text for char in "\x7f\x9b\u202e\u200b\u2028")

    def test_hides_nothing(self, visit, ask):
        everything = "\n".join(hostile.HIDDEN)
        ask(everything, request_id="hidden")
        visitor = visit()
        visitor.log_in("auditor")
        visitor.open("hidden")

        shown = visitor.frame().locator("main").inner_text()

        for spelled in hostile.HIDDEN.values():
            assert spelled in shown


LONGEST = """
from datetime import timedelta
from django.utils import timezone
from gateway.audit.models import InferenceRecord
from gateway.ids import new_id
now = timezone.now()
long = "a-name-that-somebody-made-" + "very-" * 40 + "long"
InferenceRecord.objects.create(
    id=new_id(), state="interrupted", opened_at=now, deadline_at=now, caller_kind="instance",
    global_user_id=long, group_path=long, feature="duo_chat_explain_vulnerability", endpoint="/",
    is_streamed=False, correlation_id=REQUEST_ID, config_version=1, model_name=long, policy=long,
    total_ms=9876, error_code="backend_rate_limited", error_detail=long, web_process="w",
)
"""


class TestSmallScreen:
    @pytest.mark.parametrize("width", [390, 800, 1280, 1920])
    def test_nothing_hangs_over_the_edge_however_long_it_is(self, visit, gateway, width):
        gateway.run(LONGEST.replace("REQUEST_ID", repr(f"width {width}")))
        visitor = visit(viewport={"width": width, "height": 900})
        page = visitor.log_in("auditor")
        overhang = "document.documentElement.scrollWidth - innerWidth"

        page.goto(LIST)
        page.wait_for_load_state("networkidle")
        in_list = page.evaluate(overhang)
        in_table = page.locator("#result_list").evaluate(
            "table => table.scrollWidth - table.parentElement.clientWidth"
        )
        page.goto(f"{LIST}?by=correlation&group=nobody&words=")
        page.goto(f"{LIST}?by=correlation")
        page.wait_for_load_state("networkidle")
        grouped = page.evaluate(overhang)
        visitor.open(f"width {width}")
        tabs = []
        for title in ("Timeline", "Policy", "Prompt version", "Readers", "Conversation"):
            visitor.tab(title)
            tabs.append(page.evaluate(overhang))
        visitor.frame()
        page.goto("/admin/audit/contentreading/")
        tabs.append(page.evaluate(overhang))

        assert (in_list, grouped, tabs) == (0, 0, [0] * 6)
        assert in_table <= 0


class TestEmptyLog:
    def test_says_what_to_do_when_nothing_matches(self, visit):
        visitor = visit()
        page = visitor.log_in("auditor")

        page.goto(f"{LIST}?q=nothing")

        assert page.get_by_text("No record matches").is_visible()
        page.get_by_role("link", name="Show every record").click()
        page.wait_for_url(f"**{LIST}?")
