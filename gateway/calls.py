"""Call and Answer: what an endpoint read, and what it will write. No HTTP in here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from models_registry.providers.embedding import Texts
from models_registry.providers.types import Prompt, ToolCall
from prompts.library import NO_TURNS, Parameters, Turns


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who calls, as proved by the token; ids that a header only claims are trusted with it.

    `kind` is a `CallerKind`. `namespace_ids` are GitLab's numeric namespace ids named in headers.
    """

    kind: str
    scopes: frozenset[str] = frozenset()
    instance_id: str = ""
    realm: str = ""
    user_id: str = ""
    global_user_id: str = ""
    namespace_ids: tuple[int, ...] = ()
    api_key_id: int | None = None
    api_key_name: str = ""
    api_key_group_id: int | None = None
    may_explain: bool = False
    claims: Mapping[str, object] = field(default_factory=dict, repr=False)

    def can(self, unit_primitives: tuple[str, ...]) -> bool:
        """Test whether one of the unit primitives is in scope; an API key's policy is its group."""
        return self.kind == "api_key" or not self.scopes.isdisjoint(unit_primitives)


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedModel:
    """The model that GitLab names in a call; only a call signed by the instance may name one.

    `unknown_family` is what GitLab calls a family that Enclave does not know and serves as another.
    """

    family: str
    endpoint: str
    identifier: str
    api_key: str = field(default="", repr=False)
    unknown_family: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One question to a model: `prompt` is the slug of the prompt that puts it.

    `turns` are the conversation after the prompt's own messages, where it is one.
    `texts` are to be embedded as they are; then there is no prompt and there are no inputs.
    `conversation` is the caller's own messages, tools and parameters, where it brought them: then
    there is no prompt of ours and no input.
    `has_left` tells whether the client closed its connection; asked at least once a second.
    `asked_model` is the name by which a client that is not GitLab asks for a model.
    `heartbeat_s`: after this long a silent stream yields an empty piece; None for never.
    """

    feature: str
    prompt: str = ""
    endpoint: str
    caller: Caller
    inputs: Mapping[str, str] = field(default_factory=dict)
    texts: Texts | None = None
    is_streamed: bool
    deadline_s: float
    correlation_id: str
    context: tuple[str, ...] = ()
    turns: Turns = NO_TURNS
    parameters: Parameters | None = None
    conversation: Prompt | None = None
    heartbeat_s: float | None = None
    named_model: NamedModel | None = None
    asked_model: str | None = None
    is_connection_test: bool = False
    has_left: Callable[[], bool] = lambda: False


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A whole answer; `model` is the model's name, as it is registered, and `family` its family.

    The text of vectors is `Embedding.as_text`.
    """

    record_id: UUID
    model: str
    family: str
    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    context_tokens: int
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a stream ended: tokens as reported or estimated, why, and the tools that are wanted."""

    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """An answer that is still coming; the first piece has arrived, so the status is known.

    `model` and `family` as an answer's, `served_name` what its backend calls it. Iterating raises
    `StreamBroken` where the answer broke off; closing the iterator early means that the client
    left. Its value, for `yield from`, is how it ended.
    """

    record_id: UUID
    model: str
    family: str
    served_name: str
    pieces: Generator[str, None, Ending]
