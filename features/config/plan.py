"""What is to be done so that the live configuration says what a document says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from django.core.exceptions import ValidationError

from features import catalog, proposal, snapshot
from features.config import document
from features.config.document import MODEL_COLUMNS, STORED, Document, Facts, Section
from features.config.live import Live, Secret, group_facts, model_facts, rule_facts
from features.errors import BadConfigFile
from features.models import FeatureRule
from features.proposal import FeatureImpact
from features.snapshot import ModelEntry, Rule
from models_registry.models import SelfHostedModel
from models_registry.references import BadReference, resolve


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What differs in one thing; `before` is what is live, `after` what the document wants."""

    kind: str
    key: Any
    before: Facts | None
    after: Facts | None

    @property
    def sign(self) -> str:
        """Return + for new, - for gone, ~ for changed."""
        if self.before is None:
            return "+"
        return "-" if self.after is None else "~"

    @property
    def subject(self) -> str:
        """Return what it is about, in the words of the history of changes."""
        if self.kind != "rule":
            return f"{self.kind.capitalize()} '{self.key}'"
        group, feature = self.key
        place = "Whole instance" if group is None else f"'{group}'"
        return f"Rule {place}, {catalog.FEATURES[feature].label}"

    @property
    def happened(self) -> str:
        """Return what differs, in words; of a key only that."""
        before, after = self.before, self.after
        if before is not None and after is not None:
            return "; ".join(_change(name, before[name], after[name]) for name in self.columns)
        said = (after or before or {}).items()
        return ", ".join(
            f"{name} {_shown(value)}" for name, value in said if not self._is_usual(name, value)
        )

    @property
    def columns(self) -> list[str]:
        """Return the columns that differ."""
        before, after = self.before or {}, self.after or {}
        return [name for name in after if name not in before or before[name] != after[name]]

    def _is_usual(self, name: str, value: Any) -> bool:
        if self.kind == "model" and name in MODEL_COLUMNS and value == document.default_of(name):
            return True
        return value in (None, "", False) or value == Secret("")


def _change(name: str, before: Any, after: Any) -> str:
    if isinstance(before, Secret) and str(before) == str(after):
        return f"{name}: another one"
    return f"{name}: {_shown(before)} → {_shown(after)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "none" if value in (None, "") else str(value)
    return f"{text.splitlines()[0]} …" if "\n" in text else text


def differences(
    wanted: Document, live: Live | None = None, *, has_secrets: bool = True
) -> list[Difference]:
    """Return what is to be done.

    Without `has_secrets`, a reference that leads nowhere here is taken to be the key that is
    stored: an old document can then be compared where its secrets are not at hand.

    Raises:
        BadConfigFile: the document contradicts itself or what is live; with every place.
    """
    return _Comparison(wanted, live or Live.load(), has_secrets=has_secrets).differences()


