"""Promises of gateway/api/departure.py, with real connections."""

import socket
import struct

import pytest
from django.core.handlers.wsgi import WSGIRequest

from gateway.api import departure
from tests.gateway.api.conftest import environ_of


@pytest.fixture
def connection():
    """Both ends of a connection: the client's and the one that was accepted."""
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    accepted, _ = listener.accept()
    yield client, accepted
    for end in (client, accepted, listener):
        end.close()


def watch(accepted):
    return departure.watch(WSGIRequest(environ_of("POST", "/", **{"gunicorn.socket": accepted})))


class TestWatch:
    def test_sees_that_the_client_is_there(self, connection):
        _, accepted = connection

        assert not watch(accepted)()

    def test_sees_that_the_client_closed(self, connection):
        client, accepted = connection
        has_left = watch(accepted)

        client.close()

        assert has_left()

    def test_sees_that_the_client_broke_off(self, connection):
        client, accepted = connection
        has_left = watch(accepted)

        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

        assert has_left()

    def test_takes_nothing_of_the_next_request(self, connection):
        client, accepted = connection
        client.sendall(b"GET / HTTP/1.1\r\n")
        has_left = watch(accepted)

        answers = [has_left(), has_left()]

        assert answers == [False, False]
        assert accepted.recv(16) == b"GET / HTTP/1.1\r\n"

    def test_takes_our_own_end_that_is_closed_for_a_departure(self, connection):
        _, accepted = connection
        has_left = watch(accepted)

        accepted.close()

        assert has_left()

    def test_looks_through_gevent_s_socket_which_would_wait(self, connection):
        _, accepted = connection

        class Wrapped:
            _sock = accepted

            def recv(self, *_):
                raise AssertionError("this would wait for data")

        assert not watch(Wrapped())()

    def test_knows_nothing_without_a_connection(self):
        assert not departure.watch(WSGIRequest(environ_of("POST", "/")))()
