"""docs/compatibility.md shows exactly the differences that the tests know."""

from tests.contract.page import BEGIN, END, PAGE, renewed


class TestCompatibilityPage:
    def test_lists_every_difference(self):
        page = PAGE.read_text()

        assert BEGIN in page
        assert END in page
        assert page == renewed(page), "run: python -m tests.contract.page"