class _Comparison:
    """A document beside the live rows; collects what is wrong before it says anything."""

    def __init__(self, wanted: Document, live: Live, *, has_secrets: bool) -> None:
        self._wanted = wanted
        self._live = live
        self._has_secrets = has_secrets
        self._faults: list[str] = []

    def differences(self) -> list[Difference]:
        found = [*self._models(), *self._groups(), *self._rules()]
        if self._faults:
            raise BadConfigFile(self._faults)
        return found

    def _fault(self, line: int, reason: str) -> None:
        self._faults.append(f"line {line}: {reason}" if line else reason)

    # Models

    def _models(self) -> Iterator[Difference]:
        section = self._wanted.models
        if section is None:
            return
        live = {name: model_facts(row) for name, row in self._live.models.items()}
        wanted = {
            name: {**facts, "api_key": self._secret(section, name, live.get(name))}
            for name, facts in section.items()
        }
        for name, facts in wanted.items():
            self._check_model(section, name, facts)
        removable = [name for name in live if not self._live.is_for_review(name)]
        yield from _compare("model", wanted, live, removable)

    def _secret(self, section: Section, name: str, live: Facts | None) -> Secret:
        reference, line = section[name]["api_key"], section.line(name, "api_key")
        stored: Secret = live["api_key"] if live else Secret("")
        if not reference:
            return Secret("")
        if reference == STORED and stored != Secret(""):
            return stored
        try:
            return Secret(resolve(reference))
        except BadReference as exc:
            if not self._has_secrets:
                return stored if stored != Secret("") else Secret(None)
            what = "says 'stored', but no key is stored here" if reference == STORED else exc
            self._fault(line, f"api_key of '{name}' {what}")
            return Secret("")

    def _check_model(self, section: Section, name: str, facts: Facts) -> None:
        row = SelfHostedModel(name=name, **{column: facts[column] for column in MODEL_COLUMNS})
        try:
            row.clean_fields(exclude=["current"])
            row.clean()
        except ValidationError as exc:
            for column, messages in exc.message_dict.items():
                self._fault(section.line(name, column), f"{column}: {' '.join(messages)}")

    # Groups

    def _groups(self) -> Iterator[Difference]:
        section = self._wanted.groups
        if section is None:
            return
        live = {path: group_facts(row) for path, row in self._live.groups.items()}
        wanted = {}
        for path, facts in section.items():
            self._check_group(section, path, facts, live)
            is_elsewhere = path in live and self._live.is_from_elsewhere(path)
            wanted[path] = live[path] if is_elsewhere else facts
        self._refuse_circles(section)
        removable = [path for path in live if not self._live.is_from_elsewhere(path)]
        yield from _compare("group", wanted, live, removable)

    def _check_group(
        self, section: Section, path: str, facts: Facts, live: Mapping[str, Facts]
    ) -> None:
        gitlab_id, parent = facts["gitlab_id"], facts["parent"]
        id_line = section.line(path, "gitlab_id")
        if path in live and self._live.is_from_elsewhere(path):
            if gitlab_id not in (None, live[path]["gitlab_id"]):
                known = live[path]["gitlab_id"]
                self._fault(id_line, f"group '{path}' was taken over with gitlab_id {known}")
            return
        others = {**live, **section}
        twin = next(
            (
                other
                for other, said in others.items()
                if gitlab_id is not None
                and other != path
                and said["gitlab_id"] == gitlab_id
                # One that this document removes gives its id free.
                and (other in section or self._live.is_from_elsewhere(other))
            ),
            None,
        )
        if twin is not None:
            self._fault(id_line, f"group '{twin}' has gitlab_id {gitlab_id} too")
        if parent is not None and parent not in self._group_names():
            self._fault(section.line(path, "parent"), f"there is no group '{parent}'")

    def _refuse_circles(self, section: Section) -> None:
        for path in section:
            seen = [path]
            while (above := section.entries.get(seen[-1], {}).get("parent")) is not None:
                if above in seen:
                    line = section.line(path, "parent")
                    self._fault(line, f"group '{path}' would be its own ancestor")
                    break
                seen.append(above)

    # Rules

    def _rules(self) -> Iterator[Difference]:
        section = self._wanted.rules
        live = {key: rule_facts(row) for key, row in self._live.rules.items()}
        groups, models = self._group_names(), self._model_names()
        for key, facts in (live if section is None else section).items():
            path, model = key[0], facts["model"]
            line_of = section.line if section is not None else lambda *_: 0
            where = (
                "" if section is not None else f" for the rule of {path or 'the whole instance'}"
            )
            if path is not None and path not in groups:
                self._fault(line_of(key, "group"), f"there is no group '{path}'{where}")
            if model is not None and model not in models:
                self._fault(line_of(key, "model"), f"there is no model '{model}'{where}")
            elif section is not None:
                self._check_rule(section, key, facts)
        if section is not None:
            yield from _compare("rule", section, live, live)

    def _check_rule(self, section: Section, key: Any, facts: Facts) -> None:
        """Ask the rule itself, as the form does: whether its model fits, for one."""
        row = FeatureRule(feature=key[1], state=facts["state"], is_locked=facts["locked"])
        if facts["model"] is not None:
            row.model = self._model_named(facts["model"])
        try:
            row.clean()
        except ValidationError as exc:
            for column, messages in exc.message_dict.items():
                self._fault(section.line(key, column), f"{column}: {' '.join(messages)}")

    def _model_named(self, name: str) -> SelfHostedModel:
        """Return the model as it would be."""
        section = self._wanted.models
        if section is None or name not in section:
            return self._live.models[name]
        columns = {column: section[name][column] for column in MODEL_COLUMNS}
        return SelfHostedModel(name=name, **columns)

    def _group_names(self) -> set[str]:
        return _names(self._wanted.groups, self._live.groups, self._live.is_from_elsewhere)

    def _model_names(self) -> set[str]:
        return _names(self._wanted.models, self._live.models, self._live.is_for_review)


def _names(
    section: Section | None, live: Collection[str], stays: Callable[[str], bool]
) -> set[str]:
    """Return the names that there will be: of the document, and of what it does not touch."""
    if section is None:
        return set(live)
    return {*section, *filter(stays, live)}


def _compare(
    kind: str, wanted: Mapping[Any, Facts], live: Mapping[Any, Facts], removable: Iterable[Any]
) -> Iterator[Difference]:
    for key, after in wanted.items():
        before = live.get(key)
        if before != after:
            yield Difference(kind=kind, key=key, before=before, after=after)
    for key in removable:
        if key not in wanted:
            yield Difference(kind=kind, key=key, before=live[key], after=None)


def impact(found: Iterable[Difference]) -> list[FeatureImpact]:
    """Return who would gain or lose what by the rules that differ, among the groups there are."""
    config = snapshot.catch_up()
    groups: dict[str | None, int | None] = {g.path: pk for pk, g in config.groups.items()}
    groups[None] = None
    models = {entry.name: pk for pk, entry in config.models.items()}
    coming: dict[int, ModelEntry] = {}
    changes: dict[tuple[int | None, str], Rule | None] = {}
    for one in found:
        if one.kind != "rule" or one.key[0] not in groups:
            continue
        name = one.after["model"] if one.after else None
        if name is not None and name not in models:
            models[name] = -1 - len(coming)
            coming[models[name]] = ModelEntry(
                model_id=models[name], name=name, state="active", config=None
            )
        cell = (groups[one.key[0]], one.key[1])
        changes[cell] = None
        if one.after is not None:
            changes[cell] = Rule(
                state=one.after["state"],
                is_locked=one.after["locked"],
                model_id=None if name is None else models[name],
            )
    after = replace(config, models=MappingProxyType({**config.models, **coming}))
    return proposal.impact(config, proposal.propose(after, changes), changes) if changes else []
