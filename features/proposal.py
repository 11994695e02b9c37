"""Rules that somebody proposes: what they would change, and writing them.

A proposal is a list of cells of the matrix. `propose` returns the configuration as it would be;
`impact` compares two configurations with the functions that the request path uses, so the preview
cannot promise what the rules do not keep.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from django.core.exceptions import ValidationError

from features import policy
from features.catalog import FEATURES, get_feature
from features.errors import BadProposal
from features.models import FeatureRule, Group
from features.policy import Decision, Walker
from features.snapshot import Rule, Snapshot, gently
from models_registry.configuration import recorded
from models_registry.models import SelfHostedModel

Cell = tuple[int | None, str]
# What a rule of a cell becomes; None takes the rule away.
Proposal = Mapping[Cell, Rule | None]


def propose(config: Snapshot, proposal: Proposal) -> Snapshot:
    """Return the configuration as it would be with these rules."""
    rules = {**config.rules, **{cell: rule for cell, rule in proposal.items() if rule is not None}}
    for cell, rule in proposal.items():
        if rule is None:
            rules.pop(cell, None)
    return replace(config, rules=MappingProxyType(rules))


# Who gains or loses what


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """Users with the same groups, or API keys of the same group; nobody's ids are both."""

    group_ids: tuple[int, ...]
    user_refs: tuple[str, ...] = ()
    key_names: tuple[str, ...] = ()


@dataclass(kw_only=True, slots=True)
class FeatureImpact:
    """What becomes of one feature. `callers_without_group`: "", "gain", "lose" or "move"."""

    slug: str
    label: str
    users: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    keys: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    callers_without_group: str = ""
    groups: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def is_like(self, other: FeatureImpact) -> bool:
        """Test whether the same becomes of another feature."""
        return (self.users, self.keys, self.groups, self.callers_without_group) == (
            other.users,
            other.keys,
            other.groups,
            other.callers_without_group,
        )

    def __bool__(self) -> bool:
        return bool(self.users or self.keys or self.callers_without_group or self.groups)


def affected_features(cells: Iterable[Cell]) -> list[str]:
    """Return the features that these cells decide: their own, and the parts of those."""
    slugs = {slug for _, slug in cells}
    return [
        entry.slug for entry in FEATURES.values() if entry.slug in slugs or entry.parent in slugs
    ]


def impact(before: Snapshot, after: Snapshot, cells: Iterable[Cell]) -> list[FeatureImpact]:
    """Return who gains, loses or gets another model, for each feature that changes for somebody."""
    cells = list(cells)
    touched = _touched(before, {group_id for group_id, _ in cells})
    subjects = list(_subjects(before, touched))
    compare = Comparison(before, after)
    found = []
    for slug in affected_features(cells):
        one = FeatureImpact(slug=slug, label=get_feature(slug).label)
        for subject in gently(subjects):
            what = compare(slug, subject.group_ids)
            if what:
                if subject.user_refs:
                    one.users[what] += subject.user_refs
                if subject.key_names:
                    one.keys[what] += subject.key_names
        for group_id in gently(touched):
            if what := compare(slug, (group_id,)):
                one.groups[what].append(before.groups[group_id].path)
        one.callers_without_group = compare(slug, ())
        if one:
            found.append(one)
    return found


class Comparison:
    """Two configurations, asked about the same subject; every ladder is walked once."""

    def __init__(self, before: Snapshot, after: Snapshot) -> None:
        """Walk nothing yet."""
        self._before, self._walk_before = before, policy.remembering()
        self._after, self._walk_after = after, policy.remembering()

    def __call__(self, feature: str, group_ids: tuple[int, ...]) -> str:
        """Return what becomes of the feature for a subject: "gain", "lose", "move", or nothing."""
        before = _explain(self._before, feature, group_ids, self._walk_before)
        after = _explain(self._after, feature, group_ids, self._walk_after)
        if before.is_allowed != after.is_allowed:
            return "gain" if after.is_allowed else "lose"
        is_moved = before.is_allowed and _assignment(before) != _assignment(after)
        return "move" if is_moved else ""


def _explain(config: Snapshot, feature: str, group_ids: tuple[int, ...], walk: Walker) -> Decision:
    return policy.explain(config, feature=feature, group_ids=group_ids, walker=walk)


def _assignment(decision: Decision) -> tuple[int | None, bool]:
    return decision.model_id, decision.is_group_assignment


def _touched(config: Snapshot, levels: set[int | None]) -> list[int]:
    """Return the groups whose ladders pass one of these levels."""
    if None in levels:
        return list(config.groups)
    return [pk for pk, group in config.groups.items() if levels.intersection(group.lineage)]


