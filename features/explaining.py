"""Why somebody may use a feature, or may not: a question in an administrator's words, answered.

The answer comes from the functions that the request path uses (`features.policy`), over the same
kind of snapshot; only user and place are looked up here, because people name them otherwise than
headers do.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time
from typing import Any

from django.utils import timezone

from features import history, policy, snapshot
from features.catalog import get_feature
from features.errors import FeatureError, UnreadableDate
from features.models import GitLabUser
from features.policy import Decision, Step
from features.snapshot import GroupEntry, Snapshot
from models_registry.changes import ConfigChange

NUMERIC_ID_MAX = 2**63


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Who (an id or a user name), where (a project's or group's path, or a namespace id), when.

    Empty: nobody in particular, nowhere in particular, now.
    """

    feature: str
    user: str = ""
    place: str = ""
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """A step of a ladder, and who made its rule, when, if that is on record."""

    level: str
    rule: str
    effect: str
    author: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ladder:
    """The way down to one group; its path is empty for somebody without a group."""

    path: str
    rungs: tuple[Rung, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """The decision, what led to it, and what is to be known about the question.

    `model` says in words which model serves; `trouble` why none does although it is allowed.
    """

    feature: str
    label: str
    config_version: int
    groups: tuple[str, ...]
    is_allowed: bool
    reason: str
    model: str
    trouble: str
    notes: tuple[str, ...]
    ladders: tuple[Ladder, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def answer(question: Question) -> Explanation:
    """Return the explanation, now or on the day that the question names.

    Raises:
        UnknownFeature: there is no such feature.
        NoHistory: the configuration of that day is not on record.
    """
    now = question.at is None
    config = snapshot.catch_up() if now else history.snapshot_at(question.at or timezone.now())
    return explain(question, config)


def explain(question: Question, config: Snapshot) -> Explanation:
    """Return the explanation over a configuration.

    Raises:
        UnknownFeature: there is no such feature.
    """
    feature = get_feature(question.feature)
    user_refs, notes = _user(question.user, config)
    group, about_place = _place(question.place, config)
    group_ids = policy.subject_groups(
        config,
        api_key_group_id=group.group_id if group and group.gitlab_id is None else None,
        namespace_ids=(group.gitlab_id,) if group and group.gitlab_id is not None else (),
        user_refs=user_refs,
    )
    decision = policy.explain(config, feature=feature.slug, group_ids=group_ids)
    model, trouble = _model(config, decision)
    return Explanation(
        feature=feature.slug,
        label=feature.label,
        config_version=config.version,
        groups=tuple(config.groups[pk].path for pk in group_ids if pk in config.groups),
        is_allowed=decision.is_allowed,
        reason=decision.reason,
        model=model,
        trouble=trouble,
        notes=(*notes, *about_place),
        ladders=_ladders(config, decision, feature.slug, until=question.at),
    )


def moment(text: str) -> datetime | None:
    """Return the moment that a person wrote; a day means its end, nothing means now.

    Raises:
        UnreadableDate: it is no date.
    """
    text = text.strip()
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UnreadableDate(
            "The date cannot be read; write 2026-03-31 or 2026-03-31T14:00."
        ) from None
    if len(text) <= len("2026-03-31"):
        at = min(datetime.combine(at, time.max, tzinfo=UTC), timezone.now())
    return at if at.tzinfo else at.replace(tzinfo=UTC)


# Looking up


def _user(text: str, config: Snapshot) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the ids that a user's calls may carry, and what is to be said about them."""
    text = text.strip().replace("\0", "")
    if not text:
        return (), ()
    if text in config.members:
        return (text,), ()
    named = GitLabUser.objects.filter(username=text).values_list("user_ref", flat=True)
    refs = tuple(named)
    if not any(ref in config.members for ref in refs):
        return refs, (f"No group is known whose member '{text}' is.",)
    return refs, ()


def _place(text: str, config: Snapshot) -> tuple[GroupEntry | None, tuple[str, ...]]:
    """Return the group that a path or a namespace id leads to, and what is to be said about it."""
    text = text.strip().strip("/")
    if not text:
        return None, ()
    if text.isascii() and text.isdigit() and int(text[:20]) in config.by_gitlab_id:
        return config.by_gitlab_id[int(text[:20])], ()
    by_path = {group.path: group for group in config.groups.values()}
    path = text
    while path not in by_path and "/" in path:
        path = path.rpartition("/")[0]
    group = by_path.get(path)
    if group is None:
        return None, (f"No group is known that '{text}' lies in; a call from there names none.",)
    notes = () if path == text else (f"'{text}' lies in group '{path}'.",)
    if group.gitlab_id is None:
        only = f"Group '{path}' has no GitLab id, so only an API key can stand for it."
        return group, (*notes, only)
    return group, notes


# Saying


def _model(config: Snapshot, decision: Decision) -> tuple[str, str]:
    """Return which model serves, in words, and why none does although it is allowed."""
    if not decision.is_allowed:
        return "", ""
    if decision.model_id is None:
        end = "leaves for the vendor" if decision.is_open_to_vendor else "is refused"
        return f"the model that GitLab names; a call that names none {end}", ""
    name = f"'{config.models[decision.model_id].name}' ({decision.model_source})"
    if not decision.is_group_assignment:
        name += ", unless the call names another"
    try:
        policy.choose_model(config, decision, named=None)
    except FeatureError as refusal:
        return name, str(refusal)
    return name, ""


def _ladders(
    config: Snapshot, decision: Decision, feature: str, *, until: datetime | None
) -> tuple[Ladder, ...]:
    steps: dict[int | None, list[Step]] = {}
    for step in decision.ladder:
        steps.setdefault(step.group_id, []).append(step)
    above = (config.groups[pk].lineage for pk in steps if pk is not None)
    levels = {None, *(level for lineage in above for level in lineage)}
    authors = {
        policy.level_name(config, level): author
        for level, author in _authors(config, levels, feature, until).items()
    }
    return tuple(
        Ladder(
            path="" if group_id is None else config.groups[group_id].path,
            rungs=tuple(
                Rung(
                    level=step.level,
                    rule=step.rule,
                    effect=step.effect,
                    author=authors.get(step.level, ""),
                )
                for step in of_group
            ),
        )
        for group_id, of_group in steps.items()
    )


def _authors(
    config: Snapshot, levels: set[int | None], feature: str, until: datetime | None
) -> dict[int | None, str]:
    """Return who made the rules of these levels, and when: one query."""
    parent = get_feature(feature).parent or feature
    wanted = {
        (level, feature if (level, feature) in config.rules else parent): level for level in levels
    }
    features = {of_feature for _, of_feature in wanted}
    changes = ConfigChange.objects.filter(
        kind="featurerule", after__feature__in=features, at__lte=until or timezone.now()
    )
    found: dict[int | None, str] = {}
    for change in changes.order_by("pk").iterator():
        after = change.after or {}
        key = (after["group"], after["feature"])
        if key in wanted:
            found[wanted[key]] = f"{change.actor}, {change.at:%Y-%m-%d %H:%M} UTC"
    return found
