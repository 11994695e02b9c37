"""AWS's binary event stream, however its bytes are cut."""

from __future__ import annotations

import struct
from zlib import crc32

import pytest

from models_registry.errors import MalformedReply
from models_registry.providers.event_stream import events
from models_registry.providers.sse import Event
from tests.rig.bedrock import event, exception, frame

TWO = event("one", {"a": 1}) + event("two", {})
EXPECTED = [Event("one", '{"a": 1}'), Event("two", "{}")]


def with_headers(encoded: bytes) -> bytes:
    """Return a frame whose headers are these bytes."""
    prelude = struct.pack(">II", 16 + len(encoded), len(encoded))
    message = prelude + struct.pack(">I", crc32(prelude)) + encoded
    return message + struct.pack(">I", crc32(message))


class TestEvents:
    @pytest.mark.parametrize("size", [1, 3, 16, 1000])
    def test_are_found_however_the_bytes_are_cut(self, size):
        chunks = [TWO[at : at + size] for at in range(0, len(TWO), size)]

        assert list(events(chunks)) == EXPECTED

    def test_come_as_soon_as_they_are_whole(self):
        def chunks():
            yield TWO[:-1]
            raise AssertionError("asked for more before the first event was out")

        assert next(events(chunks())) == EXPECTED[0]

    def test_are_exceptions_by_their_name(self):
        (found,) = events([exception("throttlingException", "slow")])

        assert found.name == "throttlingException"

    def test_are_errors_that_have_no_type(self):
        (found,) = events([frame(b"", message_type="error", error_code="InternalError")])

        assert found == Event("error", "")

    def test_may_have_headers_of_every_type(self):
        values = {0: b"", 1: b"", 2: b"b", 3: b"sh", 4: b"intg", 5: b"longlong"}
        values |= {6: b"\0\2xx", 8: b"timetime", 9: b"u" * 16}
        encoded = b"".join(b"\1" + b"%d" % kind + bytes([kind]) + v for kind, v in values.items())
        name = b"\x0b:event-type\7\0\3one"

        assert list(events([with_headers(encoded + name)])) == [Event("one", "")]

    @pytest.mark.parametrize(
        "data",
        [
            TWO[:-1],
            TWO[:5],
            b"HTTP/1.1 200 OK\r\n\r\n",
            TWO.replace(b"one", b"eno"),
            TWO[:-4] + b"\0\0\0\0",
            with_headers(b"\1a\x0a"),
            with_headers(b"\1a\7\xff"),
            with_headers(b"\x7f"),
        ],
    )
    def test_are_refused_where_damaged(self, data):
        with pytest.raises(MalformedReply):
            list(events([data]))

    def test_are_refused_where_sizes_contradict(self):
        prelude = struct.pack(">II", 20, 100)
        with pytest.raises(MalformedReply, match="impossible"):
            list(events([prelude + struct.pack(">I", crc32(prelude)) + b"\0" * 8]))

    def test_are_limited_in_size_before_they_are_whole(self):
        large = event("large", {"a": "x" * 200})

        with pytest.raises(MalformedReply, match="large"):
            list(events([large[:20]], max_event=100))

    def test_are_limited_in_number(self):
        with pytest.raises(MalformedReply, match="many"):
            list(events([TWO], max_events=1))
