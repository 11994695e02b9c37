"""Who may use which feature, on which model, and why: pure functions over a snapshot.

`explain` goes down the ladder from the instance over a group's ancestors to the group. It answers
the request path and the administrator's question "why?" alike, so the explanation cannot lie.

- Nothing configured is off. Where a level says nothing about a feature of chat, what it says about
  chat holds.
- A rule overrides what stands above it, until a locked rule. Below a locked rule the state can only
  go from on to off, and a model that the locked rule names stays.
- `inherit` keeps the state, and may still name a model or be locked.
- A group denies if a rule of a group, or a locked rule of the instance, switched it off. The
  instance's own unlocked off is a default, not a denial.
- Of several groups, one must allow and none may deny.
- What is allowed and has no model, because no rule assigns one and the call names none, goes to the
  vendor if that route is open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from features import catalog
from features.catalog import get_feature
from features.errors import FeatureDisabled, GoesToVendor, NoActiveModel, NoModelAssigned
from features.models import State
from features.snapshot import ModelEntry, Rule, Snapshot
from models_registry.adoption import Address
from models_registry.models import State as ModelState
from models_registry.providers.types import ModelConfig

INSTANCE = "instance"
VENDOR_ROUTE = "vendor route"
NOTHING = "nothing configured: off"
NO_RULE = "no rule"


class Step(NamedTuple):
    """One rung of a ladder: what a level says, and what holds below it.

    `group_id` is the group whose ladder this is, None where the subject has no group. A tuple,
    because a call may take thirty of them, and making a frozen dataclass costs a microsecond.
    """

    group_id: int | None
    level: str
    rule: str
    effect: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Whether a feature is allowed, by which rule, for which group, on which model.

    `group_id` and `group_path` name the group that allowed (None and "" without groups);
    `model_source` the level whose rule names the model ("" without a model), which is locked where
    a locked rule names it. `is_open_to_vendor`:
    without a model of its own, a call that names none goes to the vendor.
    """

    is_allowed: bool
    reason: str
    ladder: tuple[Step, ...] = ()
    group_id: int | None = None
    group_path: str = ""
    model_id: int | None = None
    model_source: str = ""
    is_model_locked: bool = False
    is_group_assignment: bool = False
    is_open_to_vendor: bool = False


# Policy


def subject_groups(
    snapshot: Snapshot,
    *,
    api_key_group_id: int | None,
    namespace_ids: tuple[int, ...],
    user_refs: tuple[str, ...],
) -> tuple[int, ...]:
    """Return the groups that a call stands for: of its key, its namespaces, its user.

    GitLab's namespace headers name one place and its ancestors; only the place counts, and its
    ladder holds the ancestors' rules. Namespaces and users that Enclave does not know add nothing.
    """
    named = [
        snapshot.by_gitlab_id[gitlab_id]
        for gitlab_id in namespace_ids
        if gitlab_id in snapshot.by_gitlab_id
    ]
    above = {ancestor for group in named for ancestor in group.lineage[:-1]}
    group_ids = {group.group_id for group in named} - above
    for user_ref in user_refs:
        group_ids.update(snapshot.members.get(user_ref, ()))
    if api_key_group_id is not None:
        group_ids.add(api_key_group_id)
    return tuple(sorted(group_ids))


