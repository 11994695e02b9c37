"""Promises of gateway/audit/details.py."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from features.policy import Step
from gateway.audit import details, timeline
from gateway.audit.models import InferenceRecord, State
from prompts import library

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


class TestCourse:
    def test_draws_each_step_behind_the_one_before_it(self):
        steps = timeline.steps(
            record(queue_ms=10, first_token_ms=60, total_ms=100, is_streamed=True)
        )

        bars = details.course(steps)

        shares = [(bar.label, bar.before, bar.share, round(bar.after, 6)) for bar in bars]
        assert shares == [
            ("Queue", 0, 0.1, 0.9),
            ("First token", 0.1, 0.5, 0.4),
            ("Rest of the answer", 0.6, 0.4, 0),
        ]
        assert bars[0].duration == "10 ms"

    def test_draws_nothing_where_nothing_was_measured(self):
        assert details.course(timeline.steps(record())) == ()


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
        assert details.moment(None) == details.clock(None) == "-"
        assert details.clock(in_tokyo) == "04:07:51.123"

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

        told = [*details.summary(full), *details.prompt(full).facts]
        for section in (*details.calls(full), details.decision(full)):
            told += section.facts

        shown = " ".join(value for _, value in told)
        assert [text for text in texts.values() if text not in shown] == []
        assert "4711" in shown
        assert "418" in shown

    def test_spell_hidden_characters_out(self):
        hidden = record(correlation_id="a\u202eb", model_name="c\x1bd", policy="e\u200bf")
        rungs = details.rungs((Step(group_id=1, level="g\u202eh", rule="i\x1bj", effect="on"),))

        shown = str((details.calls(hidden), details.decision(hidden), rungs))

        for spelled in ("a⟦U+202E⟧b", "c⟦ESC⟧d", "e⟦U+200B⟧f", "g⟦U+202E⟧h", "i⟦ESC⟧j"):
            assert spelled in shown


class TestCallsUrl:
    def test_leads_to_all_calls_of_the_correlation_id(self):
        url = details.calls_url(record(correlation_id="a b&c"))

        assert url == "/admin/audit/inferencerecord/?q=a+b%26c"
        assert details.calls_url(record()) == ""


class TestPrompt:
    def test_is_the_definition_with_the_digest_of_the_record(self):
        definition = library.all_definitions()["code_completions", "default"]

        found = details.prompt(record(prompt_digest=definition.digest))

        assert "messages:" in found.definition
        assert "its digest is the record's" in found.note

    def test_says_where_there_is_none(self):
        assert details.prompt(record()).note == "No prompt was rendered."
        assert details.prompt(record(prompt_digest="0")).definition == ""
