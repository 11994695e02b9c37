"""Connection tests as people start them: kept, found again, and not too many."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from django.utils import timezone

from models_registry import model_checks
from models_registry.connection_test import State, Step
from models_registry.errors import ModelMisconfigured
from models_registry.model_checks import Check, TooManyChecks, as_config, limit_rate
from models_registry.models import ModelCheck, SelfHostedModel
from tests.factories import make_model

KEY = "sk-canary-4411"
pytestmark = pytest.mark.django_db


def check(model, *, by="ann", now=None):
    """Test a model to the end; return the row that is kept."""
    started = Check(model, by=by, now=now or timezone.now())
    list(started.steps())
    return started.row


def last(model):
    model.refresh_from_db()
    return model_checks.last(model.current.digest)


class TestCheck:
    def test_is_kept_with_the_model(self, backend):
        model = make_model(endpoint=backend.endpoint, identifier="stub", api_key=KEY)

        check(model)

        row = last(model)
        assert (row.state, row.by, row.failed_step) == ("passed", "ann", "")
        assert row.address == backend.url.removeprefix("http://")
        assert [Step.from_dict(step).state for step in row.steps].count(State.OK) == 7

    def test_keeps_where_it_failed_and_the_fix(self, backend):
        model = make_model(endpoint=backend.endpoint, identifier="gone")

        check(model)

        row = last(model)
        assert (row.state, row.failed_step) == ("failed", "Model present")
        assert row.steps[-1]["choices"] == backend.names

    def test_keeps_no_key(self, backend):
        backend.api_key = "another"
        check(make_model(endpoint=backend.endpoint, api_key=KEY))

        assert KEY not in str(ModelCheck.objects.values_list())

    def test_is_on_record_before_anything_is_dialed(self, backend):
        model = make_model(endpoint=backend.endpoint, identifier="stub")

        Check(model, by="ann", now=timezone.now())

        assert ModelCheck.objects.get().state == "running"
        assert backend.calls == []

    def test_counts_for_the_model_that_is_saved_from_what_was_tested(self, backend):
        model = SelfHostedModel(
            name="new", family="codestral", endpoint=backend.endpoint, identifier="stub"
        )
        check(model)

        model.save()

        assert last(model).state == "passed"

    @pytest.mark.parametrize(
        "change", [{"endpoint": "http://10.9.9.9/v1"}, {"api_key": "other"}, {"ca_bundle": " "}]
    )
    def test_does_not_count_once_the_model_is_changed(self, backend, change):
        model = make_model(endpoint=backend.endpoint, identifier="stub")
        check(model)

        for name, value in change.items():
            setattr(model, name, value)
        model.save()

        assert last(model) is None

    def test_adds_a_forgotten_v1_to_the_model_and_counts_for_the_corrected_one(self, backend):
        backend.needs_version = True
        model = make_model(endpoint=backend.url, identifier="stub")

        check(model)

        assert model.endpoint == backend.endpoint
        assert last(model) is None  # what is stored would not work
        model.endpoint = backend.endpoint
        model.save()
        assert last(model).state == "passed"

    def test_is_stopped_when_nobody_listens_any_more(self, backend):
        model = make_model(endpoint=backend.endpoint, identifier="stub")
        started = Check(model, by="ann", now=timezone.now())
        steps = started.steps()
        next(steps)

        steps.close()

        assert ModelCheck.objects.get().state == "stopped"
        assert last(model) is None
        assert backend.calls == []

    def test_says_that_the_key_cannot_be_read(self, backend, settings):
        model = make_model(endpoint=backend.endpoint, api_key=KEY)
        model.refresh_from_db()
        settings.GATEWAY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

        with pytest.raises(ModelMisconfigured, match="enter it again"):
            Check(model, by="ann", now=timezone.now())

    def test_tests_an_endpoint_that_cannot_be_read_without_keeping_it(self):
        model = SelfHostedModel(name="x", family="general", endpoint="http://user:pw@10.0.0.1/")

        row = check(model)

        assert (row.state, row.address) == ("failed", "")
        assert "pw" not in str(ModelCheck.objects.values_list())


class TestSince:
    def test_is_when_it_first_ended_so(self, backend):
        model = make_model(endpoint=backend.endpoint, identifier="stub")
        first = check(model)
        check(model)
        assert last(model).since == first.since

        backend.names = ["another"]
        failed = check(model)
        check(model)
        assert last(model).since == failed.since > first.since


class TestLimitRate:
    def test_stops_a_person_who_looks_for_open_ports(self):
        now = timezone.now()
        for port in range(1, 11):
            check(make_model(endpoint=f"http://127.0.0.1:{port}/v1"), now=now)
        another = make_model(endpoint="http://127.0.0.1:11/v1")

        with pytest.raises(TooManyChecks):
            limit_rate(another, by="ann", now=now)
        limit_rate(another, by="bob", now=now)

    def test_spares_the_model(self, backend):
        now = timezone.now()
        model = make_model(endpoint=backend.endpoint, identifier="stub")
        for number in range(10):
            check(model, by=f"person {number}", now=now)

        with pytest.raises(TooManyChecks):
            limit_rate(model, by="one more", now=now)

    def test_passes_again_after_a_minute(self, backend):
        now = timezone.now()
        model = make_model(endpoint=backend.endpoint, identifier="stub")
        for _ in range(10):
            check(model, now=now)

        with pytest.raises(TooManyChecks):
            limit_rate(model, by="ann", now=now + timedelta(seconds=59))
        limit_rate(model, by="ann", now=now + timedelta(seconds=61))


class TestForgetting:
    def test_leaves_one_test_of_each_connection_and_none_of_what_is_no_more(self, backend):
        now = timezone.now()
        kept = make_model(endpoint=backend.endpoint, identifier="codestral")
        check(kept, now=now - timedelta(days=40))
        stray = SelfHostedModel(name="stray", family="general", endpoint="http://127.0.0.1:1/")
        check(stray, now=now - timedelta(days=31))
        model = make_model(endpoint=backend.endpoint, identifier="stub")
        check(model, now=now - timedelta(minutes=5))

        latest = check(model)

        assert set(ModelCheck.objects.all()) == {latest, last(kept)}


class TestAsConfig:
    def test_is_what_a_call_is_made_with(self):
        model = make_model(api_key=KEY)

        config = as_config(model)

        saved = model.current.as_config()
        assert config.api_key == KEY
        assert (config.endpoint, config.identifier) == (saved.endpoint, saved.identifier)
