"""Promises of gateway/audit/details.py."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.audit import details
from gateway.audit.models import InferenceRecord, State

OPENED_AT = datetime(2026, 11, 23, 4, 7, 51, 123456, tzinfo=UTC)


def record(**facts):
    return InferenceRecord(
        **{
            "state": State.ANSWERED,
            "opened_at": OPENED_AT,
            "deadline_at": OPENED_AT,
            "caller_kind": "instance",
            "feature": "code_completions",
            "config_version": 3,
            "model_calls": 1,
            **facts,
        }
    )


def spans(**facts):
    return [(span.label, span.ms) for span in details.time_split(record(**facts))]


class TestOutcome:
    @pytest.mark.parametrize(
        ("facts", "sentence"),
        [
            ({"state": "queued"}, "The call waits for a worker."),
            ({"state": "running"}, "The model is being asked."),
            ({"state": "answered"}, "The model answered."),
            ({"state": "answered", "model_calls": 0}, "Answered without asking a model."),
            ({"state": "failed"}, "No cause is on record."),
            (
                {"state": "failed", "error_code": "backend_auth"},
                "The model server refused our API key.",
            ),
            (
                {"state": "cancelled", "error_code": "client_left"},
                "The client closed its connection.",
            ),
            (
                {"state": "failed", "error_code": "later"},
                "A newer Enclave knows what this code means.",
            ),
        ],
    )
    def test_says_how_it_ended(self, facts, sentence):
        assert details.outcome(record(**facts)) == sentence

    def test_adds_what_was_written_down(self):
        refused = record(state="refused", error_code="feature_disabled", error_detail="group: off")

        assert details.detail(refused) == "group: off"

    def test_does_not_say_the_same_twice(self):
        failed = record(
            error_code="backend_auth", error_detail="The model server refused our API key."
        )

        assert details.detail(failed) == ""


class TestLabels:
    def test_there_is_one_for_every_state(self):
        assert set(details.LABELS) == set(State)


class TestTimeSplit:
    def test_is_queue_first_token_and_the_rest_for_a_stream(self):
        assert spans(is_streamed=True, queue_ms=10, first_token_ms=100, total_ms=250) == [
            ("Queue", 10),
            ("First token", 90),
            ("Rest of the answer", 150),
        ]

    def test_is_queue_and_model_for_a_whole_answer(self):
        assert spans(is_streamed=False, queue_ms=10, first_token_ms=249, total_ms=250) == [
            ("Queue", 10),
            ("Model", 240),
        ]

    def test_is_queue_and_model_for_a_stream_that_never_began(self):
        assert spans(is_streamed=True, queue_ms=10, total_ms=250) == [("Queue", 10), ("Model", 240)]

    def test_is_one_piece_where_no_worker_came(self):
        assert spans(total_ms=250) == [("Total", 250)]

    def test_is_nothing_while_the_record_is_open(self):
        assert spans() == []

    def test_is_never_negative_when_clocks_disagree(self):
        assert spans(is_streamed=True, queue_ms=10, first_token_ms=5, total_ms=4) == [
            ("Queue", 10),
            ("First token", 0),
            ("Rest of the answer", 0),
        ]


class TestCaller:
    def test_is_the_most_personal_of_what_is_known(self):
        everybody = {"instance_id": "i", "global_user_id": "g", "user_id": "u", "api_key_name": "k"}

        assert details.caller(record(**everybody)) == "k"
        assert details.caller(record(**everybody | {"api_key_name": ""})) == "u"
        assert details.caller(record(instance_id="i", global_user_id="g")) == "g"
        assert details.caller(record(instance_id="i")) == "i"
        assert details.caller(record()) == "-"


class TestWords:
    @pytest.mark.parametrize(
        ("ms", "text"),
        [(None, "-"), (0, "0.0 ms"), (6.18, "6.2 ms"), (1234.5, "1,234 ms"), (12_345, "12.3 s")],
    )
    def test_durations_have_as_many_digits_as_a_person_can_use(self, ms, text):
        assert details.duration(ms) == text

    def test_times_sort_and_are_in_the_zone_of_the_pages(self):
        in_tokyo = OPENED_AT.astimezone(timezone(timedelta(hours=9)))

        assert details.moment(in_tokyo) == "2026-11-23 04:07:51"
        assert details.moment(in_tokyo, precision="milliseconds") == "2026-11-23 04:07:51.123"
        assert details.moment(None) == "-"

    def test_tokens_say_whether_they_are_estimated(self):
        counted = {"prompt_tokens": 1054, "completion_tokens": 16}

        assert details.tokens(record(**counted)) == "1,054 in, 16 out"
        assert details.tokens(record(**counted, are_tokens_estimated=True)).endswith("(estimated)")
        assert details.tokens(record()) == "-"

    def test_a_feature_that_left_the_catalog_is_named_by_its_slug(self):
        assert details.feature(record()) == "Code Completion"
        assert details.feature(record(feature="retired")) == "retired"


class TestSections:
    def test_tell_every_column_that_is_filled(self):
        texts = {
            name: f"{name} text"
            for name in (
                *("instance_id", "user_id", "global_user_id", "api_key_name", "group_path"),
                *("endpoint", "correlation_id", "policy", "model_name", "prompt_version"),
                *("prompt_digest", "error_code", "web_process", "worker_process"),
            )
        }
        full = record(**texts, revision_id=4711, backend_status=418)

        told = [*details.summary(full)]
        for section in details.sections(full):
            told += section.facts

        shown = " ".join(value for _, value in told)
        assert [text for text in texts.values() if text not in shown] == []
        assert "4711" in shown
        assert "418" in shown

    def test_spell_hidden_characters_out(self):
        shown = str(details.sections(record(correlation_id="a\u202eb", model_name="c\x1bd")))

        assert "a⟦U+202E⟧b" in shown
        assert "c⟦ESC⟧d" in shown
