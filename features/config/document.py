"""The configuration as a YAML document: models, groups and rules, and never a key in clear.

    models:
      - name: Qwen 7B
        family: qwen
        endpoint: http://10.0.0.5:8000/v1
        identifier: qwen
        api_key: env:QWEN_KEY       # or file:/run/secrets/qwen; `stored` keeps what is stored
    groups:
      - path: payments/core
        gitlab_id: 7
    rules:
      - feature: duo_chat           # without a group: the whole instance
        state: on
      - group: payments/core
        feature: duo_chat
        state: inherit
        locked: true
        model: Qwen 7B

A section that is there is complete: what it does not name is to be removed. A section that is
missing is left alone. Columns that are missing have their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml
from django.db import models as columns

from features import yaml_file
from features.catalog import FEATURES, choices
from features.errors import BadConfigFile
from features.models import State
from features.yaml_file import BadFile, Entry
from models_registry.families import FAMILIES
from models_registry.models import SelfHostedModel
from models_registry.models import State as ModelState
from models_registry.providers import PROVIDERS

STORED = "stored"
NAME_MAX = 255
MODEL_STATES = (ModelState.ACTIVE.value, ModelState.DISABLED.value)
MODEL_COLUMNS = ("state", *SelfHostedModel.COLUMNS)
SECTIONS = ("models", "groups", "rules")

Facts = dict[str, Any]
RuleKey = tuple[str | None, str]
Key = TypeVar("Key")


@dataclass(frozen=True, kw_only=True, slots=True)
class Section(Mapping[Any, Facts]):
    """What one section says, by name; `lines` says where each entry and its values stand."""

    entries: Mapping[Any, Facts]
    lines: Mapping[Any, Mapping[str, int]] = field(default_factory=dict)

    def __getitem__(self, key: Any) -> Facts:
        return self.entries[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def line(self, key: Any, column: str = "") -> int:
        """Return where a value stands, else where its entry begins; 0 where nothing was read."""
        lines = self.lines.get(key, {})
        return lines.get(column, lines.get("", 0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A whole configuration; None for a section that is missing.

    Shape: models by name, with `api_key` a reference, `stored`, or empty; groups by path; rules by
    group path (None for the instance) and feature, with the model by name.
    """

    models: Section | None = None
    groups: Section | None = None
    rules: Section | None = None


# Reading


def read(text: str) -> Document:
    """Return the document that a file holds.

    Raises:
        BadConfigFile: with every place that is wrong.
    """
    try:
        root = yaml_file.read(text).mapping(SECTIONS)
    except BadFile as fault:
        raise BadConfigFile([str(fault)]) from fault
    faults: list[str] = []
    readers = {"models": _model, "groups": _group, "rules": _rule}
    sections = {
        name: _section(root[name], name, readers[name], faults) for name in SECTIONS if name in root
    }
    if faults:
        raise BadConfigFile(faults)
    return Document(**sections)


def _section(
    entry: Entry,
    name: str,
    read_one: Callable[[Entry, dict[str, Entry]], tuple[Any, Facts]],
    faults: list[str],
) -> Section:
    entries: dict[Any, Facts] = {}
    lines: dict[Any, dict[str, int]] = {}
    try:
        listed = entry.sequence(f"an entry of {name}") if not entry.is_null else []
    except BadFile as fault:
        faults.append(str(fault))
        return Section(entries={})
    for one in listed:
        try:
            values = one.mapping(KNOWN[name])
            key, facts = read_one(one, values)
            if key in entries:
                raise one.fault(f"has the same name as the one in line {lines[key]['']}")
            entries[key] = facts
            lines[key] = {"": one.line, **{column: value.line for column, value in values.items()}}
        except BadFile as fault:
            faults.append(str(fault))
    return Section(entries=entries, lines=lines)


KNOWN = {
    "models": ("name", "api_key", *MODEL_COLUMNS),
    "groups": ("path", "gitlab_id", "parent"),
    "rules": ("group", "feature", "state", "locked", "model"),
}


