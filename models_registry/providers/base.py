"""Provider: what every wire format has in common; a subclass fills in its own shapes.

To add a provider: one module with a subclass, one line in `providers/__init__.py`.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar
from uuid import uuid4

import orjson

from models_registry import egress
from models_registry.egress import Cancellation, Limits, Reply
from models_registry.errors import (
    AnswerTooLarge,
    BackendAuthFailed,
    BackendFailed,
    BackendNotFound,
    BackendRateLimited,
    BackendRejected,
    BatchTooLarge,
    ContextTooLong,
    MalformedReply,
    ModelError,
    ModelMisconfigured,
)
from models_registry.providers import sse
from models_registry.providers.embedding import Embedding, Texts
from models_registry.providers.names import is_bedrock_placeholder
from models_registry.providers.types import (
    Completion,
    Delta,
    ModelConfig,
    Prompt,
    ToolCall,
    ToolPart,
)

ERROR_BODY_MAX_BYTES = 64 * 1024
ERROR_BODY_WITHIN_S = 2.0
AFTER_END_S = 0.2
TOKENS_MAX = 2**31 - 1
# Without a key the reference sends this one for custom_openai; some servers insist on any.
DUMMY_KEY = "dummy_key"
# More calls in one answer are a model that went round in circles.
TOOL_CALLS_MAX = 128
NAME_MAX = 256
RETRY_AFTER_MAX_S = 3600.0
LIST_MAX_BYTES = 1_000_000

# How servers say that a prompt does not fit: vLLM, llama.cpp, TGI, Ollama, OpenAI, Anthropic.
_TOO_LONG = re.compile(
    r"context[ _]?(length|size|window|limit)|maximum context|exceed_context|too long"
    r"|too many tokens|max_(input_length|new_tokens|total_tokens)`? must be|max_model_len"
    r"|prompt_too_long|reduce the length",
    re.IGNORECASE,
)
# llama.cpp says so of a text to embed, with 500.
_TOO_LARGE = "too large to process"
# What wrong JSON shapes raise where they are read.
_WRONG_SHAPE = (LookupError, TypeError, ValueError, AttributeError)

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One HTTP request to a backend; `body` becomes JSON, None makes it a GET."""

    url: str
    headers: Mapping[str, str]
    body: Mapping[str, Any] | None


