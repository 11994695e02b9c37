"""Promises of gateway/vendor.py: the vendor's answer as it is, and all of it on record."""

import time

import orjson
import pytest

from features import snapshot
from features.errors import NoModelAssigned
from features.policy import Decision
from gateway import vendor as route
from gateway.audit import journal, store
from gateway.audit.models import CallerKind, ContentKind, InferenceContent
from gateway.calls import Caller
from gateway.errors import AuditUnavailable, StreamBroken
from gateway.vendor import Diverted, Message
from models_registry.errors import (
    AnswerTooLarge,
    BackendTimedOut,
    BackendUnreachable,
    EgressDenied,
    InferenceCancelled,
)
from tests.gateway.audit.test_writer import BrokenStore
from tests.gateway.conftest import answer_on_record, closed_record, make_call, record
from tests.gateway.test_own_record import ClosesNothing

TOKEN = "Bearer eyJ.token-canary.x"
BODY = b'{"model_provider": "gitlab", "model_api_key": "sk-canary", "n": "\xc3\xa9"}'
DECISION = Decision(is_allowed=True, reason="instance: on", is_open_to_vendor=True)


@pytest.fixture
def forward(embedded, vendor, settings):
    """A function that sends a call to the vendor."""
    settings.GATEWAY_VENDOR_ROUTE_URL = vendor.url
    config = snapshot.refresh()

    def send(*, body=BODY, **changes):
        message = Message(path="/v2/code/completions", headers={"Authorization": TOKEN}, body=body)
        return route.forward(Diverted(make_call(**changes), DECISION, config), message)

    return send


@pytest.fixture
def streamed(forward):
    """A function that sends a call for a stream to the vendor."""
    return lambda **changes: forward(is_streamed=True, **changes)


class TestDivert:
    def test_is_for_calls_that_gitlab_sends(self):
        call = make_call()

        diverted = route.divert(call, DECISION, snapshot)

        assert (diverted.call, diverted.decision) == (call, DECISION)

    @pytest.mark.parametrize("kind", [CallerKind.API_KEY, CallerKind.USER])
    def test_refuses_callers_without_a_token_of_gitlabs(self, kind):
        with pytest.raises(NoModelAssigned, match="takes only calls that GitLab itself sends"):
            route.divert(make_call(caller=Caller(kind=kind)), DECISION, snapshot)


