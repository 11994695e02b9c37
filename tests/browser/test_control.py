"""The control plane as a model administrator uses it: the matrix, the explanation, the sync."""

from __future__ import annotations

import pytest

from tests.rig.processes import wait_until

CELL = 'tr[data-path="{}"] td[data-feature="{}"] .matrix-cell'
COMPANY = """
from features.models import *
from models_registry.changes import made_by
from models_registry.models import SelfHostedModel
make = SelfHostedModel.objects.create
qwen = make(name="Qwen2.5 Coder 7B", family="qwen", provider="echo")
codestral = make(name="Codestral 22B", family="codestral", provider="echo")
at = {}
for number, (path, users) in enumerate(PEOPLE.items(), start=1):
    at[path] = Group.objects.create(path=path, gitlab_id=number)
    for user in users:
        Membership.objects.create(group=at[path], user_ref=str(hash(user) % 10**9))
        GitLabUser.objects.get_or_create(user_ref=str(hash(user) % 10**9), username=user)
rule = FeatureRule.objects.create
with made_by("a.smith"):
    rule(group=at["payments"], feature="code_completions", is_locked=True, model=qwen)
    rule(group=at["research"], feature="duo_chat", state="off", is_locked=True)
with made_by("k.sato"):
    rule(group=at["payments/core"], feature="code_completions", state="inherit", model=codestral)
    rule(group=at["payments/core/legacy"], feature="code_completions", state="off")
    rule(group=at["research"], feature="review_merge_request", model=codestral)
print(ApiKey.issue(name="CI runner", group=at["platform"])[1])
"""
PEOPLE = {
    "payments": ["eve", "adam"],
    "payments/core": ["kai"],
    "payments/core/legacy": ["io"],
    "payments/web": ["mia", "lee"],
    "platform": ["zed"],
    "research": ["eve", "noor"],
}
# The least contrast of the texts that are seen, with what stands behind each (WCAG 2.2, 1.4.3).
CONTRAST = """
() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const pixel = (colors) => {
    context.clearRect(0, 0, 1, 1);
    for (const color of colors) { context.fillStyle = color; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.querySelectorAll(".control *, .matrix-editor *")) {
    const texts = [...element.childNodes].filter((node) => node.nodeType === 3);
    if (!texts.some((node) => node.textContent.trim()) || element.offsetParent === null) continue;
    if (element.closest("option, [hidden]")) continue;
    const behind = [];
    for (let up = element; up; up = up.parentElement) {
      behind.unshift(getComputedStyle(up).backgroundColor);
    }
    const back = pixel(["white", ...behind]);
    const front = pixel(["white", ...behind, getComputedStyle(element).color]);
    const [a, b] = [light(back), light(front)].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), element.textContent.trim().slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0])[0];
}
"""


@pytest.fixture(scope="module")
def key(gateway):
    """A company with rules; the text of an API key of one of its groups."""
    printed = gateway.run(COMPANY.replace("PEOPLE", repr(PEOPLE)))
    gateway.wait_for_configuration()
    return printed.strip()


@pytest.fixture
def matrix(visit, key):
    """The matrix, with the groups of payments open."""

    def open_it(**options):
        visitor = visit(viewport={"width": 1440, "height": 900}, **options)
        page = visitor.log_in("operator")
        page.goto("/admin/matrix/")
        page.get_by_role("button", name="Open payments", exact=True).click()
        page.get_by_role("button", name="Open payments/core", exact=True).click()
        page.wait_for_selector('tr[data-path="payments/core/legacy"]')
        return visitor

    return open_it


