"""Promises of gateway/api/wire.py: whatever the bytes are, the answer is 400 or 422."""

from __future__ import annotations

import io
import json

import pytest
from django.core.handlers.wsgi import WSGIRequest
from gunicorn.http.errors import InvalidChunkSize, NoMoreData
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import Field

from features import snapshot
from gateway.api import wire
from gateway.api.wire import InvalidBody, UnreadableBody
from tests.contract.replay import recordings
from tests.factories import make_model, make_rule
from tests.gateway.api.conftest import COMPLETIONS, CONNECTION_TEST, USER_TOKEN, environ_of, send
from tests.gateway.api.test_embedding_calls import INDEX, VERTEX
from tests.gateway.api.v1.test_x_ray_libraries import X_RAY

JSON = "application/json"
CONTENT_TYPES = {
    name: recording for name, recording in recordings().items() if name.startswith("ctype-")
}


class Shape(wire.Body):
    """A body as an endpoint describes one."""

    class Inner(wire.Body):
        name: str = ""

    text: str = Field("", max_length=10)
    number: int = 0
    flag: bool = False
    inner: Inner | None = None
    items: list[int] = []


def read(body, *, content_type=JSON, **environ):
    headers = {} if content_type is None else {"Content-Type": content_type}
    return wire.read(
        WSGIRequest(environ_of("POST", "/", headers=headers, body=body, **environ)), Shape
    )


def errors_of(body):
    with pytest.raises(InvalidBody) as refused:
        read(body)
    return refused.value.errors


class TestRead:
    def test_returns_what_was_sent(self):
        assert read(b'{"text": "a", "number": 1, "inner": {"name": "b"}}').inner.name == "b"

    def test_ignores_keys_that_it_does_not_know(self):
        assert read(b'{"text": "a", "unknown": {"deep": [1]}}') == Shape(text="a")

    def test_takes_the_last_of_two_equal_keys(self):
        assert read(b'{"text": "a", "text": "b"}').text == "b"

    @pytest.mark.parametrize(
        ("body", "value"),
        [(b'{"number": "42"}', 42), (b'{"number": 42.0}', 42), (b'{"number": true}', 1)],
    )
    def test_takes_for_a_number_what_the_reference_takes_for_one(self, body, value):
        assert read(body).number == value

    @pytest.mark.parametrize("body", [b'{"flag": "true"}', b'{"flag": 1}', b'{"flag": "yes"}'])
    def test_takes_for_a_switch_what_the_reference_takes_for_one(self, body):
        assert read(body).flag is True

    def test_keeps_a_nul(self):
        assert read(b'{"text": "a\\u0000b"}').text == "a\0b"

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"{", id="half"),
            pytest.param(b"[]", id="array"),
            pytest.param(b'"text"', id="string"),
            pytest.param(b"7", id="number"),
            pytest.param(b"null", id="null"),
            pytest.param(b"NaN", id="NaN"),
            pytest.param(b'{"text": 7}', id="a number for a text"),
            pytest.param(b'{"text": null}', id="null for a text"),
            pytest.param(b'{"text": "12345678901"}', id="too long"),
            pytest.param(b'{"number": "one"}', id="a text for a number"),
            pytest.param(b'{"number": 1.5}', id="a fraction"),
            pytest.param(b'{"number": NaN}', id="NaN for a number"),
            pytest.param(b'{"number": Infinity}', id="infinity"),
            pytest.param(b'{"number": 1e400}', id="beyond floats"),
            pytest.param(b'{"number": ' + b"9" * 5_000 + b"}", id="5,000 digits"),
            pytest.param(b'{"inner": "x"}', id="a text for an object"),
            pytest.param(b'{"inner": []}', id="a list for an object"),
            pytest.param(b'{"items": {}}', id="an object for a list"),
            pytest.param(b'{"text": "a"} {"text": "b"}', id="two documents"),
            pytest.param(b'{"text": "a",}', id="a comma too many"),
            pytest.param(b"{'text': 'a'}", id="wrong quotes"),
            pytest.param(b'{"text": "a\nb"}', id="a line break in a text"),
            pytest.param(b'{"text": "\\ud800"}', id="half a surrogate pair"),
            pytest.param("{}".encode("utf-16"), id="utf-16"),
            pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
        ],
    )
    def test_refuses_what_does_not_fit(self, body):
        with pytest.raises((InvalidBody, UnreadableBody)):
            read(body)

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"[" * 100_000, id="deep list"),
            pytest.param(b'{"a":' * 100_000, id="deep object"),
            pytest.param(b'{"text": "\xff\xfe"}', id="no utf-8"),
            pytest.param(b'{"text": "\xed\xa0\x80"}', id="a surrogate in utf-8"),
        ],
    )
    def test_calls_unreadable_what_the_reference_calls_so(self, body):
        with pytest.raises(UnreadableBody):
            read(body)

    @pytest.mark.parametrize("name", CONTENT_TYPES)
    def test_takes_the_types_of_content_that_the_reference_takes(self, name):
        content_type = CONTENT_TYPES[name]["request"]["headers"]["Content-Type"]

        assert was_read(content_type) == (CONTENT_TYPES[name]["response"]["status"] == 200)

    @pytest.mark.parametrize(
        ("content_type", "is_json"),
        [
            (" application/json", True),  # the language server's
            ("application/json;charset=bogus", True),
            ("application/json; charset=utf-7", True),
            ("application/problem+json", True),
            ("", False),
            ("application/jsonp", False),
            ("text/json", False),
            ("application/xml", False),
            (";", False),
        ],
    )
    def test_knows_json_by_its_name(self, content_type, is_json):
        assert was_read(content_type) == is_json


