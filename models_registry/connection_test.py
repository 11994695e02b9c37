"""The connection test: what a call of a model meets, looked at one step at a time.

Each step is one function in STEPS; the test stops at the first that fails, with the fix. The steps
go through the same door as calls do (`egress.Walk`, the provider), and no step is taken twice: the
connection of the third is the one that carries the fifth. What a server says is never repeated,
except the names of its models and of its certificates, as text.
Source: product.md 2.9, gitlab-client.md 5.3 (what goes wrong, and what GitLab says about it).
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone

from models_registry import certificates
from models_registry.advice import advice
from models_registry.certificates import Certificate
from models_registry.egress import Limits, Walk, check_endpoint
from models_registry.egress_ledger import as_entry
from models_registry.errors import (
    BackendAuthFailed,
    BackendFailed,
    BackendNotFound,
    BackendRateLimited,
    BackendTimedOut,
    BackendTlsFailed,
    MalformedReply,
    ModelError,
    ModelMisconfigured,
)
from models_registry.families import EMBEDDING
from models_registry.providers import get_provider
from models_registry.providers.base import Provider
from models_registry.providers.embedding import Texts
from models_registry.providers.names import served_name
from models_registry.providers.types import Message, ModelConfig, Prompt

# A list costs no token and comes at once; an answer gets the time that a call gets.
LIST_S = 5.0
WALK_S = 60.0
CHOICES_MAX = 50
# A reasoning model thinks first, and counts its thoughts.
REASONING_TOKENS = 1_024
STREAM_TOKENS = 16
HAS_VERSION = re.compile(r"/v\d+$")

# What ends the test where the list of models was asked for, beside errors that have a reason.
FINAL = (BackendAuthFailed, BackendFailed, BackendRateLimited)

HELLO = Prompt(messages=(Message(role="user", content="Say hello."),), max_tokens=1)
WORD = Texts(texts=("Hello",))
# Several tokens from any model, so that several pieces must come.
COUNT = Prompt(
    messages=(Message(role="user", content="Count from one to five in words."),),
    max_tokens=STREAM_TOKENS,
)
CODE = Prompt(text="def add(a, b):\n    return", max_tokens=8)


class State(StrEnum):
    """How a step ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step: what was found and, if it failed, the fix.

    `change` is the field of the model, or the setting, to change; `choices` are values for it.
    """

    slug: str
    name: str
    state: State
    ms: int
    found: str
    fix: str = ""
    change: str = ""
    choices: tuple[str, ...] = ()
    chain: tuple[Certificate, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form in which the last test is kept."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Step:
        """Return the step whose `as_dict` this is."""
        chain = tuple(Certificate(**certificate) for certificate in value["chain"])
        kept = {**value, "chain": chain, "choices": tuple(value["choices"])}
        return cls(**{**kept, "state": State(value["state"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a step that did not fail found."""

    text: str
    is_skipped: bool = False
    change: str = ""
    choices: tuple[str, ...] = ()
    chain: tuple[Certificate, ...] = ()


class Fault(Exception):
    """A step failed for a reason that is no error of a call."""

    def __init__(
        self,
        text: str,
        *words: str,
        facts: Mapping[str, str] | None = None,
        choices: tuple[str, ...] = (),
        chain: tuple[Certificate, ...] = (),
    ) -> None:
        """Keep the words under which advice is looked up, and further facts that it mentions."""
        super().__init__(text)
        self.words = words
        self.choices = choices
        self.chain = chain
        self.facts = facts or {}