def explain(
    snapshot: Snapshot, *, feature: str, group_ids: tuple[int, ...], walker: Walker | None = None
) -> Decision:
    """Return the decision about a feature for a subject in these groups, and what led to it.

    `walker` may remember ladders, for whoever asks about very many subjects.

    Raises:
        UnknownFeature: there is no such feature.
    """
    entry = get_feature(feature)
    if not entry.needs_rule:
        return Decision(is_allowed=True, reason=f"'{entry.label}' needs no rule")
    known = [group_id for group_id in group_ids if group_id in snapshot.groups]
    walks = [(walker or _walk)(snapshot, feature, group_id) for group_id in known or (None,)]
    ladder = tuple(step for walk in walks for step in walk.steps)
    for walk in walks:
        if walk.is_denied:
            return Decision(is_allowed=False, reason=walk.reason, ladder=ladder)
    allowing = [walk for walk in walks if walk.is_on]
    if not allowing:
        return Decision(is_allowed=False, reason=walks[0].reason, ladder=ladder)
    # A group that names a model goes before one that only inherits the instance's default.
    best = min(
        allowing, key=lambda walk: (not walk.is_group_model, -walk.depth, walk.group_id or 0)
    )
    is_open_to_vendor = best.model_id is None and snapshot.has_vendor_route
    if is_open_to_vendor:
        last = "calls that name no model leave for the vendor"
        ladder += (Step(group_id=best.group_id, level=VENDOR_ROUTE, rule="on", effect=last),)
    return Decision(
        is_allowed=True,
        reason=best.reason,
        ladder=ladder,
        group_id=best.group_id,
        group_path="" if best.group_id is None else snapshot.groups[best.group_id].path,
        model_id=best.model_id,
        model_source=best.model_source,
        is_model_locked=bool(best.model_lock),
        is_group_assignment=best.is_group_model,
        is_open_to_vendor=is_open_to_vendor,
    )


def require(snapshot: Snapshot, *, feature: str, group_ids: tuple[int, ...]) -> Decision:
    """Return the decision if it allows the feature.

    Raises:
        FeatureDisabled: it does not; the message names the rule.
        UnknownFeature: there is no such feature.
    """
    decision = explain(snapshot, feature=feature, group_ids=group_ids)
    if not decision.is_allowed:
        raise FeatureDisabled(decision.reason)
    return decision


# The ladder


@dataclass(kw_only=True, slots=True)
class _Walk:
    """The way down one ladder; the attributes say what holds at the level reached so far."""

    group_id: int | None
    depth: int = 0
    is_on: bool = False
    is_denied: bool = False
    lock: str = ""
    reason: str = NOTHING
    model_id: int | None = None
    model_source: str = ""
    model_lock: str = ""
    is_group_model: bool = False
    steps: list[Step] = field(default_factory=list)

    def enter(self, level: str, rule: Rule | None, *, is_instance: bool, rule_text: str) -> None:
        """Go down one level."""
        note = ""
        if rule is not None:
            note = self._switch(level, rule, is_instance=is_instance)
            note += self._assign(level, rule, is_instance=is_instance)
            if rule.is_locked:
                self.lock = self.lock or level
        effect = ("on" if self.is_on else "off") + note
        self.steps.append(Step(self.group_id, level, rule_text, effect))

    def _switch(self, level: str, rule: Rule, *, is_instance: bool) -> str:
        """Apply the rule's state; return a note where the rule has no effect."""
        suffix = " (locked)" if rule.is_locked else ""
        if rule.state == State.ON:
            if self.lock and not self.is_on:
                if not self.is_denied:
                    self.reason = f"{self.lock} (locked): off"
                return f", the rule has no effect: {self.lock} is locked"
            self.is_on, self.is_denied = True, False
            self.reason = f"{level}{suffix}: on"
        elif rule.state == State.OFF:
            if not (self.lock and self.is_denied):
                self.reason = f"{level}{suffix}: off"
            self.is_on = False
            self.is_denied = self.is_denied or rule.is_locked or not is_instance
        return ""

    def _assign(self, level: str, rule: Rule, *, is_instance: bool) -> str:
        """Apply the rule's model; return a note where the rule has no effect."""
        if rule.model_id is None:
            return ""
        if self.model_lock:
            return f", the model stays: {self.model_lock} is locked"
        self.model_id, self.model_source = rule.model_id, level
        self.is_group_model = not is_instance
        if rule.is_locked:
            self.model_lock = level
        return ""


Walker = Callable[[Snapshot, str, int | None], _Walk]


def remembering() -> Walker:
    """Return a walker for one snapshot that walks each ladder once."""
    known: dict[tuple[str, int | None], _Walk] = {}

    def walk(snapshot: Snapshot, feature: str, group_id: int | None) -> _Walk:
        found = known.get((feature, group_id))
        if found is None:
            found = known[feature, group_id] = _walk(snapshot, feature, group_id)
        return found

    return walk


