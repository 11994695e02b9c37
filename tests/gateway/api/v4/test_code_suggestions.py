"""Promises of POST /v4/code/suggestions: its streams are server-sent events, to the byte."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.v4 import code_suggestions
from gateway.audit.models import InferenceRecord
from gateway.errors import StreamBroken
from models_registry.providers import sse
from tests.gateway.api.conftest import component, start
from tests.rig.backend import TEXT
from tests.rig.processes import wait_until

PATH = "/v4/code/suggestions"
START = (
    "event: stream_start\r\n"
    'data: {"metadata": {"model": {"engine": "agent", "name": "Codestral 22B Code %s"}, '
    '"timestamp": 0, "enabled_feature_flags": [], "region": "us-central1"}}\r\n\r\n'
)
CHUNK = (
    'event: content_chunk\r\ndata: {"choices": [{"delta": {"content": %s}, "index": 0}]}\r\n\r\n'
)
END = "event: stream_end\r\ndata: null\r\n\r\n"


def without_time(body):
    return re.sub(r'"timestamp": \d+', '"timestamp": 0', body.decode())


def content(events):
    chunks = [json.loads(event.data) for event in events if event.name == "content_chunk"]
    return "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)


class TestCodeSuggestions:
    def test_streams_a_completion_as_the_reference_does(self, suggest, backend):
        # Recording v4comp-stream; deltas without text are left out.
        backend.answer("two", "def", ' "é"')

        reply = suggest(PATH, component("completion", stream=True), model="two")

        assert reply.status == 200
        assert without_time(reply.body) == (
            START % "Completions" + CHUNK % '"def"' + CHUNK % '" \\"\\u00e9\\""' + END
        )
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reply.headers["x-streaming-format"] == "sse"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-accel-buffering"] == "no"

    def test_streams_a_generation_line_by_line(self, suggest, backend):
        # Recording v4gen-stream.
        backend.answer("lines", "a", " =", " 1\n", "b", " = 2")

        reply = suggest(PATH, component("generation", stream=True), model="lines")

        assert without_time(reply.body) == (
            START % "Generations" + CHUNK % '"a = 1\\n"' + CHUNK % '"b = 2"' + END
        )

    def test_streams_nothing_between_start_and_end_for_an_empty_answer(self, suggest):
        reply = suggest(PATH, component("generation", stream=True), model="empty")

        assert without_time(reply.body) == START % "Generations" + END

    def test_never_ends_a_broken_stream(self, trusted, code_is_on, metadata):
        body = {
            "prompt_components": [component("completion", stream=True)],
            "model_metadata": metadata("cut-midstream"),
        }

        started = start("POST", PATH, value=body, headers=trusted.headers())

        sent = []
        with pytest.raises(StreamBroken):
            sent.extend(started.pieces)
        started.pieces.close()
        assert "stream_start" in sent[0].decode()
        assert b"stream_end" not in b"".join(sent)

    @pytest.mark.parametrize("has_read", [False, True])
    def test_closes_the_record_of_a_client_that_leaves(
        self, trusted, code_is_on, metadata, has_read
    ):
        body = {
            "prompt_components": [component("completion", stream=True)],
            "model_metadata": metadata("slow-50ms_tokens-60"),
        }
        started = start("POST", PATH, value=body, headers=trusted.headers())
        read = [next(iter(started.pieces)) for _ in range(has_read)]

        started.pieces.close()

        assert len(read) == has_read
        wait_until(
            lambda: InferenceRecord.objects.get().state == "cancelled", within_s=3, what="the close"
        )
        assert InferenceRecord.objects.get().error_code == "client_left"

    def test_keeps_a_silent_stream_alive(self, suggest, monkeypatch):
        monkeypatch.setattr(code_suggestions, "HEARTBEAT_S", 0.2)

        reply = suggest(PATH, component("completion", stream=True), model="stall-2")

        pings = re.findall(r"\r\n\r\n: ping - [^\r\n]+\r\n\r\n", reply.body.decode())
        assert len(pings) >= 1
        assert content(sse.events([reply.body])) == TEXT
        assert InferenceRecord.objects.get().state == "answered"


class TestEvents:
    @given(st.lists(st.text(min_size=1, max_size=30), max_size=6), st.integers(1, 50))
    def test_give_the_text_back_to_a_parser(self, pieces, step):
        body = "".join(
            [
                code_suggestions._event("stream_start", {"metadata": {}}),
                *(
                    code_suggestions._event(
                        "content_chunk", {"choices": [{"delta": {"content": piece}, "index": 0}]}
                    )
                    for piece in pieces
                ),
                code_suggestions._event("stream_end", None),
            ]
        ).encode()

        read = list(sse.events(body[at : at + step] for at in range(0, len(body), step)))

        assert content(read) == "".join(pieces)
        assert [event.name for event in read] == [
            "stream_start",
            *["content_chunk"] * len(pieces),
            "stream_end",
        ]
        assert read[-1].data == "null"
