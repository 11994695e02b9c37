"""Grants that can never route: rules that switch a feature on, or name a model, for nobody.

Each is named with its reason, so that somebody can mend or remove it.
"""

from __future__ import annotations

from dataclasses import dataclass

from features import catalog, policy
from features.models import Group, State
from features.snapshot import Rule, Snapshot, gently
from models_registry.models import State as ModelState


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadGrant:
    """A rule that does nothing, and why."""

    group_id: int | None
    level: str
    feature: str
    label: str
    reason: str


def find(config: Snapshot) -> dict[tuple[int | None, str], DeadGrant]:
    """Return the rules that can never route a call, by cell."""
    reached, gone = _reached(config)
    walk = policy.remembering()
    found = {}
    for (group_id, feature), rule in gently(config.rules.items()):
        if group_id is not None and group_id not in config.groups:
            continue
        entry = catalog.FEATURES.get(feature)
        if entry is None:
            reason = "this version of Enclave has no such feature"
        else:
            reason = _reason(config, group_id, feature, rule, walk, reached, gone)
        if reason:
            found[group_id, feature] = DeadGrant(
                group_id=group_id,
                level=policy.level_name(config, group_id),
                feature=feature,
                label=entry.label if entry else feature,
                reason=reason,
            )
    return found


def _reason(
    config: Snapshot,
    group_id: int | None,
    feature: str,
    rule: Rule,
    walk: policy.Walker,
    reached: set[int],
    gone: set[int],
) -> str:
    """Return why a rule's grant can never route; nothing if it can, or if it grants nothing."""
    if rule.state != State.ON and rule.model_id is None:
        return ""
    subject = () if group_id is None else (group_id,)
    decision = policy.explain(config, feature=feature, group_ids=subject, walker=walk)
    own = decision.ladder[-1].effect if decision.ladder else ""
    if rule.state == State.ON and not decision.is_allowed:
        return f"{decision.reason}, and that cannot be overridden here"
    if "the model stays" in own:
        return own.partition(", ")[2]
    if rule.state != State.OFF and rule.model_id is not None:
        model = config.models[rule.model_id]
        if model.state == ModelState.DISABLED:
            return f"its model '{model.name}' is disabled"
        if model.config is None:
            return f"its model '{model.name}' cannot be used: {model.fault}"
    if group_id in gone:
        return "GitLab does not know this group any more"
    if group_id is not None and group_id not in reached:
        return "no call can stand for it: it has no GitLab id, no member and no API key"
    return ""


def _reached(config: Snapshot) -> tuple[set[int], set[int]]:
    """Return the groups that a call can stand for, with all above them, and those that are gone."""
    gone = set(Group.objects.exclude(gone_at=None).values_list("pk", flat=True))
    named = {pk for pk, group in config.groups.items() if group.gitlab_id is not None} - gone
    named.update(pk for group_ids in config.members.values() for pk in group_ids)
    named.update(key.group_id for key in config.api_keys.values() if key.group_id is not None)
    reached = {above for pk in named if pk in config.groups for above in config.groups[pk].lineage}
    return reached, gone - reached
