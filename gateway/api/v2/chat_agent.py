"""POST /v2/chat/agent: one turn of GitLab Duo Chat's agent, which may be one of several.

GitLab runs the loop: it sends the conversation and what was looked up so far, and gets either a
final answer, piece by piece, or the next thing to look up.

A failure of the model is an `error` event and a cut connection, also before the first piece: of an
event GitLab's user is told more than of a status, and what may be retried GitLab retries
(docs/adr/0010).
Source: gateway-api.md 6; gitlab-client.md 1.8, 1.11.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing
from typing import Annotated, Any, Literal

from django.conf import settings
from django.http.response import HttpResponseBase
from django.utils import timezone
from pydantic import Field, model_validator
from rest_framework.request import Request

from features import chat_tools, react
from features.catalog import PROMPTS
from features.chat_tools import NO_RELEASE, Release, Tool
from gateway import pipeline
from gateway.api import chat_turns, wire
from gateway.api.chat_turns import Action, Message, NullableText, Page, Step, UnusableConversation
from gateway.api.endpoint import Endpoint, call_facts, get_caller
from gateway.api.errors import BadRequest, Forbidden
from gateway.api.model_fields import ModelMetadata
from gateway.api.responses import ndjson_stream
from gateway.calls import Call, Caller, Ending, Stream
from gateway.errors import GatewayError, StreamBroken
from models_registry.errors import ModelError
from prompts.errors import PromptError

AGENT = PROMPTS["chat/react"]
# GitLab has had a scope of its own for this chat since this release; before, it is the older one's.
SCOPE_SINCE: Release = (18, 9)
OLD_SCOPES = ("duo_chat",)
MENTION = "@GitLabDuo"
# Categories of context that need a scope; GitLab has others that have none.
SCOPED = (
    "file",
    "snippet",
    "merge_request",
    "issue",
    "dependency",
    "local_git",
    "terminal",
    "repository",
    "directory",
)
# What GitLab cannot give the model whatever tools there are, unless it says something else.
UNAVAILABLE = ("pipelines", "vulnerabilities")

# Words that GitLab looks for.
TOO_LONG = "prompt is too long"
TOOL_NOT_AVAILABLE = "tool not available"
# What is told by an event, and whether it may help to ask again at once. Everything else that can
# go wrong is answered with the status that it has on every route.
FAILURES = {
    "unusable_conversation": False,
    "body_too_large": False,
    "prompt_too_large": False,
    "context_too_long": False,
    "backend_unreachable": True,
    "backend_tls": False,
    "egress_denied": False,
    "backend_timed_out": False,
    "backend_auth": False,
    "backend_rate_limited": True,
    "backend_not_found": False,
    "backend_rejected": False,
    "backend_failed": True,
    "malformed_reply": False,
    "answer_too_large": False,
    "model_misconfigured": False,
    "reply_timed_out": False,
    "reply_lost": True,
    "worker_lost": True,
}
TOLD = (UnusableConversation, wire.BodyTooLarge, PromptError, GatewayError, ModelError)
OVERFLOWS = ("body_too_large", "prompt_too_large", "context_too_long")


class FlatStep(Action):
    """A step as GitLab 17 sends it."""

    observation: NullableText = ""

    def as_step(self) -> Step:
        """Return it as later versions send it."""
        action = Action(thought=self.thought, tool=self.tool, tool_input=self.tool_input)
        return Step(action=action, observation=self.observation)


class Scratchpad(wire.Body):
    """The steps of this answer so far, in their older place."""

    agent_type: Literal["react"]
    steps: list[FlatStep]


class Options(wire.Body):
    """What GitLab 17 sends beside the messages."""

    agent_scratchpad: Scratchpad | None = None
    context: Page | None = None


class Input(wire.Body):
    """The body of a call."""

    messages: Annotated[list[Message], Field(min_length=1)]
    options: Options | None = None
    unavailable_resources: list[str] | None = None
    model_metadata: ModelMetadata | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_17_3(cls, body: Any) -> Any:
        """Take one question, and what was said before it as text, for a message."""
        if not isinstance(body, dict) or "messages" in body or "prompt" not in body:
            return body
        options = body.get("options")
        given = options if isinstance(options, dict) else {}
        said = given.get("chat_history")
        history = "\n".join(map(str, said)) if isinstance(said, list) else said
        question = {
            "role": "user",
            "content": body["prompt"],
            "context": given.get("context"),
            "additional_context": [{"category": "conversation", "content": history}]
            if history
            else None,
        }
        return {**body, "messages": [question]}

    def running(self) -> Sequence[Step]:
        """Return what was looked up for this answer so far."""
        if self.options and self.options.agent_scratchpad:
            return [step.as_step() for step in self.options.agent_scratchpad.steps]
        return self.messages[-1].agent_scratchpad or ()

    def question(self) -> str:
        """Return what the user said last."""
        said = (m.content for m in reversed(self.messages) if m.role == "user" and m.content)
        return next(said, "")


class ChatAgent(Endpoint):
    """The answer is one event a line, and at least one."""

    def post(self, request: Request) -> HttpResponseBase:
        """Read the wire format, ask the pipeline, write the wire format."""
        call, tools = _read(request)
        return ndjson_stream(_events(pipeline.stream(call), tools))

    def handle_exception(self, exc: Exception) -> Any:
        """Tell of a failure by an event, where it is one that GitLab's user is told of so."""
        if isinstance(exc, TOLD) and exc.code in FAILURES:
            return ndjson_stream(_failed(exc))
        return super().handle_exception(exc)


