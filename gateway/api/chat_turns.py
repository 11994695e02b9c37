"""The messages of a chat as GitLab sends them, and the turns of a model's conversation they make.

A question is put together from what the user sees and picked, and the question itself; a step of
the agent is two turns, the action and what came out of it. So every conversation alternates
between user and assistant and ends with the user, which every chat format takes.
Source: gateway-api.md 6.1 and 6.2; gitlab-client.md 1.8 (GitLab 17.3 to 19.x).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Annotated, Literal

from pydantic import BeforeValidator

from features import react
from gateway.api import wire
from models_registry.providers.types import Message as Turn
from prompts.library import Turns

NullableText = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


class Page(wire.Body):
    """What the user looks at; older versions of GitLab send the whole text."""

    type: str
    title: str | None = None
    content: str | None = None


class File(wire.Body):
    """The file in the editor, or what is selected of it."""

    file_path: str
    data: str
    selected_code: bool


class Item(wire.Body):
    """Something that the user added to the question."""

    category: str
    id: str | None = None
    content: str | None = None


class Action(wire.Body):
    """What the agent looked up."""

    thought: str
    tool: str
    tool_input: str


class Step(wire.Body):
    """An action and what came out of it."""

    action: Action | None = None
    observation: NullableText = ""


class Message(wire.Body):
    """What somebody said; the last one may be an answer that is still being looked for."""

    role: Literal["user", "assistant", "system"]
    content: str | None = None
    context: Page | None = None
    current_file: File | None = None
    additional_context: list[Item] | None = None
    agent_scratchpad: list[Step] | None = None


class UnusableConversation(Exception):
    """There is nothing in it that could be answered."""

    code = "unusable_conversation"


def conversation(messages: Iterable[Message], running: Iterable[Step]) -> Turns:
    """Return the turns that the messages make; `running` are the steps of this answer so far.

    Raises:
        UnusableConversation: it does not end with a question, or holds a system's message.
    """
    exchanges: list[list[Turn]] = []
    for message in messages:
        if message.role == "system":
            raise UnusableConversation("Unsupported message")
        if message.role == "user" and (question := _question(message)):
            if not exchanges or _is_answered(exchanges[-1]):
                exchanges.append([])
            exchanges[-1].append(Turn(role="user", content=question))
        # An answer whose question is gone tells nothing.
        if message.role == "assistant" and message.content and exchanges:
            answer = Turn(role="assistant", content=react.write_answer(message.content))
            exchanges[-1] += [*_steps(message.agent_scratchpad or ()), answer]
    if not exchanges or _is_answered(exchanges[-1]):
        raise UnusableConversation("Last message must be a human message")
    *past, current = exchanges
    return Turns(
        past=tuple(map(_joined, past)),
        current=_joined([*current, *_steps(running)]),
    )


def _is_answered(exchange: list[Turn]) -> bool:
    return exchange[-1].role == "assistant"


def _steps(steps: Iterable[Step]) -> Iterator[Turn]:
    for step in steps:
        if step.action is not None:
            action = react.write_action(**step.action.model_dump())
            yield Turn(role="assistant", content=action)
            yield Turn(role="user", content=react.write_observation(step.observation))


def _joined(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """Return the turns with those of one speaker in a row as one."""
    return tuple(
        Turn(role=role, content="\n\n".join(turn.content for turn in said))
        for role, said in groupby(turns, key=lambda turn: turn.role)
    )


def _question(message: Message) -> str:
    """Return a question behind all that the user sees and picked, each in tags of its own."""
    return "\n\n".join(_parts(message))


def _parts(message: Message) -> Iterator[str]:
    page, file = message.context, message.current_file
    if page is not None:
        yield _tagged("page", *_page(page))
    for item in message.additional_context or ():
        yield _tagged("additional_context", *_item(item))
    if file is not None:
        tag = "selected_code" if file.selected_code else "open_file"
        yield _tagged(tag, file.file_path, file.data)
    if message.content:
        yield message.content


def _page(page: Page) -> tuple[str, ...]:
    kind = page.type.replace("_", " ")
    about = f"The user looks at this {kind}{f': {page.title}' if page.title else '.'}"
    return about, page.content or ""


def _item(item: Item) -> tuple[str, ...]:
    kind = item.category.replace("_", " ")
    return f"{kind}: {item.id}" if item.id else kind, item.content or ""


def _tagged(tag: str, *lines: str) -> str:
    return "\n".join([f"<{tag}>", *filter(None, lines), f"</{tag}>"])
