"""The admin's list of records, fed by `gateway.audit.listing` instead of a paginated queryset."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.urls import reverse
from unfold.views import ChangeList

from gateway.audit import listing
from gateway.audit.criteria import Criteria, UnreadableCriteria
from gateway.audit.escapes import visible
from gateway.audit.listing import Page, Place
from gateway.audit.models import InferenceRecord

EMPTY = Page(records=(), count=0)
# What an address may hold beside filters: how the list is shown.
BY, LIVE, WORDS = "by", "live", "words"
CORRELATION = "correlation"


class Records(ChangeList):  # type: ignore[misc]  # Unfold has no types
    """One page of the log. `criteria` is what the address asks for, None if it cannot be read."""

    criteria: Criteria | None
    page: Page

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Take the place out of the address: every link but "older" and "newer" begins anew."""
        query = request.GET.copy()
        self._before, self._after = _place(query, "before"), _place(query, "after")
        request.GET = query  # type: ignore[assignment]  # a copy of itself
        self.is_grouped = is_grouped(query)
        self.is_live = LIVE in query and not (self._before or self._after)
        super().__init__(request, *args, **kwargs)

    def get_filters_params(self, params: Any = None) -> Any:
        """Return what the filters are to read."""
        found = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in (BY, LIVE, WORDS)}

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: object = None
    ) -> QuerySet[InferenceRecord]:
        """Read the filters; nothing is fetched through a queryset."""
        specs, self.has_filters, unknown, _, self.has_active_filters = self.get_filters(request)
        self.filter_specs = specs
        if unknown:
            raise IncorrectLookupParameters(unknown)
        self.clear_all_filters_qs = f"?{urlencode({BY: CORRELATION})}" if self.is_grouped else "?"
        try:
            self.criteria = Criteria.from_query({**request.GET.dict(), "q": self.query})
        except UnreadableCriteria as complaint:
            messages.error(request, str(complaint))
            self.criteria = None
        return InferenceRecord.objects.none()

    def get_results(self, request: HttpRequest) -> None:
        """Fetch the page with one statement."""
        self.page = self._page(request)
        self.result_list = self.page.records
        self.result_count = self.full_result_count = len(self.page.records)
        self.show_full_result_count = False
        self.show_admin_actions = self.can_show_all = self.multi_page = False

    def _page(self, request: HttpRequest) -> Page:
        if self.criteria is None:
            return EMPTY
        try:
            return listing.page(
                self.criteria,
                before=self._before,
                after=self._after,
                is_grouped=self.is_grouped,
            )
        except UnreadableCriteria as complaint:
            messages.error(request, str(complaint))
            return EMPTY

    @property
    def has_criteria(self) -> bool:
        """Test whether the address asks for anything but everything."""
        return self.criteria != Criteria()

    @property
    def older_url(self) -> str:
        """Return the address of the page after this one; "" at the end."""
        return self._url(before=self.page.older) if self.page.older else ""

    @property
    def newer_url(self) -> str:
        """Return the address of the page before this one; "" at the beginning."""
        return self._url(after=self.page.newer) if self.page.newer else ""

    @property
    def newest_url(self) -> str:
        """Return the address of the first page."""
        return str(self.get_query_string())

    @property
    def grouped_url(self) -> str:
        """Return the address with one line for each correlation id."""
        return str(self.get_query_string({BY: CORRELATION}))

    @property
    def plain_url(self) -> str:
        """Return the address with a line for each call."""
        return str(self.get_query_string(remove=[BY]))

    @property
    def live_url(self) -> str:
        """Return the address of the list that renews itself."""
        return str(self.get_query_string({LIVE: "1"}))

    @property
    def still_url(self) -> str:
        """Return the address of the list that stays as it is."""
        return str(self.get_query_string(remove=[LIVE]))

    @property
    def export_url(self) -> str:
        """Return where to export what the list shows."""
        asked = self.criteria.as_query() if self.criteria else {}
        return f"{reverse('admin:audit_export')}?{urlencode(asked)}"

    @property
    def spoken(self) -> list[tuple[str, str]]:
        """Return what the list is asked for, in words."""
        asked = self.criteria.in_words() if self.criteria else ()
        return [(name, visible(value)) for name, value in asked]

    @property
    def count_text(self) -> str:
        """Return how many records were found, as far as was counted."""
        return count_text(self.page)

    def _url(self, **place: Place) -> str:
        named = {name: str(value) for name, value in place.items()}
        return str(self.get_query_string(named, remove=[LIVE]))


def is_grouped(query: QueryDict) -> bool:
    """Test whether the list shows one line for each correlation id; a search shows each record."""
    return query.get(BY) == CORRELATION and not query.get(WORDS)


def count_text(page: Page) -> str:
    """Return how many records a first page stands for, as far as was counted."""
    count = page.count or 0
    many = "+" if page.has_more else ""
    return f"{count:,}{many} record{'' if count == 1 and not many else 's'}"


def _place(query: Any, name: str) -> Place | None:
    text = query.pop(name, [""])[-1]
    if not text:
        return None
    try:
        return Place.read(text)
    except ValueError as exc:
        raise IncorrectLookupParameters from exc
