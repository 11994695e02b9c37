"""What may be reached, what was reached, what was refused: from memory to the report."""

from __future__ import annotations

import pytest
from django.db import DatabaseError

from models_registry import egress_ledger, egress_report
from models_registry.egress_ledger import MODEL, OTHERS, Destination
from models_registry.models import EgressDestination

pytestmark = pytest.mark.django_db
HERE = Destination("llm.example.com", 8000, MODEL)


def rows():
    return {
        Destination(row.host, row.port, row.purpose): row for row in EgressDestination.objects.all()
    }


class TestFlush:
    def test_adds_to_what_was_written_before(self):
        egress_ledger.reached(*HERE)
        egress_report.flush()
        first = rows()[HERE]
        egress_ledger.reached(*HERE)
        egress_ledger.reached(*HERE)
        egress_ledger.refused(*HERE, reason="not_listed")

        egress_report.flush()

        row = rows()[HERE]
        assert (row.reached, row.refused, row.reason) == (3, 1, "not_listed")
        assert row.first_at == first.first_at
        assert row.last_at > first.last_at

    def test_writes_nothing_for_nothing(self, django_assert_num_queries):
        with django_assert_num_queries(0):
            egress_report.flush()

    def test_writes_a_known_destination_with_one_update(self, django_assert_num_queries):
        egress_ledger.reached(*HERE)
        egress_report.flush()
        for _ in range(1_000):
            egress_ledger.reached(*HERE)

        with django_assert_num_queries(3):  # with the two of the transaction
            egress_report.flush()

        assert rows()[HERE].reached == 1_001

    def test_loses_nothing_when_the_database_is_away(self, monkeypatch):
        egress_ledger.reached(*HERE)

        def away(*_):
            raise DatabaseError

        with monkeypatch.context() as patched:
            patched.setattr(egress_report, "_write", away)
            with pytest.raises(DatabaseError):
                egress_report.flush()
        egress_report.flush()

        assert rows()[HERE].reached == 1

    def test_keeps_no_more_rows_than_its_limit(self, monkeypatch):
        monkeypatch.setattr(egress_report, "ROWS_MAX", 2)
        for port in range(1, 6):
            egress_ledger.refused("10.0.0.1", port, MODEL, reason="not_listed")

        egress_report.flush()

        assert len(rows()) == 3
        assert rows()[Destination(OTHERS, 0, MODEL)].refused == 3


class TestToAllow:
    @pytest.mark.parametrize(
        ("host", "reason", "says"),
        [
            ("8.8.8.8", "not_listed", "Add 8.8.8.8:443 to GATEWAY_EGRESS_ALLOW"),
            ("2606:4700::1111", "not_listed", "Add [2606:4700::1111]:443 to GATEWAY"),
            ("169.254.169.254", "never_dialed", "No setting opens it"),
            ("10.0.0.1", "other_peer", "proxy"),
            (OTHERS, "not_listed", "more destinations than"),
        ],
    )
    def test_names_what_to_change(self, host, reason, says):
        row = EgressDestination(host=host, port=443, purpose=MODEL, refused=1, reason=reason)

        assert says in egress_report.to_allow(row)

    def test_gives_an_entry_that_the_setting_takes(self, settings):
        from models_registry.egress import validate_endpoint

        for host in ("8.8.8.8", "2606:4700::1111"):
            row = EgressDestination(host=host, port=443, reason="not_listed")
            entry = egress_report.to_allow(row).split()[1]
            settings.GATEWAY_EGRESS_ALLOW = [entry]

            validate_endpoint(f"https://{entry}/v1")


class TestReport:
    @pytest.fixture
    def report(self, settings):
        settings.GATEWAY_EGRESS_ALLOW = ["10.0.0.0/8", "*.svc.cluster.local"]
        egress_ledger.reached(*HERE)
        egress_ledger.refused("8.8.8.8", 443, "GitLab", reason="not_listed")
        egress_report.flush()

    def test_tells_the_three_parts(self, report):
        told = egress_report.as_json()

        assert told["allowed"]["GATEWAY_EGRESS_ALLOW"] == ["10.0.0.0/8", "*.svc.cluster.local"]
        assert "169.254.0.0/16" in told["allowed"]["never"]
        (reached,), (refused,) = told["reached"], told["refused"]
        assert (reached["destination"], reached["times"]) == ("llm.example.com:8000", 1)
        assert reached["first"] == reached["last"] != ""
        assert refused["setting"] == "GATEWAY_EGRESS_ALLOW"
        assert refused["fix"].startswith("Add 8.8.8.8:443 to")

    def test_says_the_same_in_lines(self, report):
        lines = "\n".join(egress_report.as_lines())

        for words in ("10.0.0.0/8", "llm.example.com:8000  model, 1x", "8.8.8.8:443  GitLab, 1x"):
            assert words in lines

    def test_says_that_there_was_nothing(self):
        lines = list(egress_report.as_lines())

        assert lines[-2:] == ["Nothing was reached.", "Nothing was refused."]