class Provider(ABC):
    """Speaks one wire format."""

    label: ClassVar[str]

    @abstractmethod
    def build(self, prompt: Prompt, model: ModelConfig, *, is_streamed: bool) -> Request:
        """Return the request that asks this model this prompt.

        Raises:
            ModelMisconfigured: the model lacks what the format needs.
        """

    @abstractmethod
    def parse_reply(self, reply: Any) -> Completion:
        """Return the answer in the JSON of a plain reply.

        Raises:
            LookupError, TypeError, AttributeError: the JSON is not what the format promises.
            ModelError: it says that there is no answer.
        """

    @abstractmethod
    def parse_event(self, event: sse.Event) -> Delta | None:
        """Return what an event adds to the answer, or None for nothing.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: the event is not what the format
                promises.
            ModelError: the event says that the answer failed.
        """

    def build_embedding(self, texts: Texts, model: ModelConfig) -> Request:
        """Return the request that asks this model for vectors.

        Raises:
            ModelMisconfigured: the format has none, or the model lacks what it needs.
        """
        raise ModelMisconfigured(f"A model of the provider '{self.label}' gives no embeddings.")

    def parse_embedding(self, reply: Any) -> Embedding:
        """Return the vectors in the JSON of a reply, in the order of the texts.

        Raises: as `parse_reply`.
        """
        raise NotImplementedError

    def build_list(self, model: ModelConfig) -> Request | None:
        """Return the request that lists what the server serves and costs no token, if there is one.

        Raises:
            ModelMisconfigured: the model lacks what the format needs.
        """
        return None

    def parse_list(self, reply: Any) -> list[Any]:
        """Return the names of the models in the JSON of the list.

        Raises:
            LookupError, TypeError, AttributeError: the JSON is not what the format promises.
        """
        raise NotImplementedError

    def sign(self, request: Request, body: bytes, model: ModelConfig) -> Mapping[str, str]:
        """Return the headers that prove who sends these bytes, where the request's do not.

        Raises:
            ModelMisconfigured: the key is none.
        """
        return {}

    def events(self, chunks: Iterable[bytes]) -> Iterator[sse.Event]:
        """Yield the events of a streamed answer.

        Raises:
            MalformedReply: the bytes are not framed as the format promises, or over a limit.
        """
        return sse.events(chunks)

    def refusal(self, status: int, text: str, headers: Mapping[str, str]) -> ModelError:
        """Return the error that the backend's status and text stand for."""
        return error_for(status, text, headers)

    def is_end(self, event: sse.Event) -> bool:
        """Test whether this event is the format's end marker."""
        return event.data == "[DONE]"

    def list_models(
        self, model: ModelConfig, *, limits: Limits, correlation_id: str = ""
    ) -> tuple[str, ...] | None:
        """Return the names under which the server serves models, or None if the format has no list.

        Raises:
            ModelError: there is no list; with a status if the server spoke HTTP at all.
        """
        request = self.build_list(model)
        if request is None:
            return None
        with self._send(request, model, limits, None, correlation_id) as reply:
            self._raise_for_status(reply)
            _media_type(reply)
            body = reply.read(LIST_MAX_BYTES)
        try:
            names = self.parse_list(load_json(body.decode("utf-8", "replace")))
        except _WRONG_SHAPE as exc:
            raise MalformedReply(
                "The answer is not a list of models.", status=reply.status
            ) from exc
        return tuple(
            name
            for name in names
            if isinstance(name, str) and name.isprintable() and 0 < len(name) <= NAME_MAX
        )

    def complete(
        self,
        prompt: Prompt,
        model: ModelConfig,
        *,
        limits: Limits,
        cancellation: Cancellation | None = None,
        correlation_id: str = "",
    ) -> Completion:
        """Return the whole answer.

        Raises:
            ModelError: there is none.
        """
        request = self.build(prompt, model, is_streamed=False)
        with self._send(request, model, limits, cancellation, correlation_id) as reply:
            self._raise_for_status(reply)
            _media_type(reply)
            return _parse(reply.read(), self.parse_reply)

    def embed(
        self,
        texts: Texts,
        model: ModelConfig,
        *,
        limits: Limits,
        cancellation: Cancellation | None = None,
        correlation_id: str = "",
    ) -> Embedding:
        """Return a vector for each text.

        Raises:
            ModelError: there is none for at least one of them.
        """
        request = self.build_embedding(texts, model)
        with self._send(request, model, limits, cancellation, correlation_id) as reply:
            self._raise_for_status(reply)
            _media_type(reply)
            try:
                body = reply.read()
            except AnswerTooLarge as exc:
                raise BatchTooLarge(
                    "The vectors of these texts are larger than GATEWAY_ANSWER_MAX_BYTES. Send "
                    "fewer texts in one call."
                ) from exc
        return _parse(body, self.parse_embedding).checked(texts)

    def stream(
        self,
        prompt: Prompt,
        model: ModelConfig,
        *,
        limits: Limits,
        cancellation: Cancellation | None = None,
        correlation_id: str = "",
    ) -> Iterator[Delta]:
        """Yield the answer as it comes; returning normally means that it is complete.

        Raises:
            ModelError: it failed; what was yielded before is only a part.
        """
        request = self.build(prompt, model, is_streamed=True)
        with self._send(request, model, limits, cancellation, correlation_id) as reply:
            self._raise_for_status(reply)
            if _media_type(reply) == "application/json":
                # Some servers answer whole although a stream was asked for.
                yield _as_delta(_parse(reply.read(), self.parse_reply))
                return
            yield from self._deltas(reply)

    def _send(
        self,
        request: Request,
        model: ModelConfig,
        limits: Limits,
        cancellation: Cancellation | None,
        correlation_id: str,
    ) -> AbstractContextManager[Reply]:
        headers = {**request.headers, "Accept": "application/json"}
        body = None
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            body = _dump_json(request.body)
            headers |= self.sign(request, body, model)
        if correlation_id and correlation_id.isascii() and correlation_id.isprintable():
            headers["X-Request-ID"] = correlation_id
        return egress.exchange(
            "GET" if body is None else "POST",
            request.url,
            headers=headers,
            body=body,
            limits=limits,
            cancellation=cancellation,
            ca_bundle=model.ca_bundle,
            pool_key=str(model.revision_id),
        )

    def _raise_for_status(self, reply: Reply) -> None:
        """Raise what a status other than 2xx means; the backend's text is read, never repeated."""
        if reply.status < 300:
            return
        text = reply.rest(max_bytes=ERROR_BODY_MAX_BYTES, within_s=ERROR_BODY_WITHIN_S)
        raise self.refusal(reply.status, text.decode("utf-8", "replace"), reply.headers)

    def _deltas(self, reply: Reply) -> Iterator[Delta]:
        """Yield the texts, then one delta with the finish reason, the tokens and the tool calls.

        Success is an end marker, or a finish reason and a whole body.
        """
        last = Delta()
        calls = _ToolCalls()
        for event in self.events(reply.chunks()):
            if self.is_end(event):
                # What follows is only the end of the body; without it, no next request here.
                reply.rest(max_bytes=1024, within_s=AFTER_END_S)
                break
            try:
                delta = self.parse_event(event)
            except _WRONG_SHAPE as exc:
                raise MalformedReply("The stream holds an event of unknown shape.") from exc
            if delta is None:
                continue
            if delta.tool_parts and calls.add(delta.tool_parts):
                yield Delta()
            last = _latest(delta, last)
            if delta.text:
                yield delta
        else:
            if last.finish_reason is None:
                raise MalformedReply("The answer broke off before its end.")
        yield replace(last, tool_calls=calls.whole()) if calls.by_index else last


