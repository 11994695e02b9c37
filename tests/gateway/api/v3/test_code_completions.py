"""Promises of POST /v3/code/completions: its streams are raw text."""

import pytest

from gateway.errors import StreamBroken
from tests.gateway.api.conftest import component, start
from tests.rig.backend import TEXT

PATH = "/v3/code/completions"


class TestCodeCompletions:
    @pytest.mark.parametrize("kind", ["completion", "generation"])
    def test_streams_raw_text(self, suggest, kind):
        reply = suggest(PATH, component(kind, stream=True))

        assert (reply.status, reply.body.decode()) == (200, TEXT)
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "x-streaming-format" not in reply.headers

    def test_streams_a_generation_line_by_line_and_unwrapped(self, suggest, backend):
        backend.answer("wrapped", "```", "py", "thon\nx", " = 1\ny =", " 2\n", "`", "``")

        reply = suggest(PATH, component("generation", stream=True), model="wrapped")

        assert reply.body.decode() == "x = 1\ny = 2\n"

    def test_never_ends_a_broken_stream_cleanly(self, trusted, code_is_on, metadata):
        body = {
            "prompt_components": [component("generation", stream=True)],
            "model_metadata": metadata("cut-midstream"),
        }

        started = start("POST", PATH, value=body, headers=trusted.headers())

        assert started.reply.status == 200
        with pytest.raises(StreamBroken):
            started.read()

    def test_says_without_a_stream_that_the_language_is_unknown(self, suggest):
        # As the reference on /v2: recording v2comp-lang-none-stream.
        unknown = component("completion", stream=True, file_name="x", language_identifier=None)

        reply = suggest(PATH, unknown)

        assert reply.headers["content-type"] == "application/json"
        assert (reply.status, reply.json["choices"]) == (200, [])