class TestMatrix:
    def test_is_edited_with_the_keyboard_alone_and_holds_for_the_next_call(
        self, matrix, gateway, ask, key
    ):
        assert ask("x = ", key=key).status_code == 200
        page = matrix().page
        page.locator(CELL.format("payments/core/legacy", "code_completions")).focus()

        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        focused = page.evaluate("document.activeElement.ariaLabel")
        assert focused.startswith("platform, Code Completion: on, inherited")
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        assert "off" in page.locator(CELL.format("platform", "code_completions")).inner_text()
        assert page.get_by_text("1 cell changed, not saved").is_visible()
        page.get_by_role("button", name="Preview").press("Enter")
        page.get_by_text("1 user loses it").wait_for()
        assert page.get_by_text("1 API key loses it: CI runner").is_visible()
        page.get_by_role("button", name="Save", exact=True).press("Enter")
        page.get_by_text("Saved: 1 cell.").wait_for()

        wait_until(lambda: ask("x = ", key=key).status_code == 403, within_s=3, what="the new rule")
        page.wait_for_selector('tr[data-path="payments/core/legacy"]')  # open as before

    def test_moves_through_what_is_seen(self, matrix):
        page = matrix().page
        page.locator(CELL.format("payments", "code_completions")).focus()

        def spot():
            return page.evaluate("document.activeElement.ariaLabel.split(':')[0]")

        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert spot() == "payments, Merge Commit Message Generation"  # parts of chat are hidden
        page.keyboard.press("Home")
        page.keyboard.press("-")
        page.keyboard.press("ArrowDown")
        assert spot() == "platform, Code Completion"
        page.keyboard.press("ArrowUp")
        page.keyboard.press("+")
        page.keyboard.press("ArrowDown")
        assert spot() == "payments/core, Code Completion"
        page.get_by_label("parts of chat").check()
        assert page.locator(CELL.format("payments", "duo_chat_fix_code")).is_visible()

    def test_forgets_what_is_discarded(self, matrix):
        page = matrix().page
        cell = page.locator(CELL.format("research", "duo_chat"))
        before = cell.inner_html()
        cell.focus()

        page.keyboard.press("Delete")
        assert "no rule" in cell.inner_text()
        page.get_by_role("button", name="Discard").click()

        assert cell.inner_html() == before
        assert page.get_by_text("not saved").is_hidden()

    def test_leaves_a_cell_alone_that_is_set_to_what_it_was(self, matrix):
        page = matrix().page
        page.locator(CELL.format("payments", "code_completions")).click()

        assert page.get_by_label("on", exact=True).is_checked()
        assert page.get_by_label("locked: groups").is_checked()
        page.get_by_role("button", name="Set").click()

        assert page.get_by_text("not saved").is_hidden()

    def test_says_that_somebody_was_faster(self, matrix, gateway):
        visitor = matrix()
        page = visitor.page
        page.locator(CELL.format("payments/web", "duo_chat")).click()
        page.get_by_label("off", exact=True).check()
        page.get_by_role("button", name="Set").click()
        gateway.run(
            "from features.models import *\n"
            "FeatureRule.objects.create(feature='duo_chat', "
            "group=Group.objects.get(path='payments/web'))"
        )
        gateway.wait_for_configuration()

        page.get_by_role("button", name="Preview").click()
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_text("was changed by somebody else meanwhile").wait_for()

        # The refusal is an answer of 422, which a visitor notes; and nothing is left to save.
        visitor.problems[:] = [p for p in visitor.problems if "422" not in p]
        page.get_by_role("button", name="Discard").click()

    def test_rehearses_on_the_calls_on_record(self, matrix, ask, facts):
        ask("x = ")
        page = matrix().page
        page.locator(CELL.format("", "code_completions")).click()
        page.get_by_label("off", exact=True).check()
        page.get_by_role("button", name="Set").click()

        page.get_by_role("button", name="Preview").click()
        page.get_by_role("button", name="Rehearse on the last 7 days").click()

        page.get_by_text("decided again").wait_for()
        assert page.locator("#rehearsal td").first.inner_text() == "Code Completion"
        page.get_by_role("button", name="Discard").click()


class TestExplain:
    def test_answers_a_question_in_an_administrator_s_words(self, visit, key):
        page = visit().log_in("operator")
        page.get_by_role("link", name="Explain").first.click()

        page.get_by_label("Feature").select_option(label="Code Completion")
        page.get_by_label("User").fill("kai")
        page.get_by_label("Project or group").fill("payments/core/legacy/app")
        page.keyboard.press("Enter")

        page.get_by_text("Code Completion: off").wait_for()
        assert page.get_by_text("The ladder of payments/core/legacy").is_visible()
        assert page.get_by_text("a.smith").first.is_visible()


class TestSync:
    def test_is_started_watched_and_found_again(self, visit, gateway):
        gitlab = gateway.gitlab
        gitlab.add_group("observatory", gitlab_id=900, members={77: "ana"})
        page = visit().log_in("operator")
        page.goto("/admin/sync/")

        page.get_by_label("Token", exact=True).fill(gitlab.api_token)
        page.get_by_role("button", name="Store").click()
        gitlab.slow_s = 1.5
        gitlab.fail("slow", at="/members")
        page.get_by_role("button", name="Sync now").click()
        page.get_by_text("Reading members").wait_for()
        page.goto("/admin/")
        page.goto("/admin/sync/")

        page.get_by_text("Up to date").wait_for()
        assert page.get_by_text("1 groups added, 1 members added").is_visible()
        gitlab.recover()


class TestPictures:
    """make test ARGS="tests/browser/test_control.py --update-screenshots", then look at them."""

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_show_the_matrix_with_a_preview(self, matrix, picture, scheme):
        page = matrix(color_scheme=scheme).page
        page.locator(CELL.format("payments", "duo_chat")).click()
        page.get_by_label("off", exact=True).check()
        page.wait_for_timeout(200)
        assert page.evaluate(CONTRAST)[0] >= 4.5, page.evaluate(CONTRAST)
        picture(page, f"matrix-editor-{scheme}")
        page.get_by_role("button", name="Set").click()
        page.get_by_role("button", name="Preview").click()
        page.get_by_text("If you save this").wait_for()
        page.wait_for_timeout(200)

        picture(page, f"matrix-{scheme}")

        assert page.evaluate(CONTRAST)[0] >= 4.5, page.evaluate(CONTRAST)
        page.get_by_role("button", name="Discard").click()

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_show_an_explanation(self, visit, key, picture, scheme):
        page = visit(color_scheme=scheme, viewport={"width": 1280, "height": 1000}).log_in(
            "operator"
        )
        page.goto(
            "/admin/explain/?feature=code_completions&user=kai&place=payments/core/legacy/app"
        )
        page.wait_for_load_state("networkidle")

        picture(page, f"explain-{scheme}")

        assert page.evaluate(CONTRAST)[0] >= 4.5, page.evaluate(CONTRAST)


class TestSmallScreen:
    @pytest.mark.parametrize(
        "path", ["matrix/", "explain/?feature=duo_chat&user=kai", "sync/", "configuration/"]
    )
    @pytest.mark.parametrize("width", [390, 1280])
    def test_nothing_hangs_over_the_edge(self, visit, key, path, width):
        page = visit(viewport={"width": width, "height": 900}).log_in("operator")

        page.goto(f"/admin/{path}")
        page.wait_for_load_state("networkidle")

        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
