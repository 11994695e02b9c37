"""Promises of gateway/audit/changelist.py; the list itself is tested with the admin."""

import pytest
from django.urls import reverse

from gateway.audit.changelist import count_text
from gateway.audit.listing import Page
from tests.gateway.audit.conftest import make_record

LIST = reverse("admin:audit_inferencerecord_changelist")


class TestCountText:
    @pytest.mark.parametrize(
        ("count", "has_more", "text"),
        [
            (0, False, "0 records"),
            (1, False, "1 record"),
            (1, True, "1+ records"),
            (10_000, True, "10,000+ records"),
        ],
    )
    def test_claims_no_more_than_was_counted(self, count, has_more, text):
        assert count_text(Page(records=(), count=count, has_more=has_more)) == text


@pytest.mark.django_db
class TestRecords:
    @pytest.fixture
    def urls(self, auditor):
        """A function from an address to the addresses that the list offers from there."""
        for _ in range(51):
            make_record()

        def ask(query):
            found = auditor.get(f"{LIST}{query}").context_data["cl"]
            names = ("older_url", "newer_url", "newest_url", "grouped_url", "live_url")
            return {name: getattr(found, name) for name in (*names, "export_url")}

        return ask

    def test_keeps_the_filters_in_every_address(self, urls):
        offered = urls("?state=answered&user=user-7")

        assert all("state=answered" in url for url in offered.values() if url)
        assert all("user=user-7" in url for url in offered.values() if url)
        assert "before=" in offered["older_url"]

    def test_begins_anew_wherever_one_does_not_page(self, urls):
        older = urls("")["older_url"]

        offered = urls(older)

        assert "after=" in offered["newer_url"]
        assert "before=" not in "".join(offered.values()).replace(offered["older_url"], "")
        assert offered["newest_url"] == "?"

    def test_stands_still_on_a_page_of_the_past(self, auditor, urls):
        older = urls("")["older_url"]

        page = auditor.get(f"{LIST}{older}&live=1")

        assert not page.context_data["cl"].is_live

    def test_says_what_it_is_asked_for_with_nothing_hidden(self, auditor):
        page = auditor.get(LIST, {"user": "a\u202eb", "ms_from": "5"})

        assert page.context_data["cl"].spoken == [
            ("user", "a⟦U+202E⟧b"),
            ("took at least (ms)", "5"),
        ]
