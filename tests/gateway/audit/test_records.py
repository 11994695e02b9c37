"""Promises of gateway/audit/records.py, with the real store."""

import json
from uuid import uuid4

import pytest

from features import snapshot
from features.errors import FeatureDisabled, UnknownFeature
from gateway import pipeline
from gateway.audit import ladders, records, store
from gateway.audit.models import InferenceContent, State
from gateway.audit.records import Outcome
from gateway.calls import NamedModel
from gateway.errors import AuditUnavailable
from models_registry.providers.types import ToolCall
from tests.factories import ENDPOINT, make_group, make_rule
from tests.gateway.audit.test_writer import BrokenStore
from tests.gateway.conftest import closed_record, make_call, record


class TestRefuse:
    def test_is_on_record_with_its_reason_and_without_content(self, embedded):
        config = snapshot.refresh()

        records.refuse(make_call(), FeatureDisabled("group 'x': off"), config, ())

        found = record()
        assert (found.state, found.error_code) == (State.REFUSED, "feature_disabled")
        assert found.error_detail == "group 'x': off"
        assert found.closed_at is not None
        assert not InferenceContent.objects.exists()

    def test_names_the_deepest_of_the_groups(self, embedded):
        root = make_group("payments")
        child = make_group("payments/core", parent=root)
        config = snapshot.refresh()

        records.refuse(make_call(), FeatureDisabled("no"), config, (root.pk, child.pk))

        assert (record().group_id, record().group_path) == (child.pk, "payments/core")

    def test_is_no_refusal_if_it_cannot_be_recorded(self, embedded, monkeypatch):
        config = snapshot.refresh()
        monkeypatch.setattr(store, "for_connection", BrokenStore)

        with pytest.raises(AuditUnavailable):
            records.refuse(make_call(), FeatureDisabled("no"), config, ())

    def test_keeps_the_ladder_that_led_to_it(self, embedded):
        make_rule(state="off")
        config = snapshot.refresh()

        records.refuse(make_call(), FeatureDisabled("instance: off"), config, ())
        ladders.save()

        (step,) = ladders.find(record().ladder_digest)
        assert (step.level, step.rule, step.effect) == ("instance", "off", "off")

    def test_has_no_ladder_where_there_is_no_such_feature(self, embedded):
        config = snapshot.refresh()

        records.refuse(make_call(feature="unheard_of"), UnknownFeature("x"), config, ())

        assert record().ladder_digest == ""


class TestSkip:
    def test_says_why_no_model_was_asked(self, embedded):
        records.skip(make_call(), "The file's language is unknown.")

        found = record()
        assert (found.state, found.model_calls) == (State.ANSWERED, 0)
        assert found.error_detail == "The file's language is unknown."


class TestOpening:
    def test_keeps_the_ladder_and_how_long_policy_and_prompt_took(self, scripted_model):
        scripted_model()

        pipeline.answer(make_call())

        found = closed_record()
        ladders.save()
        assert [step.level for step in ladders.find(found.ladder_digest)] == ["instance"]
        assert 0 < found.policy_ms < 1000
        assert 0 < found.render_ms < 1000
        assert 0 < found.connect_ms < 1000

    @pytest.mark.parametrize(
        ("name", "written"),
        [
            ("granite", "'granite'"),
            ("a\0b\n", r"'a\x00b\n'"),
            ("ü" * 99, "'" + r"\xfc" * 60 + "'"),
        ],
    )  # fmt: skip
    def test_says_what_gitlab_calls_a_family_that_nobody_knows(self, scripted_model, name, written):
        scripted_model()
        named = NamedModel(family="general", endpoint=ENDPOINT, identifier="x", unknown_family=name)
        call = make_call(named_model=named)

        row = records.opening(call, pipeline.prepare(call))

        said = f"instance: on; GitLab calls the model's family {written}, served as General"
        assert row["policy"] == said[:255]

    @pytest.mark.parametrize(
        ("name", "written"), [("gpt-5", "'gpt-5'"), ("a\0" + "b" * 99, r"'a\x00" + "b" * 58 + "'")]
    )
    def test_says_which_model_a_client_asks_for(self, scripted_model, name, written):
        scripted_model()
        call = make_call(asked_model=name)

        row = records.opening(call, pipeline.prepare(call))

        assert row["policy"] == f"instance: on; the client asks for model {written}"

    def test_says_nothing_of_a_family_that_is_known(self, scripted_model):
        scripted_model()
        call = make_call()

        assert records.opening(call, pipeline.prepare(call))["policy"] == "instance: on"


class TestClosing:
    def test_cuts_a_long_detail(self):
        row = records.closing(
            uuid4(), Outcome(state=State.FAILED, error_detail="x" * 600), worker=None
        )

        assert len(row["error_detail"]) == records.DETAIL_MAX

    def test_tells_no_answer_from_an_empty_one(self):
        none = records.closing(uuid4(), Outcome(state=State.FAILED), worker=None)
        empty = records.closing(uuid4(), Outcome(state=State.ANSWERED, answer=""), worker=None)

        assert none["answer"] is None
        assert empty["answer"] == '{"text":"","finish_reason":null}'

    def test_keeps_the_tools_that_were_called(self):
        call = ToolCall(id="call_1", name="lookup", arguments="{}")
        outcome = Outcome(state=State.ANSWERED, answer="", tool_calls=(call,))

        row = records.closing(uuid4(), outcome, worker="w")

        assert json.loads(row["answer"])["tool_calls"] == [call.as_dict()]

    def test_sets_every_column_of_an_outcome(self):
        row = records.closing(uuid4(), Outcome(state=State.ANSWERED), worker="w")

        assert set(store.OUTCOME_COLUMNS) <= set(row)
