"""Directory: groups and members as somebody else knows them, before they are taken over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from features.errors import BadDirectory, GitLabNonsense


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A user, by the id that calls name; `username` is for people, and may be unknown."""

    user_ref: str
    username: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedGroup:
    """A group by its path; `gitlab_id` is None where the source knows none."""

    path: str
    gitlab_id: int | None
    members: tuple[Member, ...] = ()


Directory = tuple[NamedGroup, ...]


def check(directory: Directory) -> Directory:
    """Return the directory if no two groups claim the same path or id.

    Raises:
        BadDirectory: two do.
    """
    for what, values in (
        ("path", [group.path for group in directory]),
        ("GitLab id", [group.gitlab_id for group in directory if group.gitlab_id is not None]),
    ):
        seen: set[Any] = set()
        for value in values:
            if value in seen:
                raise BadDirectory(f"Two groups have the {what} '{value}'.")
            seen.add(value)
    return directory


def from_gitlab(groups: Iterable[dict[str, Any]], members: dict[int, Any]) -> Directory:
    """Return the directory from GitLab's rows; a group whose members are None was gone by then.

    Raises:
        GitLabNonsense: the rows contradict each other: a circle, or a child outside its parent.
        BadDirectory: two groups claim the same path.
    """
    by_id = {row["id"]: row for row in groups}
    for row in by_id.values():
        parent = by_id.get(row["parent_id"])
        if parent is not None and not row["full_path"].startswith(f"{parent['full_path']}/"):
            raise GitLabNonsense(
                f"GitLab says that group {row['id']} is below group {parent['id']},"
                " but their paths say otherwise."
            )
    return check(
        tuple(
            NamedGroup(
                path=row["full_path"],
                gitlab_id=row["id"],
                members=tuple(
                    Member(user_ref=ref, username=username) for ref, username in members[row["id"]]
                ),
            )
            for row in by_id.values()
            if members[row["id"]] is not None
        )
    )