def _subjects(config: Snapshot, touched: Iterable[int]) -> Iterator[Subject]:
    """Yield the users and API keys that stand for one of these groups, those alike together."""
    touched = set(touched)
    users: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for user_ref, group_ids in gently(config.members.items()):
        if not touched.isdisjoint(group_ids):
            users[tuple(sorted(group_ids))].append(user_ref)
    for group_ids, refs in users.items():
        yield Subject(group_ids=group_ids, user_refs=tuple(refs))
    keys: dict[int, list[str]] = defaultdict(list)
    for key in config.api_keys.values():
        if key.is_active and key.group_id in touched:
            keys[key.group_id or 0].append(key.name)
    for group_id, names in keys.items():
        yield Subject(group_ids=(group_id,), key_names=tuple(sorted(names)))


# Writing


def write(proposal: Proposal, *, expected: Proposal) -> None:
    """Write the rules, all or none; `expected` is what the cells said when this was proposed.

    Raises:
        BadProposal: a cell was changed meanwhile, or a rule cannot be; nothing is written.
    """
    rules: dict[Cell, FeatureRule] = {}

    def find() -> list[FeatureRule]:
        rows = FeatureRule.objects.filter(feature__in={feature for _, feature in proposal})
        rules.update({(row.group_id, row.feature): row for row in rows})
        _refuse_conflicts(rules, expected)
        return [row for cell, row in rules.items() if cell in proposal]

    with recorded(find) as made:
        for cell, rule in proposal.items():
            row = rules.get(cell)
            if rule is None:
                if row is not None:
                    FeatureRule._base_manager.filter(pk=row.pk).delete()
            elif row is None:
                made.append(_checked(FeatureRule(group_id=cell[0], feature=cell[1]), rule))
                made[-1].write()
            else:
                _checked(row, rule).write()


def _checked(row: FeatureRule, rule: Rule) -> FeatureRule:
    row.state, row.is_locked, row.model_id = rule.state, rule.is_locked, rule.model_id
    try:
        row.full_clean()
    except ValidationError as exc:
        raise BadProposal(f"{_cell_name(row.group_id, row.feature)}: {_reasons(exc)}") from exc
    return row


def _refuse_conflicts(rules: Mapping[Cell, FeatureRule], expected: Proposal) -> None:
    for cell, rule in expected.items():
        row = rules.get(cell)
        held = (
            Rule(state=row.state, is_locked=row.is_locked, model_id=row.model_id) if row else None
        )
        if held != rule:
            raise BadProposal(
                f"{_cell_name(*cell)} was changed by somebody else meanwhile. Nothing was saved;"
                " look at it again."
            )


def _reasons(error: ValidationError) -> str:
    return " ".join(error.messages)


def _cell_name(group_id: int | None, feature: str) -> str:
    path = Group.objects.filter(pk=group_id).values_list("path", flat=True).first()
    level = "Whole instance" if group_id is None else path or f"group {group_id}"
    return f"{level}, {get_feature(feature).label}"


# Reading what a page sends


def read(cells: Any) -> tuple[dict[Cell, Rule | None], dict[Cell, Rule | None]]:
    """Return a proposal and what its cells said before, from the JSON that a page sends.

    Raises:
        BadProposal: it is malformed, or speaks of what there is not.
    """
    if not isinstance(cells, list) or not 0 < len(cells) <= CELLS_MAX:
        raise BadProposal(f"Between 1 and {CELLS_MAX} cells can be changed at once.")
    proposal: dict[Cell, Rule | None] = {}
    expected: dict[Cell, Rule | None] = {}
    for cell in cells:
        if not isinstance(cell, dict):
            raise BadProposal("A cell is malformed.")
        key = (_id(cell.get("group")), str(cell.get("feature")))
        if key[1] not in FEATURES or not FEATURES[key[1]].needs_rule:
            raise BadProposal(f"There is no feature '{key[1]}' that a rule can switch.")
        if key in proposal:
            raise BadProposal(f"{_cell_name(*key)} stands in the list twice.")
        proposal[key], expected[key] = _rule(cell.get("rule")), _rule(cell.get("was"))
    _refuse_unknown(proposal)
    return proposal, expected


CELLS_MAX = 500


def _rule(value: Any) -> Rule | None:
    if value is None:
        return None
    is_good = (
        isinstance(value, dict)
        and value.get("state") in ("on", "off", "inherit")
        and isinstance(value.get("locked"), bool)
    )
    if not is_good:
        raise BadProposal("A rule is malformed.")
    return Rule(state=value["state"], is_locked=value["locked"], model_id=_id(value.get("model")))


def _id(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise BadProposal("An id is malformed.")
    return value


def _refuse_unknown(proposal: Proposal) -> None:
    for what, model, ids in (
        ("group", Group, {group_id for group_id, _ in proposal}),
        ("model", SelfHostedModel, {rule.model_id for rule in proposal.values() if rule}),
    ):
        wanted = {pk for pk in ids if pk is not None}
        unknown = wanted - set(model.objects.filter(pk__in=wanted).values_list("pk", flat=True))
        if unknown:
            raise BadProposal(f"There is no {what} {min(unknown)} any more.")
