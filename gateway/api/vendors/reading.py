"""What the readers of vendors' bodies have in common: texts and images, tools and their choice."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, StringConstraints

from gateway.api import wire
from gateway.api.vendors.formats import BadRequest, Body
from models_registry.providers.types import Json, Message, Prompt, ToolCall, text_of

IMAGE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")
SEED_MAX = 2**63 - 1

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
# OpenAI takes four, and so do model servers.
Stops = Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=4)]
Tokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=-SEED_MAX, le=SEED_MAX)]


class Text(wire.Body):
    """A text, as two vendors write it."""

    type: Literal["text"]
    text: str

    def as_part(self) -> Json:
        """Return it in our own form."""
        return text_part(self.text)


class JsonForm(wire.Body):
    """The schema that an answer is to fit; its description is for people."""

    name: Name = "answer"
    wanted: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


def as_part(kind: str) -> Callable[[Any], Any]:
    """Return a validator that turns a bare text into the list of parts that it stands for."""
    return lambda value: [{"type": kind, "text": value}] if isinstance(value, str) else value


def as_list(value: Any) -> Any:
    """Return a bare text as the list that it stands for."""
    return [value] if isinstance(value, str) else value


def refuse(body: Body, *names: str) -> None:
    """Accept a body that asks for none of these.

    Raises:
        BadRequest: it asks for one.
    """
    for name in names:
        if getattr(body, name):
            raise BadRequest(f"'{name}' is not supported.", param=name)


def text_part(text: str) -> Json:
    """Return a text as a part of a message."""
    return {"type": "text", "text": text}


def image_part(url: str) -> Json:
    """Return an image as a part of a message.

    Raises:
        BadRequest: it is an address, or no image that models know.
    """
    if url[:5].lower() != "data:":
        raise BadRequest(
            "An image must be sent as data: neither Enclave nor a model server fetches one."
        )
    if not IMAGE.fullmatch(url):
        raise BadRequest("An image must be a PNG, JPEG, GIF or WebP in base64.")
    return {"type": "image_url", "image_url": {"url": url}}


def message(role: str, parts: Sequence[Json], *, tool_calls: Sequence[ToolCall] = ()) -> Message:
    """Return a message; where all of it is text, as one text."""
    has_images = any(part["type"] != "text" for part in parts)
    return Message(
        role=role,
        content=text_of(parts),
        parts=tuple(parts) if has_images else (),
        tool_calls=tuple(tool_calls),
    )


def tool(name: str, **facts: Any) -> Json:
    """Return a function in OpenAI's form; facts that are None are left out."""
    known = {key: value for key, value in facts.items() if value is not None}
    return {"type": "function", "function": {"name": name, **known}}


def choice_of(name: str) -> Json:
    """Return the choice of one tool, in OpenAI's form."""
    return {"type": "function", "function": {"name": name}}


def answer_format(kind: str, form: JsonForm | None) -> Json | None:
    """Return the form that the answer is to have, in OpenAI's form.

    Raises:
        BadRequest: it is to fit a schema, and there is none.
    """
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": kind}
    if form is None or form.wanted is None:
        raise BadRequest("There is no schema for the answer.")
    facts = {"name": form.name, "schema": form.wanted, "strict": form.strict}
    known = {key: value for key, value in facts.items() if value is not None}
    return {"type": "json_schema", "json_schema": known}


def checked(prompt: Prompt) -> Prompt:
    """Return a conversation whose tools can be sent, and whose choice is one of them.

    Raises:
        BadRequest: they cannot, or it is not.
    """
    try:
        orjson.dumps((prompt.tools, prompt.response_format))
    except TypeError:
        raise BadRequest("A schema holds a number that is too large.") from None
    names = [each["function"]["name"] for each in prompt.tools]
    choice = prompt.tool_choice
    if not isinstance(choice, str | None) and choice["function"]["name"] not in names:
        raise BadRequest("The chosen tool is not among the tools.", param="tool_choice")
    if names:
        return prompt
    if choice == "required":
        raise BadRequest("There is no tool to choose.", param="tool_choice")
    # Model servers refuse what is said about tools where there are none.
    return replace(prompt, tool_choice=None, parallel_tool_calls=None)


def as_json(value: Json) -> str:
    """Return an object as JSON text.

    Raises:
        BadRequest: it holds a number that nobody could read back.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        raise BadRequest("An object holds a number that is too large.") from None