def _read(request: Request) -> tuple[Call, tuple[str, ...]]:
    """Return the call, and the names of the tools that the model is offered.

    Raises:
        UnreadableBody, InvalidBody: see `wire.read`.
        BadRequest: a question has steps.
        Forbidden: the token does not allow it.
        UnusableConversation: there is nothing to answer.
    """
    data = wire.read(request._request, Input)
    if any(m.agent_scratchpad is not None and m.role != "assistant" for m in data.messages):
        raise BadRequest("agent_scratchpad can only be present when role is ASSISTANT")
    caller, release = get_caller(request), _release(request)
    _authorize(caller, release, data)
    tools = chat_tools.offered(can=caller.can, release=release)
    return _call(request, data, tools), tuple(tool.name for tool in tools)


def _release(request: Request) -> Release:
    """Return the caller's GitLab version, as far as it matters."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})", request.META.get("HTTP_X_GITLAB_VERSION", ""))
    return (int(found[1]), int(found[2])) if found else NO_RELEASE


def _authorize(caller: Caller, release: Release, data: Input) -> None:
    """Accept a caller whose token allows this chat, and what was added to the question.

    Raises:
        Forbidden: it does not.
    """
    if not caller.can(AGENT.unit_primitives):
        if not caller.can(OLD_SCOPES):
            raise Forbidden("Unauthorized to access duo chat")
        is_old = NO_RELEASE < release < SCOPE_SINCE
        if not is_old and MENTION not in data.question():
            raise Forbidden("Duo Core no longer authorized to access Duo Classic Chat")
    for message in data.messages:
        for item in message.additional_context or ():
            scope = f"include_{item.category}_context"
            if item.category in SCOPED and not caller.can((scope,)):
                raise Forbidden(f"Unauthorized to access {scope}")


def _call(request: Request, data: Input, tools: Sequence[Tool]) -> Call:
    unavailable = data.unavailable_resources
    if unavailable is None:
        unavailable = list(UNAVAILABLE)
    return Call(
        feature=AGENT.feature,
        prompt=AGENT.slug,
        inputs={
            "current_date": f"{timezone.localdate():%A, %B %d, %Y}",
            "tools": chat_tools.described(tools),
            "unavailable_resources": ", ".join([*unavailable, *chat_tools.out_of_reach(tools)]),
        },
        turns=chat_turns.conversation(data.messages, data.running()),
        named_model=data.model_metadata.as_named() if data.model_metadata else None,
        is_streamed=True,
        deadline_s=settings.GATEWAY_PROMPT_DEADLINE_S,
        **call_facts(request),
    )


def _events(stream: Stream, tools: Collection[str]) -> Iterator[str]:
    """Yield the events; a broken answer ends with an error and no usage."""
    parser = react.Parser()
    with closing(stream.pieces) as pieces:
        try:
            usage = yield from _deltas(pieces, parser)
        except StreamBroken as broken:
            cause = broken.__cause__ or broken
            # What was shown stays on the user's screen: there is no asking again.
            yield _error(cause, may_retry=not parser.has_shown)
            raise
        yield _outcome(parser.end(), tools, usage)
        counts = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
        tokens = {name: count or 0 for name, count in counts.items()}
        yield _event("usage", {"usage": {stream.served_name: tokens}})


def _deltas(pieces: Iterator[str], parser: react.Parser) -> Generator[str, None, Ending]:
    """Yield what is shown while it comes; return the usage."""
    try:
        while True:
            if text := parser.feed(next(pieces)):
                yield _event("final_answer_delta", {"text": text, "finish_reason": None})
    except StopIteration as end:
        usage: Ending = end.value
        return usage


def _outcome(
    turn: react.Action | react.FinalAnswer | react.Unknown, tools: Collection[str], usage: Ending
) -> str:
    """Return the event that says what the model's turn was."""
    match turn:
        case react.FinalAnswer():
            end = {"text": "", "finish_reason": usage.finish_reason}
            return _event("final_answer_delta", end)
        case react.Action(tool=tool) if tool not in tools:
            return _event("error", {"message": TOOL_NOT_AVAILABLE, "retryable": False})
        case react.Action(thought=thought, tool=tool, tool_input=tool_input):
            action = {"tool": tool, "tool_input": tool_input, "thought": thought}
            return _event("action", action)
        case react.Unknown(text=""):
            return _event("error", {"message": "The model said nothing.", "retryable": False})
        case react.Unknown(text=text):
            return _event("unknown", {"text": text})


def _failed(error: Exception) -> Iterator[str]:
    """Yield the one event of an answer that never began, and cut the connection."""
    yield _error(error)
    raise StreamBroken(str(error)) from error


def _error(error: BaseException, *, may_retry: bool = True) -> str:
    code = getattr(error, "code", "")
    message = f"{TOO_LONG} ({code})" if code in OVERFLOWS else str(error)
    return _event(
        "error", {"message": message, "retryable": may_retry and FAILURES.get(code, False)}
    )


def _event(kind: str, data: dict[str, Any]) -> str:
    # The standard library's blanks and escapes are the reference's.
    return json.dumps({"type": kind, "data": data}) + "\n"