def _wanted(entry: Entry, values: dict[str, Entry], name: str) -> Entry:
    if name not in values:
        raise entry.fault(f"has no {name}")
    return values[name]


def _model(entry: Entry, values: dict[str, Entry]) -> tuple[str, Facts]:
    name = _wanted(entry, values, "name").text(max_length=NAME_MAX)
    facts: Facts = {"api_key": values["api_key"].text() if "api_key" in values else ""}
    _wanted(entry, values, "family")
    for column in MODEL_COLUMNS:
        facts[column] = _column(column, values[column]) if column in values else default_of(column)
    return name, facts


CHOICES: dict[str, tuple[str, ...]] = {
    "family": tuple(FAMILIES),
    "provider": tuple(PROVIDERS),
    "state": MODEL_STATES,
}


def _column(name: str, value: Entry) -> Any:
    """Return a column's value, read as the column's type asks."""
    if name in CHOICES:
        return value.choice(CHOICES[name], CHOICES[name])
    kind = SelfHostedModel._meta.get_field(name)
    if isinstance(kind, columns.BooleanField):
        return value.flag()
    if isinstance(kind, columns.FloatField):
        return value.amount()
    if isinstance(kind, columns.IntegerField):
        return value.number()
    return value.text(max_length=kind.max_length or 200_000)  # type: ignore[union-attr]  # of texts


def default_of(column: str) -> Any:
    """Return what a model's column holds where nothing is said."""
    value = SelfHostedModel._meta.get_field(column).get_default()  # type: ignore[union-attr]
    return value.value if isinstance(value, ModelState) else value


def _group(entry: Entry, values: dict[str, Entry]) -> tuple[str, Facts]:
    path = _wanted(entry, values, "path").text(max_length=NAME_MAX).strip("/ ")
    if not path:
        raise values["path"].fault("is empty")
    return path, {
        "gitlab_id": values["gitlab_id"].number() if "gitlab_id" in values else None,
        "parent": values["parent"].text(max_length=NAME_MAX) if "parent" in values else None,
    }


def _rule(entry: Entry, values: dict[str, Entry]) -> tuple[RuleKey, Facts]:
    group = values["group"].text(max_length=NAME_MAX).strip("/ ") if "group" in values else None
    switchable = [slug for slug, _ in choices()]
    feature = _wanted(entry, values, "feature").choice(switchable, switchable)
    return (group, feature), {
        "state": _wanted(entry, values, "state").choice(State.values, State.values),
        "locked": values["locked"].flag() if "locked" in values else False,
        "model": values["model"].text(max_length=NAME_MAX) if "model" in values else None,
    }


# Writing


class _Dumper(yaml.SafeDumper):
    """Writes long texts, such as certificates, as blocks."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def write(document: Document) -> str:
    """Return the document as YAML; what has its default is left out."""
    sections: dict[str, list[Facts]] = {}
    if document.models is not None:
        sections["models"] = [
            {"name": name, **_told(facts, {"api_key": "", **_model_defaults()})}
            for name, facts in sorted(document.models.items())
        ]
    if document.groups is not None:
        sections["groups"] = [
            {"path": path, **_told(facts, {"gitlab_id": None, "parent": None})}
            for path, facts in sorted(document.groups.items())
        ]
    if document.rules is not None:
        order = list(FEATURES)
        rules = sorted(
            document.rules.items(), key=lambda item: (item[0][0] or "", order.index(item[0][1]))
        )
        sections["rules"] = [
            {
                **({"group": group} if group is not None else {}),
                "feature": feature,
                **_told(facts, {"locked": False, "model": None}),
            }
            for (group, feature), facts in rules
        ]
    return yaml.dump(sections, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _told(facts: Facts, defaults: Facts) -> Facts:
    return {
        name: value
        for name, value in facts.items()
        if name not in defaults or value != defaults[name]
    }


def _model_defaults() -> Facts:
    return {column: default_of(column) for column in MODEL_COLUMNS if column != "family"}
