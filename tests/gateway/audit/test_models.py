"""Promises of gateway/audit/models.py."""

from django.db import models

from gateway.audit.models import OPEN_STATES, InferenceContent, InferenceRecord, State


class TestInferenceRecord:
    def test_has_no_foreign_key_that_could_delete_or_block_it(self):
        relations = [f for f in InferenceRecord._meta.get_fields() if f.is_relation]

        assert relations == []

    def test_holds_no_content(self):
        texts = [f.name for f in InferenceRecord._meta.fields if isinstance(f, models.TextField)]

        assert texts == []

    def test_is_open_until_it_has_an_outcome(self):
        assert set(State) - set(OPEN_STATES) == {
            State.ANSWERED,
            State.FAILED,
            State.REFUSED,
            State.CANCELLED,
            State.INTERRUPTED,
        }


class TestInferenceContent:
    def test_holds_one_request_and_one_answer_for_each_record(self):
        assert InferenceContent._meta.pk_fields == [
            InferenceContent._meta.get_field("record_id"),
            InferenceContent._meta.get_field("kind"),
        ]