class _Trial:
    """What the steps hand on: the model as it is tested, and the way to its server."""

    def __init__(self, model: ModelConfig) -> None:
        # Connections of its own: one that calls left open would hide what a new one meets.
        self.model = replace(model, revision_id=-secrets.randbits(62))
        self.provider = get_provider(model.provider)
        self.request_id = f"connection-test-{secrets.token_hex(6)}"
        self.walk: Walk | None = None
        self.names: tuple[str, ...] | None = None
        self.list_error: ModelError | None = None

    @property
    def way(self) -> Walk:
        """Return the way to the server, once the first step has found where it begins."""
        assert self.walk is not None  # noqa: S101  # the first step fails or sets it
        return self.walk

    def facts(self) -> dict[str, str]:
        """Return what advice may mention."""
        host, port = (self.walk.host, self.walk.port) if self.walk else ("", 0)
        return {
            "host": host,
            "port": str(port),
            "entry": as_entry(host, port),
            "request_id": self.request_id,
        }

    def asked(self, prompt: Prompt) -> Prompt:
        """Return the prompt, with room for thoughts where the model has some."""
        if not self.model.is_reasoning:
            return prompt
        return replace(prompt, max_tokens=REASONING_TOKENS)

    def limits(self) -> Limits:
        """Return the limits of a call."""
        return Limits(
            deadline_at=time.monotonic()
            + (self.model.deadline_s or settings.GATEWAY_PROMPT_DEADLINE_S),
            first_byte_s=self.model.first_byte_s or settings.GATEWAY_FIRST_BYTE_S,
            idle_s=self.model.idle_s or settings.GATEWAY_IDLE_S,
            max_bytes=settings.GATEWAY_ANSWER_MAX_BYTES,
        )


def run(model: ModelConfig) -> Iterator[Step]:
    """Yield the steps as they are taken, up to the first that fails."""
    try:
        trial = _Trial(model)
    except ModelMisconfigured as exc:
        yield _failed(STEPS[0], 0, str(exc), (exc.code,), {})
        return
    try:
        for kind in STEPS:
            step = _take(kind, trial)
            yield step
            if step.state == State.FAILED:
                return
    finally:
        if trial.walk is not None:
            trial.walk.close()


# The steps


def _address(trial: _Trial) -> Finding:
    """Read the address that a call would use, and judge it as far as it is written."""
    assert isinstance(trial.provider, Provider)  # noqa: S101  # see `_take`
    url = trial.provider.build(HELLO, trial.model, is_streamed=False).url
    trial.walk = walk = Walk(
        url,
        ca_bundle=trial.model.ca_bundle,
        pool_key=str(trial.model.revision_id),
        limits=_within(WALK_S),
    )
    check_endpoint(trial.model.endpoint or url)
    walk.check()
    if walk.is_name:
        return Finding(text=f"{walk.host} is a name; the next step checks where it leads.")
    return Finding(text=f"{trial.facts()['entry']} is in GATEWAY_EGRESS_ALLOW.")


def _dns(trial: _Trial) -> Finding:
    addresses = trial.way.resolve()
    if not trial.way.is_name:
        return Finding(text="The endpoint holds an address, no name.", is_skipped=True)
    return Finding(text=f"{trial.way.host} leads to {', '.join(addresses)}, which may be reached.")


def _tcp(trial: _Trial) -> Finding:
    trial.way.connect()
    return Finding(text=f"Port {trial.way.port} is open.")


def _tls(trial: _Trial) -> Finding:
    if not trial.way.is_tls:
        trial.way.keep()
        return Finding(
            text="The endpoint begins with http://: keys and prompts travel unencrypted.",
            is_skipped=True,
        )
    try:
        chain = certificates.read(trial.way.secure())
    except BackendTlsFailed as exc:
        presented = certificates.read(trial.way.presented())
        raise Fault(
            str(exc),
            exc.reason,
            exc.code,
            facts=certificates.why_refused(presented, now=timezone.now()),
            chain=certificates.describe(presented),
        ) from exc
    trial.way.keep()
    return Finding(text="The certificate is trusted.", chain=certificates.describe(chain))


