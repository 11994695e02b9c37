"""Promises of POST /v2/prompts/<id>: the answer, and how many tokens it took."""

import json
from contextlib import closing

import pytest

from gateway.audit.models import InferenceRecord
from gateway.errors import StreamBroken
from tests.gateway.api.prompts import Asker
from tests.rig.backend import TEXT, TOKENS
from tests.rig.processes import wait_until


@pytest.fixture
def ask(embedded, trusted, backend):
    """A function that sends a prompt as GitLab does, with every feature on."""
    asker = Asker("v2", trusted, backend)
    asker.switch_on()
    return asker


def lines_of(reply):
    text = reply.body.decode()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


class TestPlain:
    def test_holds_the_text_and_the_usage_of_the_family(self, ask):
        # prompts-v2
        reply = ask(model_metadata=ask.metadata(name="mistral"))

        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        tokens = reply.json["usage"]["mistral"]
        assert reply.json == {"content": TEXT, "usage": {"mistral": tokens}}
        assert tokens["output_tokens"] == len(TOKENS)
        assert tokens["input_tokens"] > 0

    def test_estimates_the_usage_that_the_backend_does_not_report(self, ask):
        # prompts-v2-nousage
        reply = ask(behavior="nousage")

        tokens = reply.json["usage"]["general"]
        assert tokens["input_tokens"] > 50
        assert 8 < tokens["output_tokens"] < 20
        assert InferenceRecord.objects.get().are_tokens_estimated

    def test_makes_the_same_checks_as_version_1(self, ask, trusted):
        headers = trusted.headers(trusted.token(scopes=["other"]))

        statuses = [
            ask("no/such", "text", headers={"Content-Type": "application/json"}).status,
            ask("no/such", "text").status,
            ask("no/such", {}).status,
            ask(prompt_version="^9", headers=headers).status,
            ask(headers=headers).status,
            ask(inputs={}).status,
            ask(behavior="err-500").status,
        ]

        assert statuses == [401, 422, 400, 400, 403, 422, 421]

    @pytest.mark.parametrize("prompt_id", ["chat%2Fexplain_code", "chat/explain_code/"])
    def test_takes_the_slash_however_it_is_written(self, ask, prompt_id):
        assert ask(prompt_id).json["content"] == TEXT


class TestStream:
    def test_is_one_object_a_line_and_only_the_last_has_the_usage(self, ask):
        # prompts-v2-stream
        reply = ask(behavior="tokens-6_slow-5ms", stream=True)

        *pieces, last = lines_of(reply)
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "".join(piece["content"] for piece in pieces) == "".join(TOKENS[:6])
        assert all(piece.keys() == {"content"} for piece in pieces)
        tokens = last["usage"]["tokens-6_slow-5ms"]
        assert last == {"content": "", "usage": {"tokens-6_slow-5ms": tokens}}
        assert tokens["output_tokens"] == 6

    def test_never_breaks_a_line_inside_an_object(self, ask, backend):
        backend.answer("lines", "a\n", "b\u2028", '"c"\r\n')

        reply = ask(behavior="lines", stream=True)

        lines = reply.body.decode().split("\n")
        texts = [json.loads(line)["content"] for line in lines[:-1]]
        assert "".join(texts) == 'a\nb\u2028"c"\r\n'
        assert lines[-1] == ""

    def test_of_nothing_still_has_its_last_line(self, ask):
        reply = ask(behavior="empty", stream=True)

        assert [line["content"] for line in lines_of(reply)] == [""]

    def test_that_breaks_off_has_no_last_line(self, ask):
        started = ask.start(behavior="cut-midstream", stream=True)
        got = []

        with closing(started.pieces), pytest.raises(StreamBroken):
            got.extend(started.pieces)

        assert got
        assert b"usage" not in b"".join(got)

    def test_that_fails_before_its_first_piece_is_an_ordinary_421(self, ask):
        reply = ask(behavior="err-401", stream=True)

        assert (reply.status, reply.json) == (421, {"detail": "401: Unauthorized"})

    def test_that_is_closed_early_closes_the_record(self, ask):
        started = ask.start(behavior="slow-50ms", stream=True)

        next(iter(started.pieces))
        started.pieces.close()

        wait_until(
            lambda: InferenceRecord.objects.get().state == "cancelled",
            within_s=2,
            what="a closed record",
        )
