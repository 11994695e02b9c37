"""Promises of gateway/audit/timeline.py."""

from __future__ import annotations

import pytest

from gateway.audit.models import State
from gateway.audit.timeline import steps
from tests.gateway.audit.test_details import record


def told(**facts):
    return [(step.label, step.ms) for step in steps(record(**facts))]


def ended_in(**facts):
    """Return the step that a call ended in, and whose it was."""
    times = {"policy_ms": 1, "render_ms": 1, "queue_ms": 10, "connect_ms": 5, "total_ms": 90}
    found = steps(record(**{"state": "failed", **times, **facts}))
    return [(step.label, step.fault) for step in found if step.fault]


class TestSteps:
    def test_go_from_policy_to_the_rest_of_the_answer(self):
        times = {"policy_ms": 1, "render_ms": 2, "queue_ms": 10, "connect_ms": 5}

        assert told(**times, first_token_ms=100, total_ms=250, is_streamed=True) == [
            ("Policy", 1),
            ("Prompt", 2),
            ("Queue", 10),
            ("Connect", 5),
            ("First token", 85),
            ("Rest of the answer", 150),
        ]

    def test_follow_one_another(self):
        found = steps(record(policy_ms=1, queue_ms=10, total_ms=30))

        assert [(step.label, step.start_ms) for step in found] == [
            ("Policy", 0),
            ("Queue", 1),
            ("Model", 11),
        ]

    def test_are_queue_and_model_for_a_whole_answer(self):
        assert told(queue_ms=10, first_token_ms=249, total_ms=250) == [
            ("Queue", 10),
            ("Model", 240),
        ]

    def test_are_queue_and_model_for_a_stream_that_never_began(self):
        assert told(is_streamed=True, queue_ms=10, total_ms=250) == [("Queue", 10), ("Model", 240)]

    def test_are_one_where_no_worker_left_a_time(self):
        assert told(total_ms=250) == [("Until it was closed", 250)]

    def test_are_those_behind_it_while_the_record_is_open(self):
        assert told(policy_ms=1, render_ms=2) == [("Policy", 1), ("Prompt", 2)]
        assert told() == []

    def test_say_that_a_connection_was_kept(self):
        found = steps(record(queue_ms=1, connect_ms=0, total_ms=2))

        assert found[1].note == "kept from before"

    def test_are_never_negative_when_clocks_disagree(self):
        times = {"queue_ms": 10, "connect_ms": 9, "first_token_ms": 5, "total_ms": 4}

        assert all(ms >= 0 for _, ms in told(is_streamed=True, **times))


class TestFault:
    @pytest.mark.parametrize(
        ("code", "facts", "place"),
        [
            ("backend_failed", {}, ("Model", "the model server")),
            ("backend_unreachable", {}, ("Connect", "the model server")),
            ("egress_denied", {}, ("Connect", "the configuration")),
            ("backend_tls", {"connect_ms": None}, ("Model", "the model server")),
            ("client_left", {"state": "cancelled"}, ("Model", "the caller")),
            ("worker_lost", {"state": "interrupted"}, ("Model", "Enclave")),
            (
                "queue_unavailable",
                {"queue_ms": None, "connect_ms": None},
                ("Until it was closed", "Enclave"),
            ),
            (
                "feature_disabled",
                {"state": "refused", "total_ms": None, "queue_ms": None},
                ("Policy", "policy"),
            ),
        ],
    )
    def test_is_where_the_call_ended_and_whose_step_it_was(self, code, facts, place):
        assert ended_in(error_code=code, **facts) == [place]

    def test_is_nobodys_where_the_call_was_answered_or_goes_on(self):
        assert ended_in(state=State.ANSWERED) == []
        assert ended_in(state=State.RUNNING, error_code="backend_failed") == []
