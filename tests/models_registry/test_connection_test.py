"""The connection test: every planted fault stops it at its own step, with its own fix."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from models_registry import egress, egress_ledger
from models_registry.connection_test import HELLO, STEPS, State, Step, run
from models_registry.providers import PROVIDERS
from models_registry.providers.types import ModelConfig
from tests.models_registry import (
    ANSWER,
    RawServer,
    Visitor,
    answering,
    resolve_to,
)
from tests.models_registry.authority import Authority
from tests.rig.backend import ScriptedBackend
from tests.rig.processes import free_port

KEY = "sk-canary-77aa"
# What a server may say, and no page may repeat.
CANARY = "canary-of-the-remote-body"
LOGIN_PAGE = f"<html><title>Log in</title>{CANARY}</html>".encode()
NAMES = [step.slug for step in STEPS]


def model(**facts: Any) -> ModelConfig:
    return ModelConfig(
        **{
            "revision_id": 1,
            "model_id": 1,
            "name": "code",
            "family": "codestral",
            "provider": "openai_compatible",
            "endpoint": "",
            "identifier": "stub",
            "api_key": KEY,
            **facts,
        }
    )


def last(config: ModelConfig) -> Step:
    """Return the last step of a test, which is the one that failed, if one did."""
    return list(run(config))[-1]


def reply(status: bytes, media: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        media,
        len(body),
        body,
    )


# The planted faults. Each yields a model that has it.

Plant = Callable[..., AbstractContextManager[ModelConfig]]


@contextmanager
def closed_port(**_: Any) -> Iterator[ModelConfig]:
    yield model(endpoint=f"http://127.0.0.1:{free_port()}/v1")


@contextmanager
def unknown_name(monkeypatch: pytest.MonkeyPatch, **_: Any) -> Iterator[ModelConfig]:
    def getaddrinfo(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield model(endpoint="http://llm.example.com:8000/v1")


@contextmanager
def slow_resolver(monkeypatch: pytest.MonkeyPatch, settings: Any, **_: Any) -> Any:
    def getaddrinfo(*_: object, **__: object) -> Any:
        time.sleep(1)
        return []

    settings.GATEWAY_CONNECT_S = 0.2
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield model(endpoint="http://llm.example.com:8000/v1")


@contextmanager
def address_not_listed(**_: Any) -> Iterator[ModelConfig]:
    yield model(endpoint="https://8.8.8.8:8443/v1")


@contextmanager
def name_not_listed(monkeypatch: pytest.MonkeyPatch, **_: Any) -> Iterator[ModelConfig]:
    resolve_to(monkeypatch, ["127.0.0.1", "8.8.8.8"])
    yield model(endpoint="https://llm.example.com/v1")


@contextmanager
def metadata_address(monkeypatch: pytest.MonkeyPatch, **_: Any) -> Iterator[ModelConfig]:
    resolve_to(monkeypatch, ["169.254.169.254"])
    yield model(endpoint="http://metadata.google.internal/v1")


@contextmanager
def unknown_authority(authority: Authority, **_: Any) -> Iterator[ModelConfig]:
    with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
        yield model(endpoint=f"{server.url}/v1")


@contextmanager
def expired(authority: Authority, **_: Any) -> Iterator[ModelConfig]:
    context = authority.context("127.0.0.1", is_expired=True)
    with RawServer(answering(ANSWER), tls=context) as server:
        yield model(endpoint=f"{server.url}/v1", ca_bundle=authority.pem)


@contextmanager
def wrong_name(authority: Authority, **_: Any) -> Iterator[ModelConfig]:
    context = authority.context("llm.example.com", "10.0.0.9")
    with RawServer(answering(ANSWER), tls=context) as server:
        yield model(endpoint=f"{server.url}/v1", ca_bundle=authority.pem)


@contextmanager
def https_to_a_plain_port(backend: ScriptedBackend, **_: Any) -> Iterator[ModelConfig]:
    yield model(endpoint=backend.endpoint.replace("http:", "https:"))


@contextmanager
def http_to_a_tls_port(authority: Authority, **_: Any) -> Iterator[ModelConfig]:
    with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
        yield model(endpoint=f"{server.url.replace('https:', 'http:')}/v1")


@contextmanager
def another_protocol(**_: Any) -> Iterator[ModelConfig]:
    with RawServer(lambda visitor: visitor.send(b"220 mail ready\r\n")) as server:
        yield model(endpoint=f"{server.url}/v1")


@contextmanager
def silent_server(monkeypatch: pytest.MonkeyPatch, **_: Any) -> Iterator[ModelConfig]:
    monkeypatch.setattr("models_registry.connection_test.LIST_S", 0.3)
    with RawServer(Visitor.wait_until_left) as server:
        yield model(endpoint=f"{server.url}/v1")


@contextmanager
def login_page(**_: Any) -> Iterator[ModelConfig]:
    with RawServer(answering(reply(b"200 OK", b"text/html; charset=utf-8", LOGIN_PAGE))) as server:
        yield model(endpoint=f"{server.url}/v1")


@contextmanager
def redirect(**_: Any) -> Iterator[ModelConfig]:
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/%b\r\nContent-Length: 0\r\n\r\n"
    with RawServer(answering(moved % CANARY.encode())) as server:
        yield model(endpoint=f"{server.url}/v1")


@contextmanager
def wrong_key(backend: ScriptedBackend, **_: Any) -> Iterator[ModelConfig]:
    backend.api_key = "another"
    yield model(endpoint=backend.endpoint)


@contextmanager
def no_key(backend: ScriptedBackend, **_: Any) -> Iterator[ModelConfig]:
    backend.api_key = "another"
    yield model(endpoint=backend.endpoint, api_key="")


@contextmanager
def failing_server(**_: Any) -> Iterator[ModelConfig]:
    with RawServer(answering(reply(b"503 No", b"text/plain", CANARY.encode()))) as server:
        yield model(endpoint=f"{server.url}/v1")


@contextmanager
def wrong_model_name(backend: ScriptedBackend, **_: Any) -> Iterator[ModelConfig]:
    yield model(endpoint=backend.endpoint, identifier="custom_openai/mistral-large")


def scripted(behavior: str, **facts: Any) -> Plant:
    """Return the plant of a server that lists a model and then does what its name says."""

    @contextmanager
    def plant(backend: ScriptedBackend, **_: Any) -> Iterator[ModelConfig]:
        backend.names = [behavior]
        yield model(endpoint=backend.endpoint, identifier=behavior, **facts)

    return plant


# Fault -> how it is planted, the step that finds it, what to change, words of its fix.
FAULTS: dict[str, tuple[Plant, str, str, str]] = {
    "closed port": (closed_port, "tcp", "endpoint", "Nothing listens on port"),
    "unresolvable name": (unknown_name, "dns", "endpoint", "Correct the host name llm.example.com"),
    "slow resolver": (slow_resolver, "dns", "", "getent hosts llm.example.com"),
    "address not allowed": (
        address_not_listed,
        "address",
        "GATEWAY_EGRESS_ALLOW",
        "add 8.8.8.8:8443 to GATEWAY_EGRESS_ALLOW",
    ),
    "name not allowed": (
        name_not_listed,
        "dns",
        "GATEWAY_EGRESS_ALLOW",
        "add llm.example.com:443 to GATEWAY_EGRESS_ALLOW",
    ),
    "metadata address": (metadata_address, "dns", "endpoint", "no setting opens this one"),
    "unknown authority": (
        unknown_authority,
        "tls",
        "ca_bundle",
        "certificate of the authority 'Enclave test authority' under CA bundle",
    ),
    "expired certificate": (expired, "tls", "", "Renew the certificate 'server, which ended on 20"),
    "certificate for another name": (
        wrong_name,
        "tls",
        "endpoint",
        "made for llm.example.com, 10.0.0.9.",
    ),
    "https:// to a plain port": (https_to_a_plain_port, "tls", "endpoint", "Write http:// instead"),
    "http:// to a TLS port": (http_to_a_tls_port, "http", "endpoint", "Write https:// instead"),
    "another protocol": (another_protocol, "http", "endpoint", "Something else than a model"),
    "silent server": (silent_server, "http", "", "takes connections on port"),
    "login page": (login_page, "models", "endpoint", "A web page answers"),
    "redirect": (redirect, "models", "endpoint", "the redirect leads to"),
    "wrong key": (wrong_key, "models", "new_api_key", "Enter it again under API key"),
    "no key": (no_key, "models", "new_api_key", "none is stored"),
    "failing server": (failing_server, "models", "", "log for X-Request-ID connection-test-"),
    "wrong model name": (wrong_model_name, "present", "identifier", "names that the server lists"),
    "hang": (scripted("hang-5", first_byte_s=0.3), "answer", "first_byte_s", "'first byte within'"),
    "server that refuses a chat": (scripted("err-400"), "answer", "", "chat template (vLLM"),
    "server over its limit": (scripted("err-429"), "answer", "", "raise the limit"),
    "empty answer": (scripted("empty"), "answer", "", "The model says nothing"),
    "server that cannot stream": (scripted("whole"), "stream", "", "proxy_buffering off"),
    "no text completions": (
        scripted("chat-only", has_native_fim=True),
        "fim",
        "has_native_fim",
        "Switch 'native fill-in-the-middle' off",
    ),
}


class TestFaults:
    @pytest.fixture
    def parts(self, monkeypatch, settings, authority, backend):
        return {
            "monkeypatch": monkeypatch,
            "settings": settings,
            "authority": authority,
            "backend": backend,
        }

    @pytest.mark.parametrize("fault", FAULTS)
    def test_stops_the_test_at_its_step_with_its_fix(self, fault, parts):
        plant, slug, change, fix = FAULTS[fault]
        with plant(**parts) as config:
            *before, failed = run(config)

        assert [step.slug for step in before] == NAMES[: NAMES.index(slug)]
        assert all(step.state != State.FAILED for step in before)
        assert (failed.slug, failed.state, failed.change) == (slug, State.FAILED, change)
        assert fix in failed.fix
        assert failed.found.endswith(".")

    @pytest.mark.parametrize("fault", FAULTS)
    def test_repeats_no_key_and_nothing_that_a_server_wrote(self, fault, parts):
        with FAULTS[fault][0](**parts) as config:
            said = str([step.as_dict() for step in run(config)])

        assert KEY not in said
        assert CANARY not in said
        assert "the script says" not in said

    def test_has_a_fix_of_its_own(self, parts, authority):
        fixes = []
        for plant, *_ in FAULTS.values():
            with pytest.MonkeyPatch.context() as monkeypatch:
                backend = ScriptedBackend()
                given = {**parts, "monkeypatch": monkeypatch, "backend": backend}
                with plant(**given) as config:
                    fixes.append(last(config).fix)
                backend.close()
            parts["settings"].GATEWAY_CONNECT_S = 3.0

        assert len(set(fixes)) == len(FAULTS) == 25


class TestRun:
    def test_takes_every_step_of_a_model_that_works(self, backend):
        steps = list(run(model(endpoint=backend.endpoint, has_native_fim=True)))

        assert {step.slug: step.state for step in steps} == {
            **dict.fromkeys(NAMES, State.OK),
            "dns": State.SKIPPED,
            "tls": State.SKIPPED,
        }

    def test_works_with_a_real_model_server(self, llama):
        config = model(
            endpoint=llama.endpoint,
            identifier=llama.model,
            api_key=llama.api_key,
            has_native_fim=True,
        )

        states = [step.state for step in run(config)]

        assert len(states) == len(STEPS)
        assert State.FAILED not in states

    def test_asks_for_no_more_than_it_needs_and_on_one_connection(self, backend):
        list(run(model(endpoint=backend.endpoint, has_native_fim=True)))

        assert [(call.method, call.path) for call in backend.calls] == [
            ("GET", "/v1/models"),
            ("POST", "/v1/chat/completions"),
            ("POST", "/v1/chat/completions"),
            ("POST", "/v1/completions"),
        ]
        assert [call.body.get("max_tokens") for call in backend.calls[1:]] == [1, 16, 8]
        assert len({call.connection for call in backend.calls}) == 1
        assert len({call.headers["x-request-id"] for call in backend.calls}) == 1

    def test_neither_uses_nor_closes_the_connections_of_calls(self, backend):
        config = model(endpoint=backend.endpoint)

        def call():
            PROVIDERS["openai_compatible"].complete(HELLO, config, limits=limits)
            return backend.calls[-1].connection

        limits = egress.Limits(
            deadline_at=time.monotonic() + 5, first_byte_s=5, idle_s=5, max_bytes=10**6
        )
        first = call()
        backend.forget()
        list(run(config))

        assert first not in {call.connection for call in backend.calls}
        assert call() == first
        assert len(egress._pools) == 1

    def test_yields_each_step_as_soon_as_it_is_taken(self, backend):
        steps = run(model(endpoint=backend.endpoint))

        taken = [next(steps) for _ in range(4)]

        assert [step.slug for step in taken] == ["address", "dns", "tcp", "tls"]
        assert backend.calls == []
        steps.close()

    def test_sends_no_key_before_the_certificate_is_verified(self, authority):
        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            list(run(model(endpoint=f"{server.url}/v1")))

        assert server.requests == []

    def test_needs_no_server_for_echo(self):
        steps = list(run(model(provider="echo")))

        assert {step.found for step in steps[:7]} == {"This provider needs no server."}
        assert [step.state for step in steps[7:]] == [State.OK, State.OK, State.SKIPPED]

    def test_says_what_is_wrong_with_an_endpoint_that_cannot_be_read(self):
        step = last(model(endpoint="http://user:pw@10.0.0.1/"))

        assert (step.slug, step.change) == ("address", "endpoint")
        assert "user name" in step.found

    def test_says_that_the_provider_is_gone(self):
        step = last(model(provider="gone"))

        assert step.state == State.FAILED
        assert "no provider 'gone'" in step.found

    def test_gives_a_reasoning_model_tokens_to_think(self, backend):
        list(run(model(endpoint=backend.endpoint, is_reasoning=True)))

        asked = [call.body for call in backend.calls if call.method == "POST"]
        assert [body["max_completion_tokens"] for body in asked] == [1024, 1024]

    def test_asks_a_model_for_embeddings_for_a_vector_and_no_text(self, backend):
        steps = {
            step.slug: step for step in run(model(endpoint=backend.endpoint, family="embedding"))
        }

        assert [call.path for call in backend.calls] == ["/v1/models", "/v1/embeddings"]
        assert steps["answer"].found == "The model gave a vector of 8 numbers."
        assert [steps[slug].state for slug in ("stream", "fim")] == ["skipped", "skipped"]


class TestTls:
    def test_shows_the_chain_of_a_certificate_that_it_trusts(self, authority):
        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            steps = list(run(model(endpoint=f"{server.url}/v1", ca_bundle=authority.pem)))

        (certificate,) = next(step for step in steps if step.slug == "tls").chain
        assert (certificate.subject, certificate.issuer) == ("server", "Enclave test authority")
        assert certificate.not_after.startswith("20")

    def test_shows_the_chain_of_a_certificate_that_it_refuses(self, authority):
        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            step = last(model(endpoint=f"{server.url}/v1"))

        assert [certificate.issuer for certificate in step.chain] == ["Enclave test authority"]

    def test_shows_a_name_without_what_moves_the_rest_of_the_line(self, tmp_path):
        hostile = Authority(tmp_path, "evil\u202e\x1b[31m")
        with RawServer(answering(ANSWER), tls=hostile.context("127.0.0.1")) as server:
            step = last(model(endpoint=f"{server.url}/v1"))

        assert step.chain[0].issuer == "evil\ufffd\ufffd[31m"
        assert "\u202e" not in step.fix


class TestModels:
    def test_adds_a_forgotten_v1_and_says_so(self, backend):
        backend.needs_version = True

        steps = list(run(model(endpoint=backend.url)))

        found = next(step for step in steps if step.slug == "models")
        assert "lacked /v1" in found.found
        assert (found.change, found.choices) == ("endpoint", (backend.endpoint,))
        assert all(step.state != State.FAILED for step in steps)
        assert backend.calls[-1].path == "/v1/chat/completions"

    def test_adds_v1_behind_a_page_too(self):
        def script(visitor: Visitor) -> None:
            listed = reply(b"200 OK", b"application/json", b'{"data": [{"id": "other"}]}')
            while True:
                is_list = b"GET /v1/models" in visitor.read_request()
                visitor.send(listed if is_list else reply(b"200 OK", b"text/html", LOGIN_PAGE))

        with RawServer(script) as server:
            steps = list(run(model(endpoint=server.url)))

        assert "lacked /v1" in steps[-2].found
        assert steps[-1].choices == ("other",)

    def test_does_not_guess_where_the_endpoint_names_a_version(self, backend):
        backend.needs_version = True

        list(run(model(endpoint=f"{backend.url}/v2")))

        assert [call.path for call in backend.calls if call.method == "GET"] == ["/v2/models"]

    def test_asks_for_the_key_where_the_list_below_v1_wants_one(self):
        def script(visitor: Visitor) -> None:
            while True:
                is_below = b"GET /v1/" in visitor.read_request()
                status = b"401 No" if is_below else b"404 No"
                visitor.send(reply(status, b"application/json", b"{}"))

        with RawServer(script) as server:
            step = last(model(endpoint=server.url))

        assert (step.slug, step.change) == ("models", "new_api_key")

    def test_goes_on_without_a_list(self, backend):
        with RawServer(answering(reply(b"404 No", b"application/json", b"{}"))) as server:
            steps = list(run(model(endpoint=f"{server.url}/v1")))

        assert [step.state for step in steps[5:7]] == [State.SKIPPED, State.SKIPPED]
        assert (steps[-1].slug, steps[-1].change) == ("answer", "identifier")

    @pytest.mark.parametrize(
        ("identifier", "listed"),
        [
            ("codestral", "codestral"),
            ("custom_openai/codestral", "codestral"),
            ("codestral", "codestral:latest"),
            ("Qwen/Qwen2.5-Coder-7B", "Qwen/Qwen2.5-Coder-7B"),
            ("", "codestral"),
        ],
    )
    def test_finds_a_model_by_the_name_that_a_call_sends(self, backend, identifier, listed):
        backend.names = ["stub", listed]

        steps = list(run(model(endpoint=backend.endpoint, identifier=identifier)))

        assert next(step for step in steps if step.slug == "present").state == State.OK

    def test_offers_the_names_that_are_names(self, backend):
        backend.names = ["good", "<b>", "evil\u202e", "x" * 300, ""]

        step = last(model(endpoint=backend.endpoint))

        assert step.choices == ("good", "<b>")


class TestStep:
    def test_survives_the_database(self, authority):
        with RawServer(answering(ANSWER), tls=authority.context("127.0.0.1")) as server:
            step = last(model(endpoint=f"{server.url}/v1"))

        assert Step.from_dict(step.as_dict()) == step
        assert step.chain


class TestEgressReport:
    def test_sees_what_the_test_was_refused(self):
        last(model(endpoint="https://8.8.8.8:8443/v1"))

        tally = egress_ledger.take()[("8.8.8.8", 8443, "model")]
        assert (tally.reached, tally.refused, tally.reason) == (0, 1, "not_listed")
