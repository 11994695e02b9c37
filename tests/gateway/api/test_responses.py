"""Promises of gateway/api/responses.py: the bytes are the reference's."""

import pytest

from gateway.api.responses import event_stream, json_response, ndjson_stream, text_stream


class TestJsonResponse:
    @pytest.mark.parametrize(
        ("value", "body"),
        [
            ({"b": 1, "a": [None, True]}, '{"b":1,"a":[null,true]}'),
            ("a bare string", '"a bare string"'),
            ("é €", '"é €"'),
            ({}, "{}"),
        ],
    )
    def test_is_compact_and_in_order(self, value, body):
        assert json_response(value).content.decode() == body

    def test_says_how_long_it_is(self):
        response = json_response("é", status=404)

        assert response.status_code == 404
        assert response.headers["Content-Length"] == "4"
        assert response.headers["Content-Type"] == "application/json"


class TestTextStream:
    def test_sends_the_pieces_and_nothing_else(self):
        response = text_stream(iter(["a", "", "é"]))

        assert b"".join(response) == "aé".encode()
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"

    @pytest.mark.parametrize("make", [text_stream, event_stream, ndjson_stream])
    def test_is_held_back_by_no_proxy(self, make):
        response = make(iter(()))

        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["Cache-Control"] in ("no-cache", "no-store")

    @pytest.mark.parametrize("make", [text_stream, event_stream, ndjson_stream])
    def test_closes_the_pieces_when_the_server_closes_it(self, make):
        closed = []

        def pieces():
            try:
                yield "a"
            finally:
                closed.append(True)

        response = make(pieces())
        next(iter(response))

        response.close()

        assert closed == [True]


class TestNdjsonStream:
    def test_says_what_it_is(self):
        response = ndjson_stream(iter(["{}\n", "1\n"]))

        assert b"".join(response) == b"{}\n1\n"
        assert response.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"


class TestEventStream:
    def test_says_what_it_is(self):
        assert event_stream(iter(())).headers["X-Streaming-Format"] == "sse"