def _walk(snapshot: Snapshot, feature: str, group_id: int | None) -> _Walk:
    """Return the walk from the instance down to a group, or to the instance alone."""
    lineage = () if group_id is None else snapshot.groups[group_id].lineage
    walk = _Walk(group_id=group_id, depth=len(lineage))
    parent = get_feature(feature).parent
    for level in (None, *lineage):
        rule = snapshot.rules.get((level, feature))
        text = NO_RULE
        if rule is not None:
            text = _as_text(snapshot, rule)
        elif parent is not None and (rule := snapshot.rules.get((level, parent))) is not None:
            text = f"{_as_text(snapshot, rule)}, as {get_feature(parent).label}"
        walk.enter(level_name(snapshot, level), rule, is_instance=level is None, rule_text=text)
    return walk


def level_name(snapshot: Snapshot, level: int | None) -> str:
    """Return how a ladder calls a group, or the instance."""
    return INSTANCE if level is None else f"group '{snapshot.groups[level].path}'"


def _as_text(snapshot: Snapshot, rule: Rule) -> str:
    """Return a rule as an administrator reads it."""
    text = rule.state + (", locked" if rule.is_locked else "")
    if rule.model_id is not None:
        text += f", model '{snapshot.models[rule.model_id].name}'"
    return text


# Models


def match_named(
    snapshot: Snapshot, *, endpoint: str, identifier: str, family: str
) -> ModelConfig | None:
    """Return the registered model that GitLab means, or None if Enclave does not know it.

    Raises:
        NoActiveModel: it is registered, but disabled or broken.
    """
    address = Address.of(family=family, endpoint=endpoint, identifier=identifier)
    entry = snapshot.named.get(address)
    return None if entry is None else _usable(entry)


def offered_models(
    snapshot: Snapshot, *, feature: str, group_ids: tuple[int, ...]
) -> tuple[ModelConfig, ...]:
    """Return the models that a subject may choose from under a feature, the oldest first.

    They are the models that rules assign to the subject for any feature, as far as they can serve
    this one; where the feature's own model is locked, that alone.

    Raises:
        FeatureDisabled: it may not use the feature.
    """
    own = require(snapshot, feature=feature, group_ids=group_ids)
    decisions = [own]
    if not own.is_model_locked:
        decisions += (
            explain(snapshot, feature=slug, group_ids=group_ids) for slug, _ in catalog.choices()
        )
    assigned = {decision.model_id for decision in decisions if decision.model_id is not None}
    entries = (snapshot.models[model_id] for model_id in sorted(assigned))
    return tuple(
        entry.config
        for entry in entries
        if entry.state != ModelState.DISABLED
        and entry.config is not None
        and catalog.fits(feature, entry.config.family)
    )


def choose_model(
    snapshot: Snapshot, decision: Decision, *, named: ModelConfig | None
) -> ModelConfig:
    """Return the model that serves: the group's, else the one the call names, else the default.

    Raises:
        NoActiveModel: the assigned model is disabled or broken.
        GoesToVendor: there is none of the three, and the vendor route is open.
        NoModelAssigned: there is none of the three.
    """
    if named is not None and not decision.is_group_assignment:
        return named
    if decision.is_open_to_vendor:
        raise GoesToVendor
    if decision.model_id is None:
        raise NoModelAssigned(
            "The feature is on, but no rule assigns a model to it, the call names none, and the"
            " vendor route (GATEWAY_VENDOR_ROUTE_URL, and its switch in the admin) is off."
        )
    return _usable(snapshot.models[decision.model_id])


def _usable(entry: ModelEntry) -> ModelConfig:
    if entry.state == ModelState.DISABLED:
        raise NoActiveModel(f"Model '{entry.name}' is disabled.")
    if entry.config is None:
        raise NoActiveModel(f"Model '{entry.name}' cannot be used. {entry.fault}")
    return entry.config
