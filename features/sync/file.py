"""Groups and members from a file, for a GitLab that cannot be asked.

groups:
  - path: payments/core
    gitlab_id: 7            # as GitLab's headers name it; may be missing
    members:                # ids as GitLab's headers name users, numeric or global
      - 42
      - {id: 43, username: eve}
"""

from __future__ import annotations

from features import yaml_file
from features.errors import BadDirectory
from features.sync.directory import Directory, Member, NamedGroup, check
from features.yaml_file import BadFile, Entry

PATH_MAX = 255


def read(text: str) -> Directory:
    """Return the directory that a file holds.

    Raises:
        BadDirectory: with every place that is wrong, one on a line.
    """
    faults: list[str] = []
    groups: list[NamedGroup] = []
    try:
        root = yaml_file.read(text).mapping(("groups",))
        entries = root["groups"].sequence("a group") if "groups" in root else []
    except BadFile as fault:
        raise BadDirectory(str(fault)) from fault
    seen: dict[object, int] = {}
    for entry in entries:
        try:
            group = _group(entry)
            for value in (group.path, group.gitlab_id):
                if value is not None and seen.setdefault(value, entry.line) != entry.line:
                    raise entry.fault(f"has the same '{value}' as the one in line {seen[value]}")
            groups.append(group)
        except BadFile as fault:
            faults.append(str(fault))
    if faults:
        raise BadDirectory("\n".join(faults))
    if not groups:
        raise BadDirectory("The file names no group.")
    return check(tuple(groups))


def _group(entry: Entry) -> NamedGroup:
    values = entry.mapping(("path", "gitlab_id", "members"))
    if "path" not in values:
        raise entry.fault("has no path")
    path = values["path"].text(max_length=PATH_MAX).strip("/ ")
    if not path:
        raise values["path"].fault("is empty")
    people = values["members"].sequence("a member") if "members" in values else []
    members = {member.user_ref: member for member in map(_member, people)}
    return NamedGroup(
        path=path,
        gitlab_id=values["gitlab_id"].number() if "gitlab_id" in values else None,
        members=tuple(members.values()),
    )


def _member(entry: Entry) -> Member:
    if not entry.is_mapping:
        return Member(user_ref=entry.text(max_length=255))
    values = entry.mapping(("id", "username"))
    if "id" not in values:
        raise entry.fault("has no id")
    username = values["username"].text(max_length=255) if "username" in values else ""
    return Member(user_ref=values["id"].text(max_length=255), username=username)
