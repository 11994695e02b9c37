"""Server-sent events: the same events however the bytes are cut, within limits, in linear time."""

from __future__ import annotations

import time

import pytest

from models_registry.errors import MalformedReply
from models_registry.providers.sse import Event, events


def data_of(*chunks: bytes) -> list[str]:
    """Return the data of the events in these chunks."""
    return [event.data for event in events(chunks)]


def script() -> bytes:
    """Return forty events with everything that may stand in a stream, ends of all three kinds."""
    parts = [b"\xef\xbb\xbf: a comment first\n\n"]
    for number in range(13):
        parts += [
            f'data: {{"n": {number}, "text": "größe \U0001f600 \u2028\x85"}}\n\n'.encode(),
            b"event: named\r\nid: %d\r\ndata:no space\r\ndata:  two\r\n\r\n" % number,
            b"retry: 3\rdata: old\r: comment\rdata\rdata: \r\r",
        ]
    return b"".join(parts) + b"data: [DONE]\n\n"


class TestEvents:
    @pytest.mark.parametrize(
        ("stream", "data"),
        [
            (b"data: one\n\ndata: two\n\n", ["one", "two"]),
            (b"data:one\n\n", ["one"]),
            (b"data:  one\n\n", [" one"]),
            (b"data: one\ndata: two\n\n", ["one\ntwo"]),
            (b"data: one\r\n\r\ndata: two\r\n\r\n", ["one", "two"]),
            (b"data: one\r\rdata: two\r\r", ["one", "two"]),
            (b"data\n\n", [""]),
            (b"data:\n\n", [""]),
            (b"data: a: b\n\n", ["a: b"]),
            (b": comment\n\ndata: one\n\n", ["one"]),
            (b":\n:\n:\n\n", []),
            (b"event: x\n\ndata: one\n\n", ["one"]),
            (b"unknown: x\nid: 1\nretry: 5\ndata: one\n\n", ["one"]),
            (b"\n\n\n\n", []),
            (b"\xef\xbb\xbfdata: one\n\n", ["one"]),
            (b"data: \xef\xbb\xbfone\n\n", ["\ufeffone"]),
            (b"\n\xef\xbb\xbfdata: no byte order mark here\n\n", []),
            (b" data: one\n\n", []),
            (b"data: not ended\n", []),
            (b"data: not ended", []),
            (b"data: one\n\ndata: not ended", ["one"]),
            (b"", []),
        ],
    )
    def test_follows_the_standard(self, stream, data):
        assert data_of(stream) == data

    def test_names_an_event(self):
        stream = b"event: error\ndata: one\n\ndata: two\n\n"

        assert list(events([stream])) == [Event("error", "one"), Event("", "two")]

    @pytest.mark.parametrize(
        "text", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e", "\x00", "\x1b[31m"]
    )
    def test_ends_no_line_inside_json(self, text):
        assert data_of(f"data: a{text}b\n\n".encode()) == [f"a{text}b"]

    @pytest.mark.parametrize("bad", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf0\x9f\x98"])
    def test_replaces_what_is_no_utf_8(self, bad):
        (text,) = data_of(b"data: a" + bad + b"b\n\n")

        assert text.replace("\ufffd", "") == "ab"
        assert "\ufffd" in text

    def test_is_the_same_cut_at_every_byte(self):
        stream = script()
        whole = list(events([stream]))

        cut = [list(events([stream[:at], stream[at:]])) for at in range(len(stream) + 1)]

        assert len(whole) == 40
        assert all(parts == whole for parts in cut)

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
    def test_is_the_same_in_small_pieces(self, size):
        stream = script()

        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]

        assert list(events(pieces)) == list(events([stream]))
        assert list(events([part for piece in pieces for part in (b"", piece)])) == list(
            events([stream])
        )

    def test_yields_an_event_as_soon_as_its_blank_line_is_there(self):
        taken = []

        def chunks():
            for chunk in (b"data: one\n", b"\n", b"data: two\n\n"):
                taken.append(chunk)
                yield chunk

        assert next(events(chunks())).data == "one"
        assert taken == [b"data: one\n", b"\n"]

    def test_needs_no_lf_after_a_blank_line_of_cr(self):
        taken = []

        def chunks():
            for chunk in (b"data: one\r\r", b"\ndata: two\n\n"):
                taken.append(chunk)
                yield chunk

        stream = events(chunks())

        assert next(stream).data == "one"
        assert len(taken) == 1
        assert next(stream).data == "two"


class TestLimits:
    def test_refuses_a_long_line(self):
        assert data_of(b"data: " + b"x" * 200_000 + b"\n\n") == ["x" * 200_000]
        with pytest.raises(MalformedReply, match="line"):
            data_of(b"data: " + b"x" * 300_000 + b"\n\n")

    def test_refuses_a_long_line_before_it_ends(self):
        taken = 0

        def endless():
            nonlocal taken
            while True:
                taken += 1000
                yield b"x" * 1000

        with pytest.raises(MalformedReply, match="line"):
            list(events(endless()))

        assert taken < 300_000

    def test_refuses_a_large_event(self):
        line = b"data: " + b"x" * 100_000 + b"\n"

        assert len(data_of(line * 10 + b"\n")) == 1
        with pytest.raises(MalformedReply, match="event"):
            data_of(line * 11 + b"\n")

    def test_refuses_too_many_events(self):
        assert len(data_of(b"data:\n\n" * 100_000)) == 100_000
        with pytest.raises(MalformedReply, match="too many"):
            data_of(b"data:\n\n" * 100_001)

    def test_takes_its_limits_from_the_caller(self):
        assert list(events([b"data: x\n\n"], max_line=7, max_event=2, max_events=1))
        with pytest.raises(MalformedReply):
            list(events([b"data: x\n\n"], max_line=6))
        with pytest.raises(MalformedReply):
            list(events([b"data: x\n\n"], max_event=1))
        with pytest.raises(MalformedReply):
            list(events([b"data: x\n\n" * 2], max_events=1))

    def test_takes_linear_time_for_a_line_in_tiny_pieces(self):
        def seconds(length: int) -> float:
            pieces = [b"data: ", *([b"x"] * length), b"\n\n"]
            started = time.process_time()
            assert data_of(*pieces) == ["x" * length]
            return time.process_time() - started

        seconds(1000)
        short, long = (
            min(seconds(20_000) for _ in range(3)),
            min(seconds(200_000) for _ in range(3)),
        )

        assert long < 30 * short
