"""Promises of gateway/api/vendors/formats.py: a stream is written, and never ends by itself."""

from __future__ import annotations

import pytest

from gateway.api.vendors import formats
from gateway.api.vendors.formats import Writer, events
from gateway.errors import StreamBroken
from tests.gateway.api.vendors import CALL, stream_of


class Plain(Writer):
    """Writes in brackets what it is told."""

    def begin(self):
        return "[begin]"

    def piece(self, text):
        return text

    def ping(self):
        return "[ping]"

    def end(self, ending):
        return f"[{ending.finish_reason} {[call.name for call in ending.tool_calls]}]"

    def fail(self, message, code):
        return f"[{code}: {message}]"


class TestEvents:
    def test_are_written_from_the_first_to_the_last(self):
        stream = stream_of("a", "", "b", tool_calls=(CALL,))

        assert "".join(events(stream, Plain())) == "[begin]a[ping]b[stop ['lookup']]"

    def test_say_why_they_break_off_and_then_do(self):
        stream = stream_of("a", breaks_off=True)
        got = []

        with pytest.raises(StreamBroken):
            got.extend(iter_into(events(stream, Plain()), got))

        assert "".join(got) == "[begin]a[backend_failed: The model server failed.]"

    def test_close_the_stream_when_the_client_leaves(self):
        stream = stream_of("a", "b")
        writing = events(stream, Plain())
        next(writing)
        next(writing)

        writing.close()

        assert list(stream.pieces) == []


def iter_into(source, got):
    for each in source:
        got.append(each)
    return ()


class TestEvent:
    def test_is_named_like_its_type_and_one_line(self):
        assert formats.event({"type": "a", "text": "x\n\ny"}) == (
            'event: a\ndata: {"type":"a","text":"x\\n\\ny"}\n\n'
        )


class TestBadRequest:
    def test_says_what_and_where(self):
        error = formats.BadRequest("No.", param="n")

        assert (str(error), error.param) == ("No.", "n")
