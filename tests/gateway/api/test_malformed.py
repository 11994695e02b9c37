"""Whatever arrives in place of a body that fits, every route says in JSON what is wrong."""

from __future__ import annotations

import logging

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from features import catalog, snapshot
from gateway.api.endpoint import Unknown
from models_registry.families import EMBEDDING
from tests.factories import make_api_key, make_model, make_rule
from tests.gateway.api.conftest import post, send
from tests.gateway.api.samples import BODIES

# One names a model's address, where nobody listens; the others are no routes of the vendors.
UNANSWERED = {
    "/v1/prompts/model_configuration/check",
    "/v1/proxy/anthropic/v1/nothing",
    "/v1/proxy/openai/v1/nothing",
}
DEEP = 100_000
VALUES: tuple[object, ...] = (
    None,
    True,
    -1,
    1e308,
    10**30,
    "",
    " ",
    "\x00",
    "\ud800",
    "/../%2f{{7*7}}%(x)s",
    "ab" * 300_000,
    [],
    {},
    [[]],
    [None],
    {"": {"": ""}},
)
RAW = {
    "nothing": b"",
    "no JSON": b"current_file=app.py",
    "half of it": b'{"current_file": {"file_na',
    "no object": b'["a"]',
    "a number": b"1",
    "null": b"null",
    "not a number": b'{"prompt_version": NaN, "inputs": Infinity}',
    "a lonely half of a pair": b'{"\\ud800": "\\udfff"}',
    "UTF-16": '{"inputs": {}}'.encode("utf-16"),
    "Latin-1": '{"inputs": {"a": "é"}}'.encode("latin-1"),
    "with a mark of order": b'\xef\xbb\xbf{"inputs": {}}',
    "bytes": bytes(range(256)),
    "a key twice": b'{"inputs": 1, "inputs": {}}',
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"inputs":' * DEEP + b"1" + b"}" * DEEP,
    "a long number": b'{"prompt_version": ' + b"9" * 50_000 + b"}",
}


def routes(patterns=None):
    """Return the views of the API that take a POST."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            yield from () if pattern.app_name == "admin" else routes(pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            view = getattr(pattern.callback, "view_class", None)
            if view is not None and view is not Unknown and hasattr(view, "post"):
                yield view


def served_by(path):
    """Return the view that a path leads to."""
    return get_resolver().resolve(path).func.view_class


def spoiled(value):
    """Yield copies of a JSON value in each of which one thing is missing or something else."""
    yield from VALUES
    if isinstance(value, dict):
        for key in value:
            yield {name: item for name, item in value.items() if name != key}
            for other in spoiled(value[key]):
                yield {**value, key: other}
        yield {**value, "unknown": {"a": [1]}}
    if isinstance(value, list):
        yield value * 200
        for position, item in enumerate(value):
            for other in spoiled(item):
                yield [*value[:position], other, *value[position + 1 :]]


@pytest.fixture
def everything_is_on(trusted, embedded, signing_key):
    """Every feature on, served by the echo models; returns a caller's headers for a path."""
    model = make_model(provider="echo", endpoint="", identifier="")
    vectors = make_model(provider="echo", endpoint="", identifier="", family=EMBEDDING)
    for slug, _ in catalog.choices():
        make_rule(feature=slug, model=model if catalog.fits(slug, model.family) else vectors)
    _, key = make_api_key()
    snapshot.refresh()
    client = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def headers(path):
        is_client = path.startswith(("/anthropic/", "/openai/"))
        return client if is_client else trusted.headers() | purpose(path)

    return headers


def purpose(path):
    """Return the header that says what a call through a proxy is for."""
    if "/proxy/" not in path:
        return {}
    unit = "ai_gateway_model_provider_proxy"
    if "vertex" in path:
        unit = "generate_embeddings_codebase"
    return {"X-Gitlab-Unit-Primitive": unit}


def code_of(told):
    """Return our code for a fault; the vendors' shapes have it inside of `error`."""
    error = told.get("error")
    return told.get("code") or (isinstance(error, dict) and (error.get("code") or error["type"]))


def is_clear(reply):
    """Test whether an answer is one, or says in JSON why there is none."""
    if reply.status == 200:
        return True
    if reply.status >= 500 and code_of(reply.json) in (None, "internal_error"):
        return False
    return bool(reply.json.get("detail") or reply.json.get("error"))


class TestRoutes:
    def test_have_a_body_that_fits(self):
        assert {served_by(path) for path in BODIES} == set(routes())

    @pytest.mark.parametrize("path", sorted(BODIES.keys() - UNANSWERED))
    def test_answer_the_body_that_fits(self, everything_is_on, path):
        assert post(path, BODIES[path] or {}, headers=everything_is_on(path)).status == 200


@pytest.mark.parametrize("path", BODIES)
class TestEveryRoute:
    def test_answers_every_spoiled_body(self, everything_is_on, path, caplog):
        caplog.set_level(logging.ERROR)
        unclear = []

        for number, body in enumerate(spoiled(BODIES[path] or {})):
            reply = post(path, body, headers=everything_is_on(path))
            if not is_clear(reply):
                unclear.append((number, str(body)[:300], reply.status, reply.body[:300]))

        assert unclear == []
        assert [r.message for r in caplog.records if "internal_error" in r.message] == []

    @pytest.mark.parametrize("name", RAW)
    def test_answers_bytes_that_are_no_body(self, everything_is_on, path, name):
        reply = send("POST", path, body=RAW[name], headers=everything_is_on(path))

        assert is_clear(reply), (reply.status, reply.body)

    def test_answers_in_json_without_credentials(self, everything_is_on, path):
        reply = post(path, {})

        assert reply.status == 401
        assert set(reply.json) - {"type"} == {"error"}
