"""From a model's form through its connection test to a model that works."""

from __future__ import annotations

import pytest

from tests.rig.processes import wait_until

ADD = "/admin/models_registry/selfhostedmodel/add/"
LIST = "/admin/models_registry/selfhostedmodel/"
EGRESS = "/admin/models_registry/egressdestination/"


def fill(page, name, endpoint, identifier):
    page.goto(ADD)
    page.get_by_label("Name", exact=False).first.fill(name)
    page.locator("#id_family").select_option("codestral")
    page.locator("#id_endpoint").fill(endpoint)
    page.locator("#id_identifier").fill(identifier)


def run(page):
    page.get_by_role("button", name="Test connection").click()
    page.wait_for_selector(".check-start:enabled")
    return page.locator(".check-status").inner_text()


def show_destination(page, destination):
    """Open the egress page, and wait until the process has written a destination down."""

    def is_listed():
        page.goto(EGRESS)
        return page.get_by_text(destination, exact=True).count() > 0

    wait_until(is_listed, within_s=15, what=f"{destination} on the page")


class TestConnectionTest:
    def test_leads_a_person_from_a_wrong_form_to_a_model_that_works(self, visit, gateway, backend):
        backend.needs_version = True
        visitor = visit()
        page = visitor.log_in("operator")
        fill(page, "guided", backend.url, "codestrall")

        stopped = run(page)
        page.get_by_role("button", name="codestral", exact=True).click()
        done = run(page)
        page.get_by_role("button", name="Save", exact=True).click()
        page.wait_for_url(f"**{LIST}")

        assert stopped.startswith("Stopped at Model present. Fix: Take one of the names")
        assert done == "Everything works."
        row = page.locator("#result_list tbody tr", has_text="guided")
        assert row.get_by_text("works").is_visible()
        assert row.get_by_text(backend.endpoint).is_visible()

    def test_shows_each_step_while_the_next_one_runs(self, visit, backend):
        backend.names = ["ttft-2000ms"]
        visitor = visit()
        page = visitor.log_in("operator")
        fill(page, "slow", backend.endpoint, "ttft-2000ms")

        page.get_by_role("button", name="Test connection").click()
        page.wait_for_selector('[data-step="present"].check-ok')

        assert page.locator('[data-step="answer"]').inner_text().split() == [
            "progress_activity",
            "One-token",
            "answer",
            "running",
        ]
        assert page.locator('[data-step="stream"] .check-word').inner_text() == "waiting"
        page.wait_for_selector(".check-start:enabled")
        assert page.locator('[data-step="stream"]').get_attribute("data-state") == "ok"

    def test_says_what_is_missing_before_anything_is_dialed(self, visit, backend):
        visitor = visit()
        page = visitor.log_in("operator")
        fill(page, "incomplete", backend.endpoint, "stub")
        page.locator("#id_ca_bundle").fill("nonsense")

        said = run(page)

        assert said.startswith("CA bundle: This is not a PEM file")
        assert backend.calls == []
        # The browser tells of the answer 422.
        assert visitor.problems
        assert all("422" in problem for problem in visitor.problems)
        visitor.problems.clear()

    def test_shows_the_last_test_when_the_model_is_opened_again(self, visit, backend):
        visitor = visit()
        page = visitor.log_in("operator")
        fill(page, "kept", backend.endpoint, "stub")
        run(page)
        page.get_by_role("button", name="Save and continue editing").click()
        page.wait_for_url("**/change/")

        assert "Last test of this model: passed" in page.locator(".check-status").inner_text()
        assert page.locator(".check-step").count() == 10

    @pytest.mark.parametrize("width", [390, 1280])
    def test_nothing_hangs_over_the_edge(self, visit, backend, width):
        backend.names = ["a-name-" + "very-" * 40 + "long", *(f"model-{n}" for n in range(30))]
        visitor = visit(viewport={"width": width, "height": 900})
        page = visitor.log_in("operator")
        fill(page, f"width {width}", backend.endpoint, "another-name-" + "very-" * 40 + "long")

        run(page)

        panel = page.locator("#connection-test")
        assert panel.evaluate("panel => panel.scrollWidth - panel.clientWidth") <= 0
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


class TestEgress:
    def test_shows_what_may_be_reached_and_how_to_allow_what_was_refused(self, visit, gateway):
        visitor = visit()
        page = visitor.log_in("operator")
        fill(page, "outside", "https://8.8.8.8/v1", "gpt")
        said = run(page)

        show_destination(page, "8.8.8.8:443")

        assert "add 8.8.8.8:443 to GATEWAY_EGRESS_ALLOW" in said
        assert page.get_by_text("What may be reached").is_visible()
        assert page.get_by_text("10.0.0.0/8", exact=True).is_visible()
        assert page.get_by_text("add 8.8.8.8:443 to GATEWAY_EGRESS_ALLOW").is_visible()
