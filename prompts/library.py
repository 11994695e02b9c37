"""The prompts that ship with Enclave: `definitions/<feature>/<family folder or default>.yml`.

To add one, write a file; `docs/adding-a-prompt.md` says how. Files are read once per process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models_registry.families import FAMILIES
from models_registry.providers.types import Message, Prompt
from prompts.errors import InvalidPrompt, PromptNotFound
from prompts.renderer import Template, check_size, compile_template

DEFINITIONS = Path(__file__).parent / "definitions"
DEFAULT = "default"

_InputName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
_Stop = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """One prompt for one feature: what is sent, and how the model is asked to answer.

    `version` is what an audit record shows, `digest` proves it: SHA-256 over the file's content as
    JSON with sorted keys, in hex. None for a parameter means "do not send it".
    """

    feature: str
    folder: str
    version: str
    digest: str
    inputs: tuple[str, ...]
    messages: tuple[tuple[str, Template], ...]
    text: Template | None
    prefill: Template | None
    max_tokens: int | None
    temperature: float | None
    stop: tuple[str, ...]
    text_stop: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A prompt and which definition it came from."""

    prompt: Prompt
    version: str
    digest: str


class _Turn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant"]
    content: str


class _File(BaseModel):
    """The form of a definition file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    inputs: list[_InputName]
    messages: list[_Turn] = Field(min_length=1, max_length=32)
    text: str | None = None
    prefill: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    # Four is what OpenAI-compatible servers take in a chat; a text completion may have more.
    stop: list[_Stop] = Field(default_factory=list, max_length=4)
    text_stop: list[_Stop] | None = None


def render(
    *,
    feature: str,
    family: str,
    inputs: Mapping[str, str],
    has_native_fim: bool = False,
    takes_prefill: bool = False,
) -> Rendered:
    """Return the prompt of a feature for a family, filled in.

    A model with native fill-in-the-middle gets the definition's `text`, where there is one. The
    start of the answer that a definition may prescribe is sent only to a model that continues it.

    Raises:
        PromptNotFound: see `get_definition`.
        MissingInput: an input that the definition declares was not given.
        PromptTooLarge: all messages together are over MAX_PROMPT_BYTES.
    """
    definition = get_definition(feature, family)
    if has_native_fim and definition.text is not None:
        prompt = Prompt(
            text=definition.text.render(inputs),
            max_tokens=definition.max_tokens,
            temperature=definition.temperature,
            stop=definition.text_stop,
        )
        return Rendered(prompt=prompt, version=definition.version, digest=definition.digest)
    messages = [
        Message(role=role, content=template.render(inputs))
        for role, template in definition.messages
    ]
    if takes_prefill and definition.prefill is not None:
        messages.append(Message(role="assistant", content=definition.prefill.render(inputs)))
    check_size(*[message.content for message in messages])
    prompt = Prompt(
        messages=tuple(messages),
        max_tokens=definition.max_tokens,
        temperature=definition.temperature,
        stop=definition.stop,
    )
    return Rendered(prompt=prompt, version=definition.version, digest=definition.digest)


@cache
def get_definition(feature: str, family: str) -> Definition:
    """Return the definition of the first of the family's folders that has one, else the default.

    Raises:
        PromptNotFound: there is no such family, or nothing for this feature.
        InvalidPrompt: see `all_definitions`.
    """
    if family not in FAMILIES:
        raise PromptNotFound(f"There is no model family '{family}'.")
    definitions = all_definitions()
    for folder in (*FAMILIES[family].prompt_folders, DEFAULT):
        if (feature, folder) in definitions:
            return definitions[feature, folder]
    raise PromptNotFound(f"There is no prompt for the feature '{feature}'.")


@cache
def all_definitions() -> Mapping[tuple[str, str], Definition]:
    """Return every definition that ships, by feature and folder.

    Raises:
        InvalidPrompt: a file is malformed; the message names the file and the place.
    """
    paths = sorted(DEFINITIONS.glob("*/*.yml"))
    return {(path.parent.name, path.stem): read_definition(path) for path in paths}


def read_definition(path: Path) -> Definition:
    """Return the definition in a file whose folder is the feature and whose stem is the folder.

    Raises:
        InvalidPrompt: it is malformed; the message names the file and the place, never the text.
    """
    where = f"{path.parent.name}/{path.name}"
    try:
        file = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.MarkedYAMLError as exc:
        line = f", line {exc.problem_mark.line + 1}" if exc.problem_mark else ""
        raise InvalidPrompt(f"{where}{line}: {exc.problem}.") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise InvalidPrompt(f"{where}: it is not YAML in UTF-8.") from exc
    except ValidationError as exc:
        # The first is enough, and the input that pydantic quotes otherwise stays out.
        error = exc.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, error["loc"])) or "the file"
        raise InvalidPrompt(f"{where}, {place}: {error['msg']}.") from exc

    def compiled(text: str, place: str) -> Template:
        try:
            return compile_template(text, tuple(file.inputs))
        except InvalidPrompt as exc:
            raise InvalidPrompt(f"{where}, {place}: {exc}") from exc

    canonical = json.dumps(file.model_dump(exclude_unset=True), sort_keys=True, ensure_ascii=False)
    return Definition(
        feature=path.parent.name,
        folder=path.stem,
        version=f"built-in/{path.parent.name}/{path.stem}@{file.version}",
        digest=hashlib.sha256(canonical.encode()).hexdigest(),
        inputs=tuple(file.inputs),
        messages=tuple(
            (turn.role, compiled(turn.content, f"messages.{number}"))
            for number, turn in enumerate(file.messages)
        ),
        text=None if file.text is None else compiled(file.text, "text"),
        prefill=None if file.prefill is None else compiled(file.prefill, "prefill"),
        max_tokens=file.max_tokens,
        temperature=file.temperature,
        stop=tuple(file.stop),
        text_stop=tuple(file.stop if file.text_stop is None else file.text_stop),
    )
