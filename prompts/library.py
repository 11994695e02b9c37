"""The prompts that ship with Enclave: `definitions/<feature>/<family folder or default>.yml`.

To add one, write a file; `docs/adding-a-prompt.md` says how. Files are read once per process.
`render` is what a call needs of them: the text, fitted into the model's window.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models_registry.families import FAMILIES, Family
from models_registry.providers.embedding import Texts
from models_registry.providers.types import Message, Prompt
from prompts import budget
from prompts.budget import Cut, End
from prompts.errors import InvalidPrompt, MissingInput, PromptNotFound
from prompts.renderer import Template, check_size, compile_template

DEFINITIONS = Path(__file__).parent / "definitions"
DEFAULT = "default"
HISTORY = "history"

_InputName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
_Stop = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """One prompt for one feature: what is sent, and how the model is asked to answer.

    `version` is what an audit record shows, `digest` proves it: SHA-256 over the file's content as
    JSON with sorted keys, in hex. None for a parameter means the family's own.
    `inputs` must be given, `optional` may be; `aliases` are other names that callers have for them.
    `cut` says which may be cut, and at which end, if the window is small: the first gives way
    first. `fixed_tokens` is about how long the text is without values.
    `answers_to` are the versions by which callers know the prompt; only the default's count.
    """

    feature: str
    folder: str
    version: str
    digest: str
    answers_to: tuple[str, ...]
    inputs: tuple[str, ...]
    optional: tuple[str, ...]
    aliases: Mapping[str, str]
    cut: Mapping[str, End]
    fixed_tokens: int
    messages: tuple[tuple[str, Template], ...]
    text: Template | None
    prefill: Template | None
    max_tokens: int | None
    temperature: float | None
    stop: tuple[str, ...]
    text_stop: tuple[str, ...]

    @property
    def is_code(self) -> bool:
        """Test whether this is the code at a cursor, which is cut by a rule of its own."""
        return not self.cut and "prefix" in self.inputs and "suffix" in self.inputs


@dataclass(frozen=True, kw_only=True, slots=True)
class Turns:
    """The conversation that goes after a prompt's own messages.

    `current` is what has to be answered. `past` are the exchanges before it, each of which begins
    with a question; the oldest gives way first where the window is small.
    """

    past: tuple[tuple[Message, ...], ...] = ()
    current: tuple[Message, ...] = ()


NO_TURNS = Turns()


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What a caller wants in place of a prompt's own parameters."""

    max_tokens: int
    temperature: float
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A prompt, which definition it came from, and what became of the inputs.

    `inputs` are all that were given, as the prompt holds them; `cut` says how much of them that is,
    and under HISTORY how much of the conversation. Texts to embed stand in the place of a prompt,
    and come from no definition.
    """

    prompt: Prompt | Texts
    version: str
    digest: str
    inputs: Mapping[str, str]
    cut: Mapping[str, Cut]
    context_tokens: int


class _Turn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant"]
    content: str


class _File(BaseModel):
    """The form of a definition file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    answers_to: list[str] = Field(default_factory=lambda: ["1.0.0"], min_length=1)
    inputs: list[_InputName]
    optional: list[_InputName] = Field(default_factory=list)
    aliases: dict[_InputName, _InputName] = Field(default_factory=dict)
    cut: dict[_InputName, End] = Field(default_factory=dict)
    messages: list[_Turn] = Field(max_length=32)
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
    context: Sequence[str] = (),
    turns: Turns = NO_TURNS,
    parameters: Parameters | None = None,
    window_tokens: int | None = None,
    has_native_fim: bool = False,
    takes_prefill: bool = False,
) -> Rendered:
    """Return the prompt of a feature for a family, filled in and fitted into the window.

    A model with native fill-in-the-middle gets the definition's `text`, where there is one. The
    start of the answer that a definition may prescribe is sent only to a model that continues it.
    `context` is what of the repository goes before code at a cursor, `turns` the conversation that
    goes after a prompt's own messages; most prompts have neither.
    `window_tokens` None stands for the family's.

    Raises:
        PromptNotFound: see `get_definition`.
        MissingInput: inputs that the definition declares were not given.
        PromptTooLarge: all messages together are over MAX_PROMPT_BYTES.
    """
    definition = get_definition(feature, family)
    if parameters is not None:
        definition = replace(definition, **asdict(parameters))
    window = FAMILIES[family].context_window if window_tokens is None else window_tokens
    fitted = _fitted(definition, _complete(definition, inputs), context, turns, window)
    if has_native_fim and definition.text is not None:
        prompt = Prompt(
            text=definition.text.render(fitted.values),
            max_tokens=definition.max_tokens,
            temperature=definition.temperature,
            stop=definition.text_stop,
        )
    else:
        prompt = _chat(definition, fitted, FAMILIES[family], window, takes_prefill)
    return Rendered(
        prompt=prompt,
        version=definition.version,
        digest=definition.digest,
        inputs={**inputs, **fitted.values},
        cut=fitted.cut,
        context_tokens=fitted.context_tokens,
    )