def was_read(content_type):
    try:
        return bool(read(b"{}", content_type=content_type))
    except InvalidBody:
        return False


class Endless(io.BytesIO):
    """A body without end; after the first piece, `then` is raised."""

    def __init__(self, then=None):
        super().__init__()
        self.bytes_read = 0
        self._then = then

    def read(self, size=-1, /):
        if self.bytes_read and self._then is not None:
            raise self._then
        self.bytes_read += size
        return b" " * size


class TestSize:
    @pytest.fixture(autouse=True)
    def _small_limit(self, settings):
        settings.GATEWAY_BODY_MAX_BYTES = 1_000

    def test_takes_a_body_of_the_limit(self):
        assert read(b"{}".ljust(1_000))

    def test_refuses_a_body_of_one_byte_more(self):
        assert errors_of(b"{}".ljust(1_001)) == [
            {"type": "too_long", "loc": ("body",), "msg": "The body is larger than 1000 bytes"}
        ]

    def test_reads_an_oversized_body_to_its_end_for_the_answer_s_sake(self):
        source = io.BytesIO(b" " * 1_000_000)

        with pytest.raises(InvalidBody):
            read(b"", **{"wsgi.input": source, "CONTENT_LENGTH": "1000000"})

        assert source.tell() == 1_000_000

    def test_reads_no_endless_body(self, monkeypatch):
        monkeypatch.setattr(wire, "DRAIN_MAX_BYTES", 10 * wire.DRAIN_PIECE_BYTES)
        source = Endless()

        with pytest.raises(InvalidBody):
            read(b"", **{"wsgi.input": source, "HTTP_TRANSFER_ENCODING": "chunked"})

        assert source.bytes_read == 1_001 + wire.DRAIN_MAX_BYTES

    @pytest.mark.parametrize("error", [InvalidChunkSize(b"zz"), ConnectionResetError()])
    def test_refuses_an_oversized_body_that_breaks_off(self, error):
        source = Endless(then=error)

        with pytest.raises(InvalidBody):
            read(b"", **{"wsgi.input": source, "HTTP_TRANSFER_ENCODING": "chunked"})

    @pytest.mark.parametrize(("size", "fits"), [(1_000, True), (1_001, False)])
    def test_counts_a_chunked_body_too(self, size, fits):
        chunked = {"HTTP_TRANSFER_ENCODING": "chunked"}
        body = io.BytesIO(b"{}".ljust(size))

        try:
            read(b"", **{"wsgi.input": body, **chunked})
            was_taken = True
        except InvalidBody:
            was_taken = False

        assert was_taken == fits

    @pytest.mark.parametrize("length", ["-1", "abc", "", "1e3", "9" * 30])
    def test_takes_no_content_length_that_is_none(self, length):
        try:
            read(b"{}", CONTENT_LENGTH=length)
        except (InvalidBody, UnreadableBody):
            return


