"""YAML files that people write, read so that every fault is named with its line.

Stricter than YAML: a key stands once, there are no aliases, and a value is taken only for what it
says it is. `Entry` wraps a piece of the file and hands out checked values.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

import yaml

MAX_BYTES = 20 * 1024 * 1024
DEPTH_MAX = 20


class BadFile(Exception):
    """The file cannot be used; the message begins with the line."""

    def __init__(self, reason: str, *, line: int) -> None:
        """Put place and reason into one sentence."""
        super().__init__(f"line {line}: {reason}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A piece of the file: what it is called there, and where it stands."""

    node: yaml.Node
    name: str

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1

    def fault(self, reason: str) -> BadFile:
        """Return the error that says what is wrong with this piece."""
        return BadFile(f"{self.name} {reason}", line=self.line)

    def mapping(self, allowed: Iterable[str] | None = None) -> dict[str, Entry]:
        """Return the values by key.

        Raises:
            BadFile: it is no mapping, or a key is not allowed or stands twice.
        """
        if not isinstance(self.node, yaml.MappingNode):
            raise self.fault("must be a mapping (key: value)")
        found: dict[str, Entry] = {}
        for key_node, value_node in self.node.value:
            key = Entry(node=key_node, name="a key").text()
            if key in found:
                raise BadFile(f"'{key}' stands here a second time", line=_line(key_node))
            if allowed is not None and key not in allowed:
                known = ", ".join(allowed)
                raise BadFile(
                    f"'{key}' is not known here; known are: {known}", line=_line(key_node)
                )
            found[key] = Entry(node=value_node, name=key)
        return found

    def sequence(self, name: str) -> list[Entry]:
        """Return the entries of a list, each called `name`.

        Raises:
            BadFile: it is no list.
        """
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.fault("must be a list (- …)")
        return [Entry(node=node, name=name) for node in self.node.value]

    def text(self, *, max_length: int = 2048) -> str:
        """Return a text; a number counts as one, for ids are written so.

        Raises:
            BadFile: it is none, is too long, or holds what cannot be printed.
        """
        value = self._scalar()
        if self._tag not in ("str", "int"):
            raise self.fault("must be a text; put it in quotes")
        if len(value) > max_length:
            raise self.fault(f"is longer than {max_length} characters")
        if not value.replace("\n", "").isprintable():
            raise self.fault("holds a character that cannot be printed")
        return value

    def choice(self, known: Container[str], listed: Iterable[str]) -> str:
        """Return a text that is one of the known ones.

        Raises:
            BadFile: it is none of them.
        """
        value = self._scalar()
        if value not in known:
            raise self.fault(f"'{value}' is not known; known are: {', '.join(listed)}")
        return value

    def number(self) -> int | None:
        """Return a positive whole number, None for null.

        Raises:
            BadFile: it is none.
        """
        value = self._scalar()
        if self._tag == "null":
            return None
        if not (value.isascii() and value.isdigit() and 0 < int(value[:20]) < 2**63):
            raise self.fault("must be a whole number above 0")
        return int(value)

    def amount(self) -> float | None:
        """Return a number above 0, None for null.

        Raises:
            BadFile: it is none.
        """
        if self._scalar() is not None and self._tag == "null":
            return None
        try:
            value = float(self._scalar()) if self._tag in ("int", "float") else -1.0
        except ValueError:
            value = -1.0
        if not 0 < value < 1e9:
            raise self.fault("must be a number above 0")
        return value

    def flag(self) -> bool:
        """Return true or false.

        Raises:
            BadFile: it is neither.
        """
        value = self._scalar()
        if value not in ("true", "false"):
            raise self.fault("must be true or false")
        return value == "true"

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_null(self) -> bool:
        return self._tag == "null"

    @property
    def _tag(self) -> str:
        return str(self.node.tag).rpartition(":")[2]

    def _scalar(self) -> str:
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.fault("must be a single value")
        return str(self.node.value)


def read(text: str, *, name: str = "the file") -> Entry:
    """Return the whole file as one entry.

    Raises:
        BadFile: it is too large, no YAML, nested too deeply, or uses an alias.
    """
    if len(text) > MAX_BYTES:
        raise BadFile(f"{name} is larger than {MAX_BYTES // 2**20} MiB", line=1)
    try:
        _look_through(text)
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        raise BadFile(
            f"this is not YAML: {exc.problem or exc.context}", line=mark.line + 1 if mark else 1
        ) from exc
    except (yaml.YAMLError, ValueError) as exc:
        raise BadFile("this is not YAML", line=1) from exc
    if node is None:
        raise BadFile(f"{name} is empty", line=1)
    return Entry(node=node, name=name)


def _look_through(text: str) -> None:
    """Refuse what the composer must not see: it follows aliases, and overflows its stack."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise BadFile("aliases (*name) are not allowed; write it out", line=line)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_MAX:
            raise BadFile("this is nested too deeply", line=line)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
