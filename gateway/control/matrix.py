"""The matrix of features and groups: what holds where, edited in place, with a preview.

A cell shows what the request path would decide for its group alone; a rule of the group's own is
told apart from what comes from above. Rows are fetched as the tree is opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from features import catalog, dead_grants, policy, proposal, snapshot
from features.catalog import Feature
from features.dead_grants import DeadGrant
from features.errors import BadProposal
from features.policy import Decision
from features.proposal import Cell, FeatureImpact, Proposal
from features.snapshot import GroupEntry, Rule, Snapshot
from gateway.control import rehearsal
from gateway.control.pages import fragment, page, render
from models_registry.models import State as ModelState

SEE = ("features.view_featurerule", "features.view_group")
CHANGE = tuple(f"features.{action}_featurerule" for action in ("add", "change", "delete"))
RECORDS = "audit.view_inferencerecord"
ROWS_MAX = 60
NAMES_SHOWN = 20
PATHS_SHOWN = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownCell:
    """One cell: what holds, why, and the group's own rule as the page sends it back."""

    feature: Feature
    is_on: bool
    rule: Rule | None
    model: str
    is_locked_above: bool
    reason: str
    flag: str

    @property
    def own(self) -> str:
        """Return the own rule as JSON, null for none."""
        return orjson.dumps(_as_json(self.rule)).decode()

    @property
    def spoken(self) -> str:
        """Return the cell in words, for its label."""
        said = ["on" if self.is_on else "off"]
        said.append(f"own rule: {self.rule.state}" if self.rule else f"inherited, {self.reason}")
        if self.rule and self.rule.is_locked:
            said.append("locked")
        elif self.is_locked_above:
            said.append("locked above")
        if self.model:
            said.append(f"model {self.model}")
        if self.flag:
            said.append(f"can never route: {self.flag}")
        return ", ".join(said)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One group, or the whole instance, with its cells."""

    group_id: int | None
    name: str
    path: str
    depth: int
    has_children: bool
    cells: list[ShownCell]


# Reading


@require_safe
@page(*SEE)
def matrix(request: HttpRequest) -> HttpResponse:
    """Show the instance and the groups at the top, or those that match a search."""
    config = snapshot.catch_up()
    search = request.GET.get("q", "").strip().lower()
    dead = dead_grants.find(config)
    if search:
        found = sorted((g for g in config.groups.values() if search in g.path.lower()), key=_path)
    else:
        found = _children(config, None)
    return render(
        request,
        "matrix.html",
        title="Feature matrix",
        is_fullwidth="1",
        features=_features(),
        rows=_rows(config, [None, *found[:ROWS_MAX]], dead, is_flat=bool(search)),
        rest=max(len(found) - ROWS_MAX, 0),
        search=search,
        models=_models(config),
        dead=sorted(dead.values(), key=lambda grant: (grant.level, grant.label)),
        may_change=request.user.has_perms(CHANGE),
        group_count=len(config.groups),
    )


@require_safe
@page(*SEE)
def rows(request: HttpRequest) -> HttpResponse:
    """Return the rows right below a group, from the one after `after` on."""
    config = snapshot.catch_up()
    text = request.GET.get("parent", "")
    parent = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
    after = request.GET.get("after", "")
    children = [group for group in _children(config, parent) if group.path > after]
    return fragment(
        request,
        "matrix_rows.html",
        rows=_rows(config, children[:ROWS_MAX], dead_grants.find(config)),
        rest=max(len(children) - ROWS_MAX, 0),
        parent=parent,
        features=_features(),
    )


def _features() -> list[Feature]:
    return [catalog.FEATURES[slug] for slug, _ in catalog.choices()]


def _models(config: Snapshot) -> list[dict[str, Any]]:
    return [
        {
            "id": entry.model_id,
            "name": entry.name + (" (disabled)" if entry.state == ModelState.DISABLED else ""),
        }
        for entry in sorted(config.models.values(), key=lambda entry: entry.name.lower())
    ]


def _path(group: GroupEntry) -> str:
    return group.path


def _children(config: Snapshot, parent: int | None) -> list[GroupEntry]:
    """Return the groups right below one, or those at the top, by path."""
    level = () if parent is None else (parent,)
    found = (group for group in config.groups.values() if group.lineage[-2:-1] == level)
    return sorted(found, key=_path)


def _rows(
    config: Snapshot,
    groups: Iterable[GroupEntry | None],
    dead: dict[Cell, DeadGrant],
    *,
    is_flat: bool = False,
) -> list[Row]:
    parents = {group.lineage[-2] for group in config.groups.values() if len(group.lineage) > 1}
    features = _features()
    return [
        Row(
            group_id=group.group_id if group else None,
            name=_name(config, group, is_flat=is_flat),
            path=group.path if group else "",
            depth=0 if is_flat or group is None else len(group.lineage) - 1,
            has_children=group is not None and not is_flat and group.group_id in parents,
            cells=[_cell(config, group, feature, dead) for feature in features],
        )
        for group in groups
    ]


def _name(config: Snapshot, group: GroupEntry | None, *, is_flat: bool) -> str:
    """Return how a row is called: in the tree, without what stands above it."""
    if group is None:
        return "Whole instance"
    if is_flat or len(group.lineage) < 2:
        return group.path
    return group.path.removeprefix(f"{config.groups[group.lineage[-2]].path}/")


def _cell(
    config: Snapshot, group: GroupEntry | None, feature: Feature, dead: dict[Cell, DeadGrant]
) -> ShownCell:
    group_id = group.group_id if group else None
    subject = () if group_id is None else (group_id,)
    decision = policy.explain(config, feature=feature.slug, group_ids=subject)
    flag = dead.get((group_id, feature.slug))
    return ShownCell(
        feature=feature,
        is_on=decision.is_allowed,
        rule=config.rules.get((group_id, feature.slug)),
        model=_model_name(config, decision),
        is_locked_above=_is_locked_above(decision),
        reason=decision.reason,
        flag=flag.reason if flag else "",
    )


def _model_name(config: Snapshot, decision: Decision) -> str:
    if not decision.is_allowed or decision.model_id is None:
        return ""
    return config.models[decision.model_id].name


def _is_locked_above(decision: Decision) -> bool:
    return any(", locked" in step.rule for step in decision.ladder[:-1])


def _as_json(rule: Rule | None) -> dict[str, Any] | None:
    if rule is None:
        return None
    return {"state": rule.state, "locked": rule.is_locked, "model": rule.model_id}


# Changing


@require_POST
@page(*SEE, *CHANGE)
def preview(request: HttpRequest) -> HttpResponse:
    """Return what the proposed rules would change: for whom, and whether they use it now."""
    try:
        proposed, _ = proposal.read(_cells(request))
    except BadProposal as fault:
        return JsonResponse({"fault": str(fault)}, status=422)
    config = snapshot.catch_up()
    after = proposal.propose(config, proposed)
    impacts = proposal.impact(config, after, proposed)
    may_see_records = request.user.has_perm(RECORDS)
    return fragment(
        request,
        "matrix_preview.html",
        changes=_changes(config, after, proposed),
        impacts=[_told(alike, may_see_records=may_see_records) for alike in _alike(impacts)],
        new_flags=_new_flags(config, after),
        may_see_records=may_see_records,
    )


@require_POST
@page(*SEE, *CHANGE, RECORDS)
def rehearse(request: HttpRequest) -> HttpResponse:
    """Return what the proposed rules would have done to the calls of the last days."""
    try:
        proposed, _ = proposal.read(_cells(request))
    except BadProposal as fault:
        return JsonResponse({"fault": str(fault)}, status=422)
    config = snapshot.catch_up()
    found = rehearsal.rehearse(
        config,
        proposal.propose(config, proposed),
        proposal.affected_features(proposed),
        now=timezone.now(),
    )
    return fragment(
        request,
        "matrix_rehearsal.html",
        days=rehearsal.DAYS,
        found=[(catalog.FEATURES[one.slug].label, one) for one in found],
    )


@require_POST
@page(*SEE, *CHANGE)
def save(request: HttpRequest) -> HttpResponse:
    """Write the proposed rules, all or none."""
    try:
        proposed, expected = proposal.read(_cells(request))
        proposal.write(proposed, expected=expected)
    except BadProposal as fault:
        return JsonResponse({"fault": str(fault)}, status=422)
    count = len(proposed)
    messages.success(request, f"Saved: {count} cell{'s' if count != 1 else ''}.")
    return JsonResponse({"saved": count})


def _cells(request: HttpRequest) -> Any:
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError as exc:
        raise BadProposal("The proposal is not JSON.") from exc


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownChange:
    """A cell before and after."""

    where: str
    feature: str
    before: str
    after: str


def _changes(before: Snapshot, after: Snapshot, proposed: Proposal) -> list[ShownChange]:
    return [
        ShownChange(
            where="Whole instance" if cell[0] is None else before.groups[cell[0]].path,
            feature=catalog.FEATURES[cell[1]].label,
            before=_rule_text(before, before.rules.get(cell)),
            after=_rule_text(after, after.rules.get(cell)),
        )
        for cell in proposed
        if cell[0] is None or cell[0] in before.groups
    ]


def _rule_text(config: Snapshot, rule: Rule | None) -> str:
    if rule is None:
        return "no rule"
    model = config.models.get(rule.model_id) if rule.model_id is not None else None
    said = [
        rule.state,
        "locked" if rule.is_locked else "",
        f"model '{model.name}'" if model else "",
    ]
    return ", ".join(filter(None, said))


VERBS = {"lose": "lose", "gain": "gain", "move": "get another model for"}


def _alike(impacts: Iterable[FeatureImpact]) -> list[list[FeatureImpact]]:
    """Return the impacts, those together that are the same for another feature."""
    found: list[list[FeatureImpact]] = []
    for one in impacts:
        twins = next((known for known in found if known[0].is_like(one)), None)
        if twins is None:
            found.append([one])
        else:
            twins.append(one)
    return found


def _told(alike: list[FeatureImpact], *, may_see_records: bool) -> dict[str, Any]:
    """Return what becomes of features in sentences, the worst first."""
    one, *others = alike
    it = "it" if not others else "them"
    lines = []
    for what, verb in VERBS.items():
        users, keys = one.users.get(what, []), one.keys.get(what, [])
        groups = one.groups.get(what, [])
        if users:
            said = f"{_count(users, 'user')} {_verb(verb, users)} {it}"
            if may_see_records:
                slugs = [impact.slug for impact in alike]
                lately = rehearsal.used_lately(slugs, users, now=timezone.now())
                said += f"; {lately:,} of them used {it} in the last hour"
            lines.append((what, said))
        if keys:
            said = f"{_count(keys, 'API key')} {_verb(verb, keys)} {it}"
            lines.append((what, f"{said}: {_some(keys, NAMES_SHOWN)}"))
        if groups:
            lines.append((what, f"{_count(groups, 'group')}: {_some(groups, PATHS_SHOWN)}"))
        if one.callers_without_group == what:
            lines.append((what, f"callers without a known group {verb} {it}"))
    return {"label": ", ".join(impact.label for impact in alike), "lines": lines}


def _count(things: list[str], name: str) -> str:
    return f"{len(things):,} {name}{'' if len(things) == 1 else 's'}"


def _verb(verb: str, things: list[str]) -> str:
    """Return the verb for one or for many."""
    if len(things) != 1:
        return verb
    return "gets another model for" if verb.startswith("get") else f"{verb}s"


def _some(names: list[str], count: int) -> str:
    more = f" and {len(names) - count:,} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _new_flags(before: Snapshot, after: Snapshot) -> list[DeadGrant]:
    known = dead_grants.find(before)
    return [grant for cell, grant in dead_grants.find(after).items() if cell not in known]