def _parse(body: bytes, parse: Callable[[Any], Parsed]) -> Parsed:
    try:
        return parse(load_json(body.decode("utf-8", "replace")))
    except _WRONG_SHAPE as exc:
        raise MalformedReply("The answer is not JSON of the promised shape.") from exc


@dataclass(frozen=True, slots=True)
class _ToolCalls:
    """The tool calls of a stream, whose parts come one behind the other."""

    by_index: dict[int, list[ToolPart]] = field(default_factory=dict)

    def add(self, parts: tuple[ToolPart, ...]) -> bool:
        """Keep the parts; return whether they are the first.

        Raises:
            MalformedReply: there are more calls than TOOL_CALLS_MAX.
        """
        is_first = not self.by_index
        for part in parts:
            self.by_index.setdefault(part.index, []).append(part)
        if len(self.by_index) > TOOL_CALLS_MAX:
            raise MalformedReply("The stream holds too many tool calls.")
        return is_first

    def whole(self) -> tuple[ToolCall, ...]:
        """Return the calls in their order.

        Raises:
            MalformedReply: one of them has no name.
        """
        try:
            return tuple(_joined(parts) for _, parts in sorted(self.by_index.items()))
        except ValueError as exc:
            raise MalformedReply("The stream holds a tool call without a name.") from exc


def _joined(parts: list[ToolPart]) -> ToolCall:
    return tool_call(
        next((part.id for part in parts if part.id), ""),
        next((part.name for part in parts if part.name), ""),
        "".join(part.arguments for part in parts),
    )


def endpoint_of(model: ModelConfig) -> str:
    """Return the model's endpoint.

    Raises:
        ModelMisconfigured: there is none, or nobody is there.
    """
    if not model.endpoint:
        raise ModelMisconfigured("The model has no endpoint.")
    if is_bedrock_placeholder(model.endpoint):
        raise ModelMisconfigured(
            "The endpoint is the one that GitLab writes for AWS Bedrock, where nobody is. Choose"
            " the provider AWS Bedrock.",
            reason="not_bedrock",
        )
    return model.endpoint


