"""The product as processes, and a person with Chromium in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.management.commands import first_run
from tests.rig.gateway import ROOT, Gateway
from tests.rig.gitlab import FakeGitLab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Frame, Page, Response

LIST = "/admin/audit/inferencerecord/"
PASSWORD = "correct horse battery"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that renews the pictures in docs/images."""
    parser.addoption("--update-screenshots", action="store_true", help="renew docs/images/*.png")


@pytest.fixture
def picture(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Page, str], None]:
    """A function that takes a picture: for the docs with --update-screenshots, else for nobody."""
    is_asked = request.config.getoption("--update-screenshots", default=False)
    directory = ROOT / "docs" / "images" if is_asked else tmp_path

    def take(page: Page, name: str) -> None:
        page.mouse.move(0, 0)
        page.screenshot(path=directory / f"{name}.png")

    return take


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The product as `make run` sets it up, and one person for each role."""
    gitlab = FakeGitLab()
    started = Gateway(tmp_path_factory.mktemp("browser"), gitlab=gitlab)
    started.manage("first_run", "--url", started.url)
    started.run(
        "from django.contrib.auth.models import Group, User\n"
        "for name, role in (('auditor', 'Auditors'), ('operator', 'Model administrators')):\n"
        f"    user = User.objects.create_user(name, password={PASSWORD!r}, is_staff=True)\n"
        "    user.groups.add(Group.objects.get(name=role))\n"
        f"User.objects.create_superuser('superuser', password={PASSWORD!r})"
    )
    started.wait_for_configuration()
    yield started
    started.stop()
    gitlab.close()


@pytest.fixture(scope="module")
def facts(gateway: Gateway) -> dict[str, str]:
    """What the first start printed: ADMIN_USER, ADMIN_PASSWORD, API_KEY."""
    return first_run.read(gateway.directory / first_run.FILE)


class Visitor:
    """A person at a browser, and everything that a person should not have to see."""

    def __init__(self, browser: Browser, gateway: Gateway, **options: Any) -> None:
        """Open an empty page; the options are those of a browser context."""
        self.gateway = gateway
        self.problems: list[str] = []
        self.paths: list[str] = []
        self.context = browser.new_context(base_url=gateway.url, **options)
        self.page = self.context.new_page()
        # A violation of a Content-Security-Policy is written to the console.
        self.page.on("console", self._read)
        self.page.on("pageerror", lambda error: self._note(f"script: {error}"))
        self.page.on("dialog", self._dismiss)
        self.page.on("requestfailed", lambda request: self._note(f"failed: {request.url}"))
        self.page.on("response", self._look_at)

    def _note(self, problem: str) -> None:
        self.problems.append(problem)

    def _read(self, line: ConsoleMessage) -> None:
        if line.type == "error":
            self._note(f"console: {line.text}")

    def _dismiss(self, dialog: Dialog) -> None:
        self._note(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _look_at(self, response: Response) -> None:
        if not response.url.startswith((f"{self.gateway.url}/", "data:")):
            self._note(f"another host: {response.url}")
        if response.status >= 400:
            self._note(f"{response.status}: {response.url}")
        self.paths.append(response.url.removeprefix(self.gateway.url))

    def log_in(self, name: str, password: str = PASSWORD) -> Page:
        """Log in as a person would."""
        self.page.goto("/admin/")
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url("**/admin/")
        return self.page

    def open(self, correlation_id: str) -> Page:
        """Find a record by its correlation id and open it."""
        self.page.goto(LIST)
        self.page.get_by_placeholder("Record id or correlation id").fill(correlation_id)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url("**q=*")
        self.page.locator("#result_list tbody a").first.click()
        self.page.wait_for_url("**/change/**")
        return self.page

    def tab(self, title: str) -> Page:
        """Open a tab of the record's page, once that is all there: what is left loads no more."""
        self.page.wait_for_load_state("load")
        self.page.get_by_role("navigation", name="About this record").get_by_text(title).click()
        self.page.wait_for_selector(f"a[aria-current=page]:has-text('{title}')")
        return self.page

    def frame(self) -> Frame:
        """Return the frame with prompt and answer, once it is there; give a reason if asked."""
        if "tab=conversation" not in self.page.url:
            self.tab("Conversation")
        if self.page.locator("input[name=reason]").count():
            self.page.get_by_label("Reason").fill("case 2026-117")
            self.page.get_by_role("button", name="Show prompt and answer").click()
        element = self.page.wait_for_selector("iframe")
        frame = element.content_frame() if element else None
        assert frame is not None
        frame.wait_for_selector("main section")
        frame.wait_for_load_state("load")
        return frame


@pytest.fixture
def visit(browser: Browser, gateway: Gateway) -> Iterator[Callable[..., Visitor]]:
    """A function that opens a browser window; what went wrong in one fails the test."""
    visitors: list[Visitor] = []

    def start(**options: Any) -> Visitor:
        visitors.append(Visitor(browser, gateway, **options))
        return visitors[-1]

    yield start
    problems = [problem for visitor in visitors for problem in visitor.problems]
    for visitor in visitors:
        visitor.context.close()
    assert problems == []


@pytest.fixture
def ask(gateway: Gateway, facts: dict[str, str]) -> Callable[..., Any]:
    """A function that asks for a completion with the key that a first start prints."""

    def send(above: str, *, key: str = "", request_id: str = "", **fields: Any) -> Any:
        headers = {"Authorization": f"Bearer {key or facts['API_KEY']}"}
        if request_id:
            headers["X-Request-ID"] = request_id
        file = {"file_name": "app.py", "content_above_cursor": above, "content_below_cursor": ""}
        body = {"prompt_version": 1, "current_file": file, **fields}
        return gateway.post("/v2/code/completions", json=body, headers=headers)

    return send