class TestForward:
    def test_passes_the_body_on_to_the_byte_and_the_answer_back(self, forward, vendor):
        vendor.answer(b'{"choices":  []}\n')

        found = forward()

        assert (vendor.calls[0].path, vendor.calls[0].body) == ("/ai/v2/code/completions", BODY)
        assert vendor.calls[0].headers["authorization"] == TOKEN
        assert (found.status, list(found.pieces)) == (200, [b'{"choices":  []}\n'])
        assert found.headers["Content-Type"] == "application/json"

    def test_is_on_record_with_request_and_answer(self, forward, vendor):
        vendor.answer({"choices": []})

        forward()

        row = record()
        assert (row.state, row.model_name, row.model_calls) == ("answered", "vendor route", 1)
        assert row.policy == "vendor route; instance: on"
        assert row.closed_at is not None
        (asked,) = InferenceContent.objects.filter(kind=ContentKind.REQUEST)
        assert orjson.loads(asked.body)["prompt"]["text"] == (
            '{"model_provider": "gitlab", "model_api_key": "(removed)", "n": "é"}'
        )
        assert answer_on_record() == '{"choices": []}'

    @pytest.mark.parametrize(
        "body",
        [
            b'{"api_key":"sk-canary"}',
            b'{"model_metadata": {"api_key" :\n "sk-\\"canary"}}',
            b'{"model_api_key": "sk-canary\\\\", "api_key": "sk-canary"}',
        ],
    )
    def test_leaves_no_key_on_record(self, forward, vendor, body):
        forward(body=body)

        contents = "".join(InferenceContent.objects.values_list("body", flat=True))
        assert vendor.calls[0].body == body
        assert "canary" not in contents
        assert "(removed)" in contents

    def test_leaves_words_about_keys_in_code_alone(self, forward, vendor):
        forward(body=orjson.dumps({"prefix": 'x = {"api_key": "mine"}'}))

        (asked,) = InferenceContent.objects.filter(kind=ContentKind.REQUEST)
        assert "mine" in asked.body

    @pytest.mark.parametrize("status", [400, 401, 403, 422, 429, 500, 503])
    def test_passes_an_error_back_and_has_it_on_record(self, forward, vendor, status):
        vendor.answer({"detail": "as it is"}, status=status)

        found = forward(is_streamed=True)

        assert (found.status, b"".join(found.pieces)) == (status, b'{"detail": "as it is"}')
        row = record()
        assert (row.state, row.error_code) == ("failed", "vendor_failed")
        assert row.backend_status == status
        assert answer_on_record() == '{"detail": "as it is"}'

    def test_asks_once_whatever_happens(self, forward, vendor):
        vendor.answer({}, status=503)

        forward()

        assert len(vendor.calls) == 1

    def test_sends_nothing_that_cannot_be_recorded(self, forward, vendor, monkeypatch):
        monkeypatch.setattr(store, "for_connection", BrokenStore)

        with pytest.raises(AuditUnavailable):
            forward()

        assert vendor.calls == []

    def test_gives_nothing_whose_outcome_cannot_be_recorded(self, forward, vendor, monkeypatch):
        vendor.answer({"choices": []})
        monkeypatch.setattr(store.SqliteStore, "close", ClosesNothing.close)

        with pytest.raises(AuditUnavailable):
            forward()

    def test_reaches_nothing_outside_of_the_egress_list(self, forward, vendor, settings):
        settings.GATEWAY_EGRESS_ALLOW = ["10.0.0.0/8"]

        with pytest.raises(EgressDenied):
            forward()

        row = closed_record()
        assert (row.state, row.error_code) == ("failed", "egress_denied")
        assert vendor.calls == []

    def test_says_that_nobody_is_there(self, forward, vendor):
        vendor.close()

        with pytest.raises(BackendUnreachable):
            forward()

        assert closed_record().error_code == "backend_unreachable"

    @pytest.mark.parametrize("is_streamed", [False, True])
    def test_waits_no_longer_than_a_call_may_take(self, forward, vendor, is_streamed):
        vendor.stream(then="hang")
        started_at = time.monotonic()

        with pytest.raises(BackendTimedOut):
            forward(is_streamed=is_streamed, deadline_s=0.3)

        assert time.monotonic() - started_at < 1.5
        assert closed_record().error_code == "backend_timed_out"

    def test_takes_no_answer_without_end(self, forward, vendor, settings):
        settings.GATEWAY_ANSWER_MAX_BYTES = 1_000
        vendor.answer(b"x" * 1_001)

        with pytest.raises(AnswerTooLarge):
            forward()

        assert closed_record().error_code == "answer_too_large"

    @pytest.mark.parametrize("is_streamed", [False, True])
    def test_stops_when_the_client_leaves(self, forward, vendor, is_streamed):
        vendor.stream(then="hang")

        with pytest.raises(InferenceCancelled):
            forward(is_streamed=is_streamed, has_left=lambda: bool(vendor.calls))

        vendor.wait_for_departure(within_s=2)
        row = closed_record()
        assert (row.state, row.error_code) == ("cancelled", "client_left")


