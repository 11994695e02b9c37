"""What Enclave needs of a vendor's API: to read a conversation, and to write its answer.

A format knows nothing of routes, callers or models. To add one: a module with a `Format` and the
`Writer` of its streams; the endpoints that speak it name it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Annotated, Any, Generic, TypeVar

import orjson
from pydantic import StringConstraints

from gateway.api import wire
from gateway.calls import Answer, Ending, Stream
from gateway.errors import GatewayError, StreamBroken
from models_registry.providers.types import Prompt

# An event that no client sees, for the proxies between: a comment.
COMMENT = ": ping\n\n"


class BadRequest(Exception):
    """The body asks for what cannot be served; answered 400. `param` is the place in it."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        """Keep the place."""
        super().__init__(message)
        self.param = param


class Body(wire.Body):
    """What every vendor's body has. The model is only a name: policy decides who answers."""

    model: Annotated[str, StringConstraints(max_length=256)]
    stream: bool | None = None


B = TypeVar("B", bound=Body)


class Format(ABC, Generic[B]):
    """One vendor's API: `shape` is what a body looks like."""

    shape: type[B]

    @abstractmethod
    def conversation(self, body: B) -> Prompt:
        """Return what a body asks, in our own form.

        Raises:
            BadRequest: it asks for what cannot be served.
        """

    @abstractmethod
    def answer(self, body: B, answer: Answer) -> dict[str, Any]:
        """Return the JSON of a whole answer."""

    @abstractmethod
    def writer(self, body: B, stream: Stream, *, prompt_tokens: int) -> Writer:
        """Return what writes the events of a stream; `prompt_tokens` are estimated."""

    @abstractmethod
    def error(
        self, status: int, message: str, *, code: str = "", param: str | None = None
    ) -> dict[str, Any]:
        """Return the JSON of a failure; `code` is our own, for formats that have a place for it."""


class Writer(ABC):
    """Writes one stream as the events of a vendor; each method returns one event or several."""

    @abstractmethod
    def begin(self) -> str:
        """Return what comes before the first piece."""

    @abstractmethod
    def piece(self, text: str) -> str:
        """Return a piece of the answer; the text is never empty."""

    @abstractmethod
    def ping(self) -> str:
        """Return what says that the answer is still coming."""

    @abstractmethod
    def end(self, ending: Ending) -> str:
        """Return the tool calls and what else comes after the last piece."""

    @abstractmethod
    def fail(self, message: str, code: str) -> str:
        """Return what says that the answer broke off."""


def events(stream: Stream, writer: Writer) -> Iterator[str]:
    """Yield a stream in a vendor's events; one that breaks off says so, and is then cut.

    Raises:
        StreamBroken: it broke off.
    """
    with closing(stream.pieces) as pieces:
        yield writer.begin()
        try:
            ending = yield from _written(pieces, writer)
        except StreamBroken as broken:
            cause = broken.__cause__
            code = cause.code if isinstance(cause, GatewayError) else broken.code
            yield writer.fail(str(broken), code)
            raise
        yield writer.end(ending)


def _written(pieces: Generator[str, None, Ending], writer: Writer) -> Generator[str, None, Ending]:
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            ending: Ending = end.value
            return ending
        yield writer.piece(piece) if piece else writer.ping()


def data(value: dict[str, Any]) -> str:
    """Return an event without a name."""
    return f"data: {orjson.dumps(value).decode()}\n\n"


def event(value: dict[str, Any]) -> str:
    """Return an event that is named like its type."""
    return f"event: {value['type']}\n{data(value)}"
