"""A logic-less template: placeholders for declared inputs, sections for those that have a value.

    {{name}}                 the value of an input
    {{#name}} … {{/name}}    only if the value is not empty
    {{^name}} … {{/name}}    only if the value is empty

Nothing else has a meaning: `{{7*7}}`, `{m.key}`, `%(x)s` and `{% debug %}` are text. Values are
put in after the template was read and are never read as a template themselves, so a value that
holds a placeholder stays as it is. Blanks inside the braces do not matter. A template cannot hold
`{{word}}` as text: a name that is not declared is refused, for it is nearly always a slip.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from prompts.errors import InvalidPrompt, MissingInput, PromptTooLarge

# GitLab sends up to 100,000 characters on each side of the cursor, and repository context on top:
# 800 KB if every character takes four bytes. A quarter of a mebibyte would refuse honest calls.
MAX_PROMPT_BYTES = 1024 * 1024
MAX_TEMPLATE_CHARS = 256 * 1024
MAX_DEPTH = 8

# Possessive quantifiers: no backtracking, so the time is linear whatever the text.
_TAG = re.compile(r"\{\{([#^/]?)[ \t]*+([^\W\d]\w*+)[ \t]*+\}\}")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """The place of an input's value."""

    name: str


@dataclass(frozen=True, slots=True)
class Section:
    """Parts that appear only if the input has a value, or only if it has none."""

    name: str
    is_for_empty: bool
    parts: tuple[Part, ...]


Part = str | Placeholder | Section


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template: what `compile_template` returns."""

    parts: tuple[Part, ...]
    declared: tuple[str, ...]

    def render(self, inputs: Mapping[str, str]) -> str:
        """Return the text with the values of the declared inputs; others are not looked at.

        Raises:
            MissingInput: a declared input was not given, whether the template shows it or not.
            PromptTooLarge: the text would be over MAX_PROMPT_BYTES.
        """
        for name in self.declared:
            if name not in inputs:
                raise MissingInput(name, declared=self.declared, given=tuple(inputs))
        written: list[str] = []
        _write(self.parts, inputs, written)
        # Before the join: a template of a thousand placeholders must not fill the memory first.
        if sum(map(len, written)) > MAX_PROMPT_BYTES:
            raise _too_large()
        text = "".join(written)
        check_size(text)
        return text


def compile_template(text: str, declared: Collection[str]) -> Template:
    """Return the template, ready to render; takes time in proportion to its length.

    Raises:
        InvalidPrompt: a tag names an input that is not declared, a section is not closed or closes
            another one, or the text is over MAX_TEMPLATE_CHARS. The message names input and line.
    """
    if len(text) > MAX_TEMPLATE_CHARS:
        raise InvalidPrompt(f"The template is over {MAX_TEMPLATE_CHARS:,} characters.")
    # One list of parts for each section that is open, the whole template first.
    levels: list[list[Part]] = [[]]
    opened: list[tuple[str, str]] = []
    position = 0
    for tag in _TAG.finditer(text):
        if tag.start() > position:
            levels[-1].append(text[position : tag.start()])
        position = tag.end()
        kind, name = tag[1], tag[2]
        if name not in declared:
            raise _invalid(text, tag, "is not a declared input")
        if kind == "":
            levels[-1].append(Placeholder(name))
        elif kind == "/":
            if not opened or opened[-1][1] != name:
                raise _invalid(text, tag, "closes a section that is not the one open here")
            parts = tuple(levels.pop())
            levels[-1].append(Section(name, opened.pop()[0] == "^", parts))
        else:
            if len(opened) == MAX_DEPTH:
                raise _invalid(text, tag, f"is inside more than {MAX_DEPTH} sections")
            opened.append((kind, name))
            levels.append([])
    if opened:
        raise InvalidPrompt(f"The section '{opened[-1][1][:64]}' is not closed.")
    if position < len(text):
        levels[0].append(text[position:])
    return Template(tuple(levels[0]), tuple(declared))


def check_size(*texts: str) -> None:
    """Accept the texts of one prompt.

    Raises:
        PromptTooLarge: together they are over MAX_PROMPT_BYTES of UTF-8.
    """
    # No character takes more than four bytes: the usual prompt is never encoded to be measured.
    if 4 * sum(map(len, texts)) <= MAX_PROMPT_BYTES:
        return
    if sum(len(text.encode(errors="replace")) for text in texts) > MAX_PROMPT_BYTES:
        raise _too_large()


def _write(parts: tuple[Part, ...], inputs: Mapping[str, str], written: list[str]) -> None:
    for part in parts:
        if isinstance(part, str):
            written.append(part)
        elif isinstance(part, Placeholder):
            written.append(inputs[part.name])
        elif bool(inputs[part.name]) != part.is_for_empty:
            _write(part.parts, inputs, written)


def _invalid(text: str, tag: re.Match[str], reason: str) -> InvalidPrompt:
    line = text.count("\n", 0, tag.start()) + 1
    return InvalidPrompt(f"Line {line}: '{tag[2][:64]}' {reason}.")


def _too_large() -> PromptTooLarge:
    return PromptTooLarge(f"The prompt is over {MAX_PROMPT_BYTES:,} bytes.")
