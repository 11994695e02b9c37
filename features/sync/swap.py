"""Taking a directory over: what differs from the tables is written, at once or not at all.

A source takes away only what it brought: groups and members made by hand stay. A group that GitLab
knows by id keeps its rules when it is moved or renamed. One that is gone is deleted, unless rules,
API keys or members by hand stand on it: then it stays, marked as gone.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from django.db.models import CharField, Exists, OuterRef
from django.db.models import Value as Constant
from django.db.models.functions import Cast, Concat
from django.utils import timezone

from features.errors import BadDirectory, TooManyGone
from features.models import ApiKey, FeatureRule, GitLabUser, Group, Membership, Source
from features.sync.directory import Directory, NamedGroup
from models_registry.configuration import recorded

Value = TypeVar("Value")

BATCH_ROWS = 1_000
PATH_MAX = 255
# A token that lost its rights sees few groups or none; below so many, any loss is believed.
LOSS_MIN = 10
LOSS_MAX_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """How many rows a take-over wrote."""

    groups_added: int = 0
    groups_changed: int = 0
    groups_deleted: int = 0
    groups_gone: int = 0
    members_added: int = 0
    members_removed: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def in_words(result: Mapping[str, int]) -> str:
    """Return what a take-over did, for people."""
    said = [f"{count} {name.replace('_', ' ')}" for name, count in result.items() if count]
    return ", ".join(said) or "nothing has changed"


@dataclass(kw_only=True, slots=True)
class _Difference:
    """What has to be written. New members of new groups are found by path."""

    added: list[Group] = field(default_factory=list)
    changed: list[Group] = field(default_factory=list)
    kept: list[Group] = field(default_factory=list)
    deleted: list[Group] = field(default_factory=list)
    joined: list[tuple[str, str]] = field(default_factory=list)
    left: list[Membership] = field(default_factory=list)

    def __bool__(self) -> bool:
        parts = (self.added, self.changed, self.kept, self.deleted, self.joined, self.left)
        return any(parts)


def missing(directory: Directory, *, source: Source) -> list[int]:
    """Return GitLab's ids of the groups that this source brought and does not name any more."""
    named = {group.gitlab_id for group in directory}
    brought = Group.objects.filter(source=source, gone_at=None).exclude(gitlab_id=None)
    return [pk for pk in brought.values_list("gitlab_id", flat=True) if pk not in named]


def take_over(directory: Directory, *, source: Source, accepts_loss: bool = False) -> Result:
    """Write what differs, in one transaction, and return how much that was.

    Raises:
        TooManyGone: more than half of the groups would go, and nobody said that this is right.
        BadDirectory: a group stands in the way of another.
    """
    now = timezone.now()
    result = Result()
    if _difference(directory, source=source, now=now, accepts_loss=accepts_loss):
        result = _swap_in(directory, source=source, now=now, accepts_loss=accepts_loss)
    _name_users(directory)
    return result


def _swap_in(directory: Directory, *, source: Source, now: datetime, accepts_loss: bool) -> Result:
    differences: list[_Difference] = []

    def find() -> list[Any]:
        # Again, now that nobody else can change anything.
        found = _difference(directory, source=source, now=now, accepts_loss=accepts_loss)
        differences.append(found)
        ids = {group.pk for group in (*found.changed, *found.kept, *found.deleted)}
        return [*Group.objects.filter(pk__in=ids).iterator(BATCH_ROWS), *found.left]

    with recorded(find) as made:
        difference = differences[0]
        made += _write(difference, source=source)
    return Result(
        groups_added=len(difference.added),
        groups_changed=len(difference.changed),
        groups_deleted=len(difference.deleted),
        groups_gone=len(difference.kept),
        members_added=len(difference.joined),
        members_removed=len(difference.left),
    )


# Comparing


def _difference(
    directory: Directory, *, source: Source, now: datetime, accepts_loss: bool
) -> _Difference:
    rows = list(Group.objects.order_by("pk"))
    by_path = {row.path: row for row in rows}
    by_id = {row.gitlab_id: row for row in rows if row.gitlab_id is not None}
    found = _Difference()
    path_of: dict[int, str] = {}
    for group in directory:
        row = by_id.get(group.gitlab_id) if group.gitlab_id is not None else None
        row = row or _namesake(by_path.get(group.path), group)
        if row is None:
            found.added.append(Group(path=group.path, gitlab_id=group.gitlab_id, source=source))
            continue
        path_of[row.pk] = group.path
        if _claim(row, group, source=source):
            found.changed.append(row)
    _let_go(rows, path_of.keys(), found, source=source, now=now)
    _refuse_loss(rows, found, source=source, accepts_loss=accepts_loss)
    _make_room(rows, found)
    _compare_members(directory, path_of, found, source=source)
    return found


def _namesake(row: Group | None, group: NamedGroup) -> Group | None:
    """Return the row at the group's path, unless GitLab knows it as another group."""
    if row is None or (row.gitlab_id and group.gitlab_id and row.gitlab_id != group.gitlab_id):
        return None
    return row


def _claim(row: Group, group: NamedGroup, *, source: Source) -> bool:
    """Make the row say what the source says; return whether that changes it.

    What GitLab brought stays GitLab's: a file adds members to it and changes nothing else.
    """
    if row.source == Source.GITLAB and source != Source.GITLAB:
        if row.path != group.path:
            raise BadDirectory(
                f"Group '{group.path}' has the GitLab id of '{row.path}', which GitLab brought."
            )
        return False
    wanted = {
        "path": group.path,
        "gitlab_id": group.gitlab_id or row.gitlab_id,
        "parent_id": None if source == Source.GITLAB else row.parent_id,
        "source": source,
        "gone_at": None,
    }
    is_changed = any(getattr(row, name) != value for name, value in wanted.items())
    for name, value in wanted.items():
        setattr(row, name, value)
    return is_changed