class TestBrokenBody:
    @pytest.mark.parametrize(
        "error", [InvalidChunkSize(b"zz"), NoMoreData(), ConnectionResetError(), TimeoutError()]
    )
    @pytest.mark.parametrize("framing", [{"HTTP_TRANSFER_ENCODING": "chunked"}, {}])
    def test_is_unreadable_and_no_fault_of_ours(self, error, framing):
        class Broken(io.BytesIO):
            def read(self, *_):
                raise error

        with pytest.raises(UnreadableBody):
            read(b"", **{"wsgi.input": Broken(), "CONTENT_LENGTH": "10", **framing})

    def test_is_answered_with_400(self, trusted):
        class Broken(io.BytesIO):
            def read(self, *_):
                raise InvalidChunkSize(b"zz")

        answer = send(
            "POST",
            COMPLETIONS,
            headers=trusted.headers(transfer_encoding="chunked"),
            **{"wsgi.input": Broken()},
        )

        assert answer.status == 400
        assert answer.json == {"detail": "There was an error parsing the body"}


class TestErrors:
    def test_say_where_and_why_without_what_was_sent(self):
        found = errors_of(b'{"text": "the secret text", "items": ["secret"], "number": "secret"}')

        assert {error["loc"] for error in found} == {
            ("body", "text"),
            ("body", "items", 0),
            ("body", "number"),
        }
        assert "secret" not in str(found)

    @pytest.mark.parametrize("verbose", ["true", "True"])
    def test_are_shown_to_an_instance_that_has_ai_logs_on(self, trusted, verbose):
        headers = trusted.headers(x_gitlab_enabled_instance_verbose_ai_logs=verbose)

        answer = send("POST", CONNECTION_TEST, body=b'{"inputs": "secret"}', headers=headers)

        assert answer.status == 422
        assert answer.json["detail"].startswith("[{'type': 'dict_type', 'loc': ('body', 'inputs')")
        assert "secret" not in answer.json["detail"]

    @pytest.mark.parametrize("verbose", ["false", "", "1", None])
    def test_are_one_sentence_for_others(self, trusted, verbose):
        headers = trusted.headers(x_gitlab_enabled_instance_verbose_ai_logs=verbose)

        answer = send("POST", CONNECTION_TEST, body=b'{"inputs": 7}', headers=headers)

        assert (answer.status, answer.json) == (422, {"detail": "Validation error"})


# Anything that JSON can say, and what Python's writer says beyond it.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(["\ud800", "\0", "python", "litellm", "http://[::1", "x" * 300]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["prompt_version", "project_id", "current_file", "model_provider", "model_name",
     "model_endpoint", "model_api_key", "model_identifier", "telemetry", "stream", "context",
     "inputs", "model_metadata"]
)  # fmt: skip
EMBEDDING_FIELDS = st.sampled_from(
    ["contents", "model_metadata", "dimensions", "litellm_drop_params", "instances", "parameters",
     "prompt_components"]
)  # fmt: skip
NEWER = (INDEX, VERTEX, X_RAY)
FILE_FIELDS = st.sampled_from(
    ["file_name", "language_identifier", "content_above_cursor", "content_below_cursor"]
)
FINE = {200, 400, 401, 403, 404, 405, 422}
many = hypothesis_settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def echo(embedded):
    """The built-in models that need no backend, for everyone."""
    facts = {"provider": "echo", "endpoint": "", "identifier": ""}
    model = make_model(family="codegemma", **facts)
    make_rule(model=model)
    make_rule(feature="x_ray_libraries", model=model)
    make_rule(feature="embeddings_code", model=make_model(family="embedding", **facts))
    snapshot.refresh()