def _http(trial: _Trial) -> Finding:
    """Ask for the list of models, and look only whether what answers speaks HTTP."""
    try:
        trial.names = _list(trial, trial.model)
    except ModelError as exc:
        if exc.status is None:
            raise _secret(trial, exc) from exc
        trial.list_error = exc
    else:
        if trial.names is None:
            return Finding(text="This provider has no list to ask for.", is_skipped=True)
    status = trial.list_error.status if trial.list_error else 200
    return Finding(text=f"The server speaks HTTP (status {status}).")


def _secret(trial: _Trial, error: ModelError) -> Exception:
    """Return the error, or a better one if the port would rather speak TLS."""
    if trial.way.is_tls or isinstance(error, BackendTimedOut) or not trial.way.presented():
        return error
    return Fault(str(error), "needs_tls")


def _models(trial: _Trial) -> Finding:
    """Read the list of models; add a forgotten /v1 if there is a list below it."""
    added = _with_version(trial) if _is_elsewhere(trial.list_error) else None
    if added is not None:
        return added
    error = trial.list_error
    if error is not None and (error.reason or isinstance(error, FINAL)):
        raise error
    if trial.names is None:
        return Finding(
            text="The server has no list of models; the answer below decides.", is_skipped=True
        )
    return Finding(text=f"The server lists {_counted(trial.names)}.")


def _present(trial: _Trial) -> Finding:
    if not trial.names:
        return Finding(text="No list to look at.", is_skipped=True)
    wanted = served_name(trial.model)
    # Ollama lists a model with the tag that it adds itself.
    if wanted in trial.names or f"{wanted}:latest" in trial.names:
        return Finding(text=f"'{wanted}' is among them.")
    raise Fault(
        f"The server does not list '{wanted}'.",
        "absent",
        choices=trial.names[:CHOICES_MAX],
    )


def _answer(trial: _Trial) -> Finding:
    if trial.model.family == EMBEDDING:
        return _embed(trial)
    completion = trial.provider.complete(
        trial.asked(HELLO), trial.model, limits=trial.limits(), correlation_id=trial.request_id
    )
    if completion.text.strip():
        return Finding(text="The model answered.")
    if completion.finish_reason == "length":
        return Finding(text="The model answered; the token went into its thoughts.")
    raise Fault("The answer is empty.", "empty")


def _embed(trial: _Trial) -> Finding:
    embedding = trial.provider.embed(
        WORD, trial.model, limits=trial.limits(), correlation_id=trial.request_id
    )
    return Finding(text=f"The model gave a vector of {len(embedding.vectors[0]):,} numbers.")


def _stream(trial: _Trial) -> Finding:
    started = time.monotonic()
    first_ms, pieces = 0, 0
    for delta in trial.provider.stream(
        trial.asked(COUNT), trial.model, limits=trial.limits(), correlation_id=trial.request_id
    ):
        if delta.text:
            first_ms = first_ms or _ms_since(started)
            pieces += 1
    if pieces == 0:
        raise Fault("The stream is empty.", "empty")
    if pieces == 1:
        raise Fault("The answer came in one piece although a stream was asked for.", "whole")
    return Finding(text=f"{pieces} pieces, the first after {first_ms} ms.")


