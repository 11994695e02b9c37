"""Promises of gateway/audit/paging.py."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from gateway.audit import paging
from gateway.audit.models import InferenceRecord
from gateway.audit.paging import BoundedPaginator
from tests.gateway.audit.conftest import make_record

pytestmark = pytest.mark.django_db


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.setattr(paging, "COUNT_MAX", 4)
    return lambda: BoundedPaginator(InferenceRecord.objects.order_by("-opened_at"), 2)


class TestBoundedPaginator:
    @pytest.mark.parametrize(
        ("rows", "count", "more"), [(0, 0, False), (4, 4, False), (5, 4, True)]
    )
    def test_counts_to_its_bound_and_says_whether_there_is_more(self, pages, rows, count, more):
        for _ in range(rows):
            make_record(question=None, answer=None)

        found = pages()

        assert (found.count, found.has_more) == (count, more)

    def test_asks_the_database_once_and_for_no_more_than_the_bound(self, pages):
        with CaptureQueriesContext(connection) as queries:
            found = pages()
            _ = (found.count, found.has_more, found.num_pages, found.count)

        assert len(queries) == 1
        assert "LIMIT 5" in queries[0]["sql"]
