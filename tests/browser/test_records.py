"""From a call to its record in the admin, as an auditor sees it."""

from __future__ import annotations

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

        page = visitor.open(f"for {name}")

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

        page.evaluate(f"Alpine.$data(document.documentElement).switchTheme('{other}')")
        page.wait_for_function(f"document.querySelector('iframe').src.endsWith('#{other}')")
        page.wait_for_timeout(200)

        assert before == colors[system]
        assert background(visitor.frame()) == colors[other]
        assert len([path for path in visitor.paths if "/content/" in path]) == 1


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
            assert text in visitor.frame().locator("main").inner_text()
            assert page.get_by_text(f"{number} {text}", exact=True).is_visible()

        assert page.evaluate("document.title").endswith("Enclave")
        # What an attack would have done stands in the visitor's problems.

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
        visitor.open(f"width {width}")
        visitor.frame()

        assert (in_list, page.evaluate(overhang)) == (0, 0)
        assert in_table <= 0


class TestEmptyLog:
    def test_says_what_to_do_when_nothing_matches(self, visit):
        visitor = visit()
        page = visitor.log_in("auditor")

        page.goto(f"{LIST}?q=nothing")

        assert page.get_by_text("No record matches").is_visible()
        page.get_by_role("link", name="Show every record").click()
        page.wait_for_url(f"**{LIST}?")