def _dump_json(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # Half a surrogate pair cannot be written in UTF-8; a caller's JSON may hold one.
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def load_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is none, or is nested too deeply.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    # Half a surrogate pair is refused by orjson; a server may cut an emoji in two.
    try:
        return json.loads(text)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def as_text(value: Any) -> str:
    """Return a piece of an answer; null is an empty one, half a surrogate pair becomes U+FFFD.

    Raises:
        TypeError: it is not text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def tool_call(call_id: Any, name: Any, arguments: Any) -> ToolCall:
    """Return a tool call; one without an id gets one, one without arguments an empty object.

    Raises:
        TypeError, ValueError: it is none.
    """
    if not 0 < len(as_text(name)) <= NAME_MAX:
        raise ValueError("a tool call without a name")
    return ToolCall(
        id=as_id(call_id) or f"call_{uuid4().hex[:24]}",
        name=as_text(name),
        arguments=as_arguments(arguments) or "{}",
    )


def tool_calls(calls: Sequence[tuple[Any, Any, Any]]) -> tuple[ToolCall, ...]:
    """Return the tool calls of a whole answer from their ids, names and arguments.

    Raises:
        TypeError, ValueError: there is one that is none, or too many.
    """
    if len(calls) > TOOL_CALLS_MAX:
        raise ValueError("too many tool calls")
    return tuple(tool_call(*call) for call in calls)


def as_id(value: Any) -> str:
    """Return the id of a tool call that is one; anything else counts as none."""
    return value if isinstance(value, str) and value.isascii() and len(value) <= NAME_MAX else ""


def as_arguments(value: Any) -> str:
    """Return a tool call's arguments as JSON text; some servers send the object itself.

    Raises:
        TypeError: they are neither.
    """
    return orjson.dumps(value).decode() if isinstance(value, dict) else as_text(value)


def as_finish_reason(value: Any) -> str | None:
    """Return a finish reason that is one; anything else counts as none."""
    return value if isinstance(value, str) and value.isascii() else None


def as_tokens(value: Any) -> int | None:
    """Return a number of tokens that can be one; anything else counts as not reported."""
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None


def failure(error: Any) -> ModelError:
    """Return the error that an `error` object in a 2xx stands for; its text is not repeated."""
    if _TOO_LONG.search(str(error)[:ERROR_BODY_MAX_BYTES]):
        return ContextTooLong("The prompt is too long for the model.")
    return BackendFailed("The model server reported an error instead of an answer.")


def _latest(delta: Delta, before: Delta) -> Delta:
    """Return what is known after a delta of finish reason and tokens."""
    if (delta.finish_reason, delta.prompt_tokens, delta.completion_tokens) == (None, None, None):
        return before
    return Delta(
        finish_reason=delta.finish_reason or before.finish_reason,
        prompt_tokens=_first(delta.prompt_tokens, before.prompt_tokens),
        completion_tokens=_first(delta.completion_tokens, before.completion_tokens),
    )


def _first(new: int | None, old: int | None) -> int | None:
    return old if new is None else new


def _media_type(reply: Reply) -> str:
    """Return the media type of an answer.

    Raises:
        MalformedReply: it is a web page.
    """
    media: str = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media == "text/html":
        raise MalformedReply(
            "The server answered with a web page. Check that the endpoint is the model server's"
            " (it usually ends in /v1), and that no login page stands in front of it.",
            status=reply.status,
            reason="web_page",
        )
    return media


def _as_delta(completion: Completion) -> Delta:
    return Delta(
        text=completion.text,
        finish_reason=completion.finish_reason,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        tool_calls=completion.tool_calls,
    )


def error_for(status: int, text: str, headers: Mapping[str, str]) -> ModelError:
    """Return the error that a backend's status and text stand for."""
    if status in (401, 403):
        return BackendAuthFailed(
            f"The model server refused our API key (HTTP {status}). Check the model's key.",
            status=status,
        )
    if status == 429:
        return BackendRateLimited(
            "The model server is over its rate limit.",
            retry_after_s=parse_retry_after(headers.get("Retry-After", ""), now=time.time()),
        )
    if _is_too_long(status, text):
        return ContextTooLong("The prompt is too long for the model.", status=status)
    if status == 404:
        return BackendNotFound(
            "The model server knows neither this path nor this model (HTTP 404). Check that the "
            "endpoint ends in /v1 and that the identifier is one the server lists.",
            status=status,
        )
    if status >= 500:
        return BackendFailed(f"The model server failed (HTTP {status}).", status=status)
    return BackendRejected(f"The model server refused the request (HTTP {status}).", status=status)


def _is_too_long(status: int, text: str) -> bool:
    if status == 500:
        return _TOO_LARGE in text
    return status in (400, 413, 422) and _TOO_LONG.search(text) is not None


def parse_retry_after(header: str, *, now: float) -> float | None:
    """Return how long to wait before retrying, in seconds; None where the header says nothing.

    Shape: digits ("120") or an HTTP date. Limits: 0 to 3600.
    Source: RFC 9110, section 10.2.3.
    """
    value = header.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), RETRY_AFTER_MAX_S)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(moment - now, 0.0), RETRY_AFTER_MAX_S)