def _let_go(
    rows: Iterable[Group],
    named: Container[int],
    found: _Difference,
    *,
    source: Source,
    now: datetime,
) -> None:
    """Sort the groups that the source does not name any more: to be kept as gone, or deleted."""
    lost = [row for row in rows if row.source == source and row.pk not in named]
    in_use = _in_use(source) if lost else set()
    for row in lost:
        if row.pk not in in_use:
            found.deleted.append(row)
        elif row.gone_at is None:
            row.gone_at = now
            found.kept.append(row)


def _in_use(source: Source) -> set[int]:
    """Return the groups that something stands on, beside members that the source brought."""
    by_hand = Membership.objects.exclude(source=source)
    return {
        *FeatureRule.objects.exclude(group=None).values_list("group_id", flat=True),
        *ApiKey.objects.exclude(group=None).values_list("group_id", flat=True),
        *Group.objects.exclude(parent=None).values_list("parent_id", flat=True),
        *by_hand.values_list("group_id", flat=True),
    }


def _refuse_loss(
    rows: Iterable[Group], found: _Difference, *, source: Source, accepts_loss: bool
) -> None:
    known = sum(row.source == source and row.gone_at is None for row in rows) + len(found.kept)
    lost = len(found.kept) + sum(row.gone_at is None for row in found.deleted)
    if not accepts_loss and lost >= LOSS_MIN and lost > known * LOSS_MAX_SHARE:
        raise TooManyGone(
            f"{lost} of {known} groups are missing. Nothing was changed: the token may have lost"
            " its rights. If they are really gone, say so (--accept-loss)."
        )


def _make_room(rows: Iterable[Group], found: _Difference) -> None:
    """Move what is gone out of the way of what has its path now.

    Raises:
        BadDirectory: somebody's group is in the way and not gone.
    """
    deleted = {row.pk for row in found.deleted}
    taken = {row.path for row in (*found.added, *found.changed)}
    claimed = {row.pk for row in found.changed}
    for row in rows:
        if row.path not in taken or row.pk in deleted | claimed:
            continue
        if row.gone_at is None:
            raise BadDirectory(
                f"Group '{row.path}' is in the way of another group with this path. Rename or"
                " delete it."
            )
        row.path = f"{row.path[: PATH_MAX - 30]} (was {row.gitlab_id or row.pk})"
        if row not in found.kept:
            found.changed.append(row)


def _compare_members(
    directory: Directory, path_of: dict[int, str], found: _Difference, *, source: Source
) -> None:
    wanted = {(group.path, member.user_ref) for group in directory for member in group.members}
    for row in Membership.objects.order_by("pk").iterator(BATCH_ROWS):
        place = (path_of.get(row.group_id, ""), row.user_ref)
        if place in wanted:
            wanted.discard(place)  # here already, whoever brought it
        elif row.source == source:
            found.left.append(row)
    found.joined = sorted(wanted)


# Writing; the managers that are used here neither raise the version nor keep history: `recorded`
# does that for all of it.


def _write(difference: _Difference, *, source: Source) -> list[Any]:
    """Write the difference and return the rows that are new."""
    _delete(Membership, (row.pk for row in difference.left))
    _delete(Group, (row.pk for row in difference.deleted))
    moved = [*difference.changed, *difference.kept]
    for batch in _batches(row.pk for row in moved):
        # Two groups may have changed places: no path is free before all have left theirs.
        Group._base_manager.filter(pk__in=batch).update(
            path=Concat(Constant("/"), Cast("pk", CharField()))
        )
    Group._base_manager.bulk_update(
        moved, ["path", "gitlab_id", "parent", "source", "gone_at"], batch_size=BATCH_ROWS
    )
    groups = Group._base_manager.bulk_create(difference.added, batch_size=BATCH_ROWS)
    ids = dict(Group.objects.values_list("path", "pk"))
    members = Membership._base_manager.bulk_create(
        [
            Membership(group_id=ids[path], user_ref=user_ref, source=source)
            for path, user_ref in difference.joined
        ],
        batch_size=BATCH_ROWS,
    )
    return [*groups, *members]


def _delete(model: type[Any], ids: Iterable[int]) -> None:
    for batch in _batches(ids):
        model._base_manager.filter(pk__in=batch).delete()


def _name_users(directory: Directory) -> None:
    """Keep the names of users for people who read pages; those of nobody are forgotten."""
    names = {m.user_ref: m.username for group in directory for m in group.members if m.username}
    known = dict(GitLabUser.objects.values_list("user_ref", "username"))
    changed = [
        GitLabUser(user_ref=user_ref, username=username)
        for user_ref, username in names.items()
        if known.get(user_ref) != username
    ]
    GitLabUser.objects.bulk_create(
        changed,
        batch_size=BATCH_ROWS,
        update_conflicts=True,
        unique_fields=["user_ref"],
        update_fields=["username"],
    )
    memberships = Membership.objects.filter(user_ref=OuterRef("user_ref"))
    GitLabUser.objects.exclude(Exists(memberships)).delete()


def _batches(values: Iterable[Value]) -> Iterator[list[Value]]:
    values = iter(values)
    while batch := list(islice(values, BATCH_ROWS)):
        yield batch