def _fim(trial: _Trial) -> Finding:
    """Ask for a text to be gone on with; whether the model knows its markers, nobody can test."""
    if not trial.model.has_native_fim:
        return Finding(
            text="Not marked as native: code is completed by chat.",
            is_skipped=True,
        )
    completion = trial.provider.complete(
        CODE, trial.model, limits=trial.limits(), correlation_id=trial.request_id
    )
    if not completion.text.strip():
        raise Fault("The text completion is empty.", "empty")
    return Finding(text="The server completes text.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A step before it is taken."""

    slug: str
    name: str
    take: Callable[[_Trial], Finding]
    needs_server: bool = True
    wants_text: bool = False


STEPS = (
    Kind(slug="address", name="Address allowed", take=_address),
    Kind(slug="dns", name="DNS", take=_dns),
    Kind(slug="tcp", name="TCP", take=_tcp),
    Kind(slug="tls", name="TLS", take=_tls),
    Kind(slug="http", name="HTTP", take=_http),
    Kind(slug="models", name="List of models", take=_models),
    Kind(slug="present", name="Model present", take=_present),
    Kind(slug="answer", name="One-token answer", take=_answer, needs_server=False),
    Kind(slug="stream", name="Stream", take=_stream, needs_server=False, wants_text=True),
    Kind(slug="fim", name="Fill-in-the-middle", take=_fim, needs_server=False, wants_text=True),
)


def _take(kind: Kind, trial: _Trial) -> Step:
    if kind.needs_server and not isinstance(trial.provider, Provider):
        return _done(kind, 0, Finding(text="This provider needs no server.", is_skipped=True))
    if kind.wants_text and trial.model.family == EMBEDDING:
        text = "A model for embeddings is not asked for text."
        return _done(kind, 0, Finding(text=text, is_skipped=True))
    started = time.monotonic()
    try:
        finding = kind.take(trial)
    except Fault as exc:
        step = _failed(
            kind, _ms_since(started), str(exc), exc.words, {**trial.facts(), **exc.facts}
        )
        return replace(step, choices=exc.choices, chain=exc.chain)
    except ModelError as exc:
        has_no_key = isinstance(exc, BackendAuthFailed) and not trial.model.api_key
        words = (exc.reason or ("no_key" if has_no_key else ""), exc.code)
        return _failed(kind, _ms_since(started), str(exc), words, trial.facts())
    return _done(kind, _ms_since(started), finding)


def _done(kind: Kind, ms: int, finding: Finding) -> Step:
    return Step(
        slug=kind.slug,
        name=kind.name,
        state=State.SKIPPED if finding.is_skipped else State.OK,
        ms=ms,
        found=finding.text,
        change=finding.change,
        choices=finding.choices,
        chain=finding.chain,
    )


def _failed(
    kind: Kind, ms: int, found: str, words: tuple[str, ...], facts: Mapping[str, str]
) -> Step:
    given = advice(kind.slug, *words, facts=facts)
    # What errors say beyond the first sentence is advice for readers who see no fix.
    finding = re.split(r"[.;] ", found)[0]
    return Step(
        slug=kind.slug,
        name=kind.name,
        state=State.FAILED,
        ms=ms,
        found=finding.rstrip(".") + ".",
        fix=given.text,
        change=given.change,
    )


# The list of models


def _list(trial: _Trial, model: ModelConfig) -> tuple[str, ...] | None:
    assert isinstance(trial.provider, Provider)  # noqa: S101  # see `_take`
    return trial.provider.list_models(
        model, limits=_within(LIST_S), correlation_id=trial.request_id
    )


def _is_elsewhere(error: ModelError | None) -> bool:
    """Test whether the list may stand at another path than the one that was asked."""
    return isinstance(error, (BackendNotFound, MalformedReply))


def _with_version(trial: _Trial) -> Finding | None:
    """Go on below /v1 if the models are listed there and the endpoint names no version."""
    if HAS_VERSION.search(urlsplit(trial.model.endpoint).path):
        return None
    model = replace(trial.model, endpoint=f"{trial.model.endpoint}/v1")
    try:
        trial.names = _list(trial, model)
    except BackendAuthFailed:
        raise
    except ModelError:
        return None
    trial.model = model
    return Finding(
        text=f"The endpoint lacked /v1. Enclave added it: {model.endpoint} lists"
        f" {_counted(trial.names or ())}.",
        change="endpoint",
        choices=(model.endpoint,),
    )


def _counted(names: tuple[str, ...]) -> str:
    return "1 model" if len(names) == 1 else f"{len(names)} models"


# Time


def _within(seconds: float) -> Limits:
    return Limits(
        deadline_at=time.monotonic() + seconds,
        first_byte_s=seconds,
        idle_s=seconds,
        max_bytes=settings.GATEWAY_ANSWER_MAX_BYTES,
    )


def _ms_since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