class TestStream:
    def test_comes_piece_by_piece(self, streamed, vendor):
        vendor.stream("one", "two", "three", X_Streaming_Format="sse")

        found = streamed()

        assert found.is_streamed
        assert found.headers["X-Streaming-Format"] == "sse"
        assert list(found.pieces) == [b"one", b"two", b"three"]
        row = record()
        assert (row.state, answer_on_record()) == ("answered", "onetwothree")
        assert 0 < row.first_token_ms <= row.total_ms

    def test_gives_a_piece_before_the_next_one_comes(self, streamed, vendor):
        vendor.stream("one", "two", then="hang")
        pieces = streamed(deadline_s=5.0).pieces

        assert (next(pieces), next(pieces)) == (b"one", b"two")

        pieces.close()

    def test_is_in_the_journal_before_it_is_sent(self, streamed, vendor, embedded):
        vendor.stream("one", "two", then="hang")
        pieces = streamed().pieces
        next(pieces)

        row = record()
        assert journal.delivered(embedded.id, [row.pk]) == {row.pk: "one"}

        pieces.close()
        closed_record()

    def test_leaves_no_journal_behind(self, streamed, vendor, embedded):
        vendor.stream("one")

        list(streamed().pieces)

        assert not embedded.journal._segments[0].records

    def test_is_the_same_bytes_wherever_the_vendor_cut_them(self, streamed, vendor):
        text = "é😀\n".encode()
        vendor.stream(*(text[at : at + 1] for at in range(len(text))))

        assert b"".join(streamed().pieces) == text
        assert answer_on_record() == "é😀\n"

    def test_is_the_same_bytes_where_they_are_no_text(self, streamed, vendor):
        vendor.stream(b"a\xff", b"\xfe\x00", b"\xe2\x82")

        assert b"".join(streamed().pieces) == b"a\xff\xfe\x00\xe2\x82"
        assert answer_on_record() == "a\ufffd\ufffd\x00\ufffd"

    def test_may_be_empty(self, streamed, vendor):
        vendor.stream()

        assert b"".join(streamed().pieces) == b""
        assert (record().state, answer_on_record()) == ("answered", "")

    def test_that_breaks_off_is_cut_and_has_what_was_sent_on_record(self, streamed, vendor):
        vendor.stream("one", "two", then="cut")
        pieces = streamed().pieces
        assert next(pieces) + next(pieces) == b"onetwo"

        with pytest.raises(StreamBroken):
            next(pieces)

        row = closed_record()
        assert (row.state, row.error_code) == ("failed", "malformed_reply")
        assert answer_on_record() == "onetwo"

    def test_whose_end_cannot_be_recorded_is_cut(self, streamed, vendor, monkeypatch):
        vendor.stream("one")
        pieces = streamed().pieces
        assert next(pieces) == b"one"
        monkeypatch.setattr(store.SqliteStore, "close", ClosesNothing.close)

        with pytest.raises(StreamBroken):
            next(pieces)

    def test_that_cannot_be_journaled_is_cut(self, streamed, vendor, embedded, monkeypatch):
        def full(*_):
            raise OSError("no space left")

        vendor.stream("one")
        monkeypatch.setattr(embedded.journal, "append", full)

        with pytest.raises(StreamBroken):
            list(streamed().pieces)

        assert closed_record().error_code == "audit_unavailable"

    def test_ends_with_its_client(self, streamed, vendor):
        vendor.stream("one", then="hang")
        pieces = streamed().pieces
        next(pieces)

        pieces.close()

        vendor.wait_for_departure(within_s=2)
        row = closed_record()
        assert (row.state, row.error_code) == ("cancelled", "client_left")
        assert answer_on_record() == "one"

    def test_is_watched_while_it_is_silent(self, streamed, vendor):
        vendor.stream("one", then="hang")
        left = []
        pieces = streamed(has_left=lambda: bool(left)).pieces
        next(pieces)
        left.append(True)

        with pytest.raises(StreamBroken):
            next(pieces)

        assert closed_record().state == "cancelled"

    def test_leaves_nobody_waiting(self, streamed, vendor, embedded):
        vendor.stream("one")

        list(streamed().pieces)

        assert len(embedded.waiters) == 0