# The maintenance thread draws its jitter beside hypothesis, which takes it for a strategy's.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
class TestAnything:
    """No bytes whatever make an error of ours."""

    @many
    @given(
        body=st.binary(max_size=200),
        path=st.sampled_from([COMPLETIONS, CONNECTION_TEST, USER_TOKEN, "/v2/completions", *NEWER]),
    )
    def test_bytes_are_answered(self, trusted, signing_key, echo, body, path):
        headers = trusted.headers(x_gitlab_unit_primitive="generate_embeddings_codebase")
        answer = send("POST", path, body=body, headers=headers)

        assert answer.status in FINE

    @many
    @given(value=VALUES, path=st.sampled_from([COMPLETIONS, CONNECTION_TEST, *NEWER]))
    def test_values_are_answered(self, trusted, echo, value, path):
        body = json.dumps(value).encode()
        headers = trusted.headers(x_gitlab_unit_primitive="generate_embeddings_codebase")

        answer = send("POST", path, body=body, headers=headers)

        assert answer.status in FINE

    @many
    @given(
        fields=st.dictionaries(FIELDS, VALUES, max_size=3),
        file=st.dictionaries(FILE_FIELDS, VALUES, max_size=2),
    )
    def test_bodies_that_nearly_fit_are_answered(self, trusted, echo, unnamed, fields, file):
        body = unnamed()
        body["current_file"] |= file
        body = json.dumps({**body, **fields}).encode()

        answer = send("POST", COMPLETIONS, body=body, headers=trusted.headers())

        assert answer.status in FINE

    @many
    @given(
        fields=st.dictionaries(EMBEDDING_FIELDS, VALUES, max_size=3),
        contents=st.lists(st.text(max_size=8), max_size=3),
        path=st.sampled_from(NEWER),
    )
    def test_bodies_that_nearly_ask_for_vectors_are_answered(
        self, trusted, echo, fields, contents, path
    ):
        usual = {
            "contents": contents,
            "model_metadata": {"provider": "gitlab", "identifier": "x"},
            "instances": [{"content": content} for content in contents],
            "prompt_components": [{"payload": content} for content in contents],
        }
        headers = trusted.headers(x_gitlab_unit_primitive="generate_embeddings_codebase")
        body = json.dumps({**usual, **fields}).encode()

        answer = send("POST", path, body=body, headers=headers)

        assert answer.status in FINE

    @many
    @given(
        text=st.text(max_size=40),
        suffix=st.text(max_size=40),
        name=st.text(min_size=1, max_size=20),
        stream=st.booleans(),
    )
    def test_whatever_the_code_is_it_is_answered(
        self, trusted, echo, unnamed, text, suffix, name, stream
    ):
        body = unnamed(stream=stream)
        body["current_file"] = {
            "file_name": f"{name}.py",
            "content_above_cursor": text,
            "content_below_cursor": suffix,
        }

        answer = send("POST", COMPLETIONS, value=body, headers=trusted.headers())

        assert answer.status == 200

    @many
    @given(
        header=st.sampled_from(
            ["Authorization", "X-Request-ID", "Origin", "Content-Type", "X-Gitlab-Realm",
             "X-Gitlab-User-Id", "X-Gitlab-Namespace-Id", "X-Gitlab-Enabled-Feature-Flags",
             "Access-Control-Request-Headers", "Transfer-Encoding", "Content-Length"]
        ),
        value=st.text(
            st.characters(max_codepoint=255, exclude_categories=["Cc"]) | st.just("\t"),
            max_size=60,
        ),
        method=st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "PUT", "TRACE", "FOO"]),
    )  # fmt: skip
    def test_headers_are_answered(self, trusted, echo, header, value, method):
        headers = {**trusted.headers(), header: value}

        answer = send(method, COMPLETIONS, body=b"{}", headers=headers)

        assert answer.status in FINE
