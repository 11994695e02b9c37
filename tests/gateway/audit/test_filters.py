"""Promises of gateway/audit/filters.py, through the list that uses them."""

import re
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from gateway.audit.models import InferenceRecord
from tests.gateway.audit.conftest import make_record

pytestmark = pytest.mark.django_db

LIST = reverse("admin:audit_inferencerecord_changelist")
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def found(auditor):
    """A function from a query to the models of the records that the list shows."""

    def find(**query):
        page = auditor.get(LIST, query)
        assert page.status_code == 200
        return sorted(re.findall(r">(model-\w+)</span>", page.text))

    return find


class TestOpenedFilter:
    @pytest.fixture(autouse=True)
    def _records(self):
        make_record(model_name="model-before", opened_at=NOON.replace(day=22, hour=23, minute=59))
        make_record(model_name="model-noon", opened_at=NOON)
        make_record(model_name="model-night", opened_at=NOON.replace(hour=23, minute=59, second=59))
        make_record(model_name="model-after", opened_at=NOON.replace(day=24, hour=0))

    def test_takes_a_date_without_a_time_as_the_whole_day(self, found):
        day = {"opened_at_from_0": "2026-11-23", "opened_at_to_0": "2026-11-23"}

        assert found(**day) == ["model-night", "model-noon"]

    def test_takes_a_time_with_its_date(self, found):
        since = {"opened_at_from_0": "2026-11-23", "opened_at_from_1": "12:00:01"}

        assert found(**since) == ["model-after", "model-night"]

    def test_takes_either_end_alone(self, found):
        assert found(opened_at_to_0="2026-11-22") == ["model-before"]

    @pytest.mark.parametrize(
        "query",
        [
            {"opened_at_from_0": "yesterday"},
            {"opened_at_from_1": "12:00:00"},
            {"opened_at_to_0": "2026-11-23", "opened_at_to_1": "noon"},
        ],
    )
    def test_shows_nothing_and_says_so_where_it_cannot_read_the_time(self, auditor, query):
        page = auditor.get(LIST, query)

        assert page.text.count("The time cannot be read:") == 1
        assert "No record matches" in page.text


class TestOtherFilters:
    @pytest.fixture(autouse=True)
    def _records(self):
        make_record(model_name="model-a", group_path="payments", api_key_name="laptop")
        make_record(
            model_name="model-b", group_path="payments/core", user_id="7", prompt_tokens=1000
        )
        make_record(
            model_name="model-c", group_path="payments-old", feature="duo_chat", endpoint="/v1/chat"
        )
        make_record(
            model_name="model-d",
            group_path="",
            state="failed",
            error_code="backend_auth",
            total_ms=9000,
            prompt_tokens=None,
        )

    @pytest.mark.parametrize(
        ("query", "models"),
        [
            ({"state": "failed"}, ["model-d"]),
            ({"cause": "backend_auth"}, ["model-d"]),
            ({"cause": "unheard_of"}, []),
            ({"feature": "duo_chat"}, ["model-c"]),
            ({"kind": "api_key"}, []),
            ({"kind": "instance"}, ["model-a", "model-b", "model-c", "model-d"]),
            ({"key": "laptop"}, ["model-a"]),
            ({"key": "lap"}, []),
            ({"user": " 7 "}, ["model-b"]),
            ({"user": "user-7"}, ["model-a", "model-b", "model-c", "model-d"]),
            ({"endpoint": "/v1/chat"}, ["model-c"]),
            ({"ms_from": "1000"}, ["model-d"]),
            ({"ms_to": "250", "ms_from": "250"}, ["model-a", "model-b", "model-c"]),
            ({"tokens_from": "71"}, ["model-b"]),
            ({"tokens_to": "70"}, ["model-a", "model-c"]),
            ({"group": "payments"}, ["model-a"]),
            ({"group": "payments/"}, ["model-a", "model-b"]),
            ({"group": "payments/core"}, ["model-b"]),
            ({"group": "pay"}, []),
            ({"group": "pay/"}, []),
            ({"group": "PAYMENTS/"}, []),
            ({"group": "%"}, []),
            ({"model": "model-a"}, ["model-a"]),
            ({"model": "MODEL-a"}, []),
            ({"group": "payments/", "user": "7"}, ["model-b"]),
            ({"user": "7", "key": "laptop"}, []),
            ({"user": "  "}, ["model-a", "model-b", "model-c", "model-d"]),
        ],
    )
    def test_show_what_equals(self, found, query, models):
        assert found(**query) == models

    def test_take_their_choices_from_the_code_and_not_from_the_log(self, auditor):
        with CaptureQueriesContext(connection) as queries:
            page = auditor.get(LIST)

        assert "DISTINCT" not in "".join(query["sql"] for query in queries)
        assert len([q for q in queries if InferenceRecord._meta.db_table in q["sql"]]) == 1
        assert '<option value="backend_tls">' in page.text
        assert '<option value="code_completions">Code Completion</option>' in page.text