def verbatim(texts: Texts) -> Rendered:
    """Return texts as the question they are: whoever wants vectors needs no words of ours."""
    return Rendered(prompt=texts, version="", digest="", inputs={}, cut={}, context_tokens=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fitted:
    """The values of a definition's inputs and the conversation after it, cut to fit."""

    values: Mapping[str, str]
    cut: Mapping[str, Cut]
    context_tokens: int = 0
    turns: tuple[Message, ...] = ()


def _complete(definition: Definition, inputs: Mapping[str, str]) -> dict[str, str]:
    """Return the values of all inputs that the definition knows."""
    given = inputs
    if definition.aliases:
        aliases = definition.aliases.items()
        given = {**{own: inputs[other] for other, own in aliases if other in inputs}, **inputs}
    try:
        values = {name: given[name] for name in definition.inputs}
    except KeyError:
        missing = [name for name in definition.inputs if name not in given]
        raise MissingInput(*missing, declared=definition.inputs, given=tuple(inputs)) from None
    for name in definition.optional:
        values[name] = given.get(name, "")
    return values


def _fitted(
    definition: Definition,
    values: dict[str, str],
    context: Sequence[str],
    turns: Turns,
    window: int,
) -> _Fitted:
    if definition.is_code:
        code = budget.fit_code(
            prefix=values["prefix"], suffix=values["suffix"], context=context, window_tokens=window
        )
        values |= {"prefix": code.prefix, "suffix": code.suffix}
        return _Fitted(values=values, cut=code.cut, context_tokens=code.context_tokens)
    fitted = budget.fit(
        values,
        cut=definition.cut,
        fixed_tokens=definition.fixed_tokens + budget.turn_tokens(_texts(turns.current)),
        answer_tokens=definition.max_tokens,
        window_tokens=window,
    )
    values = {**values, **fitted.inputs}
    kept, forgotten = _remembered(definition, values, turns, window)
    return _Fitted(
        values=values,
        cut={**fitted.cut, **forgotten},
        turns=(*chain.from_iterable(kept), *turns.current),
    )


def _remembered(
    definition: Definition, values: Mapping[str, str], turns: Turns, window: int
) -> tuple[tuple[tuple[Message, ...], ...], dict[str, Cut]]:
    """Return the latest exchanges that fit, and how much of the conversation they are."""
    if not turns.past:
        return (), {}
    needed = definition.fixed_tokens + sum(map(budget.estimate_tokens, values.values()))
    past = [_texts(exchange) for exchange in turns.past]
    forgotten = len(past) - budget.fit_past(
        past,
        needed_tokens=needed + budget.turn_tokens(_texts(turns.current)),
        answer_tokens=definition.max_tokens,
        window_tokens=window,
    )
    if not forgotten:
        return turns.past, {}
    sizes = [sum(map(len, exchange)) for exchange in past]
    return turns.past[forgotten:], {HISTORY: Cut(kept=sum(sizes[forgotten:]), of=sum(sizes))}


def _texts(turns: Sequence[Message]) -> list[str]:
    return [turn.content for turn in turns]


def _chat(
    definition: Definition,
    fitted: _Fitted,
    family: Family,
    window: int,
    takes_prefill: bool,
) -> Prompt:
    values = fitted.values
    messages = [
        Message(role=role, content=template.render(values))
        for role, template in definition.messages
    ]
    messages += fitted.turns
    if not family.takes_system:
        messages = without_system(messages)
    if takes_prefill and definition.prefill is not None:
        messages.append(Message(role="assistant", content=definition.prefill.render(values)))
    texts = _texts(messages)
    check_size(*texts)
    max_tokens = family.max_tokens if definition.max_tokens is None else definition.max_tokens
    if max_tokens is not None:
        max_tokens = budget.answer_room(
            answer_tokens=max_tokens, prompt=texts, window_tokens=window
        )
    return Prompt(
        messages=tuple(messages),
        max_tokens=max_tokens,
        temperature=(
            family.temperature if definition.temperature is None else definition.temperature
        ),
        stop=definition.stop,
    )


def without_system(messages: list[Message]) -> list[Message]:
    """Return the messages with the system's words at the head of the first message after it."""
    if len(messages) < 2 or messages[0].role != "system":
        return messages
    system, first, *rest = messages
    words = {"type": "text", "text": system.content}
    return [
        replace(
            first,
            content=f"{system.content}\n\n{first.content}",
            parts=(words, *first.parts) if first.parts else (),
        ),
        *rest,
    ]


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


def answers_to(feature: str) -> tuple[str, ...]:
    """Return the versions by which callers know a prompt.

    Raises:
        PromptNotFound: there is no such prompt.
        InvalidPrompt: see `all_definitions`.
    """
    try:
        return all_definitions()[feature, DEFAULT].answers_to
    except KeyError:
        raise PromptNotFound(f"There is no prompt for the feature '{feature}'.") from None


@cache
def all_definitions() -> Mapping[tuple[str, str], Definition]:
    """Return every definition that ships, by feature and folder.

    Raises:
        InvalidPrompt: a file is malformed; the message names the file and the place.
    """
    paths = sorted(DEFINITIONS.glob("*/*.yml"))
    return {(path.parent.name, path.stem): read_definition(path) for path in paths}


def text_of(digest: str) -> str:
    """Return the file of the definition with a digest; "" if this release has none."""
    for (feature, folder), definition in all_definitions().items():
        if definition.digest == digest:
            return (DEFINITIONS / feature / f"{folder}.yml").read_text(encoding="utf-8")
    return ""


def read_definition(path: Path) -> Definition:
    """Return the definition in a file whose folder is the feature and whose stem is the folder.

    Raises:
        InvalidPrompt: it is malformed; the message names the file and the place, never the text.
    """
    where = f"{path.parent.name}/{path.name}"
    try:
        file = _File.model_validate(_content(path))
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
    declared = (*file.inputs, *file.optional)
    for name in (*file.cut, *file.aliases.values()):
        if name not in declared:
            raise InvalidPrompt(f"{where}: '{name}' is not a declared input.")

    def compiled(text: str, place: str) -> Template:
        try:
            return compile_template(text, declared)
        except InvalidPrompt as exc:
            raise InvalidPrompt(f"{where}, {place}: {exc}") from exc

    canonical = json.dumps(file.model_dump(exclude_unset=True), sort_keys=True, ensure_ascii=False)
    return Definition(
        feature=path.parent.name,
        folder=path.stem,
        version=f"built-in/{path.parent.name}/{path.stem}@{file.version}",
        digest=hashlib.sha256(canonical.encode()).hexdigest(),
        answers_to=tuple(file.answers_to),
        inputs=tuple(file.inputs),
        optional=tuple(file.optional),
        aliases=file.aliases,
        cut=file.cut,
        fixed_tokens=budget.estimate_tokens("".join(turn.content for turn in file.messages)),
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


def _content(path: Path) -> Any:
    """Return what a file says, and of what it does not say what the default beside it says."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == DEFAULT or not isinstance(content, dict) or "messages" in content:
        return content
    default = yaml.safe_load(path.with_name(f"{DEFAULT}.yml").read_text(encoding="utf-8"))
    return {**default, **content}
