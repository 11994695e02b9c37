"""The configuration of a past day, and what changed since: read from the history of changes.

The history is replayed from its beginning: it holds every change in the order of the versions
(`models_registry.changes`), so what comes out is what the request path decided by then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from django.utils import timezone

from features import catalog
from features.errors import NoHistory
from features.models import Group
from features.snapshot import KeyEntry, Rule, Snapshot, gently, group_entries, model_entry
from models_registry.adoption import PREFERENCE, Address
from models_registry.changes import BEGINNING, ConfigChange, Facts
from models_registry.models import ModelRevision, SelfHostedModel

INSTANCE = "Whole instance"


def snapshot_at(moment: datetime) -> Snapshot:
    """Return the configuration as it was at a moment; API keys without what proves them.

    Raises:
        NoHistory: changes were not written down yet, or the moment has not come.
    """
    begins_at = ConfigChange.begins_at()
    if begins_at is None or moment < begins_at:
        since = f" only since {begins_at:%Y-%m-%d %H:%M} UTC" if begins_at else " not yet"
        raise NoHistory(f"Changes are on record{since}; of the time before nothing is known.")
    if moment > timezone.now():
        raise NoHistory("That moment has not come yet.")
    return _replay(moment).as_snapshot()


class _Replay:
    """The rows as they stood after the changes read so far."""

    def __init__(self) -> None:
        self.version = 0
        self.rows: dict[str, dict[int, Facts]] = defaultdict(dict)
        self.members: dict[int, set[str]] = defaultdict(set)

    def apply(
        self, version: int, kind: str, row_id: int, before: Facts | None, after: Facts | None
    ) -> None:
        """Go one change further."""
        self.version = version
        if kind == "membership":
            self.members[row_id] -= set((before or {})["members"])
            self.members[row_id] |= set((after or {})["members"])
        elif after is None:
            self.rows[kind].pop(row_id, None)
        else:
            self.rows[kind][row_id] = after

    def as_snapshot(self) -> Snapshot:
        """Return the rows as the request path would have seen them."""
        models = self._models()
        groups = group_entries(
            [
                (pk, row["gitlab_id"], row["path"], row["parent"])
                for pk, row in self.rows["group"].items()
            ]
        )
        return Snapshot(
            version=self.version,
            models=MappingProxyType({entry.model_id: entry for _, entry in models}),
            named=MappingProxyType(dict(reversed(models))),
            groups=MappingProxyType(groups),
            by_gitlab_id=MappingProxyType(
                {g.gitlab_id: g for g in groups.values() if g.gitlab_id is not None}
            ),
            members=MappingProxyType(self._groups_by_member()),
            rules=MappingProxyType(
                {
                    (row["group"], row["feature"]): Rule(
                        state=row["state"], is_locked=row["is_locked"], model_id=row["model"]
                    )
                    for row in self.rows["featurerule"].values()
                }
            ),
            api_keys=MappingProxyType(
                {row["prefix"]: _key_entry(pk, row) for pk, row in self.rows["apikey"].items()}
            ),
            has_vendor_route=any(row["is_on"] for row in self.rows["vendorroute"].values()),
        )

    def _models(self) -> list[tuple[Address, Any]]:
        rows = sorted(
            self.rows["selfhostedmodel"].items(),
            key=lambda item: (PREFERENCE.index(item[1]["state"]), item[0]),
        )
        revisions = ModelRevision.objects.in_bulk({row["current"] for _, row in rows})
        return [
            (
                Address.of(
                    family=row["family"], endpoint=row["endpoint"], identifier=row["identifier"]
                ),
                model_entry(pk, row["name"], row["state"], revisions.get(row["current"])),
            )
            for pk, row in rows
        ]

    def _groups_by_member(self) -> dict[str, tuple[int, ...]]:
        groups: dict[str, list[int]] = defaultdict(list)
        for group_id, members in self.members.items():
            for user_ref in members:
                groups[user_ref].append(group_id)
        return {user_ref: tuple(sorted(ids)) for user_ref, ids in groups.items()}


def _replay(moment: datetime) -> _Replay:
    replay = _Replay()
    changes = ConfigChange.objects.filter(at__lte=moment).exclude(kind=BEGINNING).order_by("pk")
    columns = changes.values_list("version", "kind", "row_id", "before", "after")
    for change in gently(columns.iterator(2_000)):
        replay.apply(*change)
    return replay


def _key_entry(pk: int, row: Facts) -> KeyEntry:
    expires_at = row["expires_at"]
    return KeyEntry(
        key_id=pk,
        name=row["name"],
        digest="",
        group_id=row["group"],
        is_active=row["is_active"],
        expires_at=datetime.fromisoformat(expires_at) if expires_at else None,
        may_explain=row.get("may_explain", False),
    )


# What a change says to a person


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """A change in words: what it is about, and what became of it."""

    subject: str
    happened: str


KINDS = {
    "gitlabaccess": "Access to GitLab's groups",
    BEGINNING: "History",
    "apikey": "API key",
    "featurerule": "Rule",
    "group": "Group",
    "membership": "Members",
    "selfhostedmodel": "Model",
    "vendorroute": "Vendor route",
}
# The columns that the subject names already.
IN_SUBJECT = {
    "apikey": ("name",),
    "featurerule": ("group", "feature"),
    "group": ("path",),
    "selfhostedmodel": ("name",),
}
COLUMNS = {"current": "revision", "gitlab_id": "GitLab id", "gone_at": "gone since"}
MEMBERS_SHOWN = 5


def describe(changes: Sequence[ConfigChange]) -> list[Described]:
    """Return the changes in words, with the names that groups and models have or last had."""
    names = _names(changes)
    return [
        Described(
            subject=f"{KINDS.get(change.kind, change.kind)} {_subject(change, names)}".strip(),
            happened=_happened(change, names),
        )
        for change in changes
    ]


Names = Mapping[tuple[str, int], str]
# The columns that hold another row's id, and the kind of that row.
REFERENCES = {"group": "group", "parent": "group", "model": "selfhostedmodel"}


def _names(changes: Iterable[ConfigChange]) -> Names:
    """Return the names of all groups and models that the changes speak of."""
    wanted: dict[str, set[int]] = {"group": set(), "selfhostedmodel": set()}
    for change in changes:
        if change.kind == "membership":
            wanted["group"].add(change.row_id)
        for facts in (change.before, change.after):
            for column, kind in REFERENCES.items():
                if facts and facts.get(column):
                    wanted[kind].add(facts[column])
    groups = Group.objects.filter(pk__in=wanted["group"]).values_list("pk", "path")
    models = SelfHostedModel.objects.filter(pk__in=wanted["selfhostedmodel"])
    names = {("group", pk): path for pk, path in groups}
    names |= {("selfhostedmodel", pk): name for pk, name in models.values_list("pk", "name")}
    gone = {(kind, pk) for kind, ids in wanted.items() for pk in ids} - names.keys()
    if gone:
        lost = ConfigChange.objects.filter(
            kind__in=wanted, row_id__in={pk for _, pk in gone}, after__isnull=True
        )
        names |= {
            (
                row.kind,
                row.row_id,
            ): f"{row.before['path' if row.kind == 'group' else 'name']} (gone)"
            for row in lost
            if row.before
        }
    return names


def _subject(change: ConfigChange, names: Names) -> str:
    facts = change.after or change.before or {}
    if change.kind == "membership":
        return _quoted(names.get(("group", change.row_id), f"#{change.row_id}"))
    if change.kind == "featurerule":
        feature = catalog.FEATURES.get(facts["feature"])
        return f"{_place(facts['group'], names)}, {feature.label if feature else facts['feature']}"
    name = facts.get("path") or facts.get("name")
    return _quoted(name) if name else ""


def _place(group_id: int | None, names: Names) -> str:
    return INSTANCE if group_id is None else _quoted(names.get(("group", group_id), f"#{group_id}"))


def _quoted(name: str) -> str:
    return f"'{name}'"


def _happened(change: ConfigChange, names: Names) -> str:
    if change.kind == BEGINNING:
        return "changes are written down from here on"
    before, after = change.before, change.after
    if change.kind == "membership":
        said = [_people("left", before), _people("came", after)]
        return "; ".join(filter(None, said))
    if before is None:
        return "added: " + _listed(change.kind, after or {}, names)
    if after is None:
        return "removed: " + _listed(change.kind, before, names)
    # Sorted, for PostgreSQL keeps no order of columns.
    columns = sorted(name for name in {**before, **after} if before.get(name) != after.get(name))
    return "; ".join(
        f"{_column(name)}: {_value(name, before.get(name), names)}"
        f" → {_value(name, after.get(name), names)}"
        for name in columns
    )


def _people(verb: str, facts: Facts | None) -> str:
    members = (facts or {}).get("members", [])
    shown = ", ".join(members[:MEMBERS_SHOWN]) + ", …" * (len(members) > MEMBERS_SHOWN)
    return f"{len(members)} {verb} ({shown})" if members else ""


def _listed(kind: str, facts: Facts, names: Names) -> str:
    said = (
        (name, value)
        for name, value in sorted(facts.items())
        if value not in (None, "", False) and name not in IN_SUBJECT.get(kind, ())
    )
    return ", ".join(f"{_column(name)} {_value(name, value, names)}" for name, value in said)


def _column(name: str) -> str:
    return COLUMNS.get(name, name.replace("_", " ").removeprefix("is "))


def _value(name: str, value: Any, names: Names) -> str:
    if name in REFERENCES and value is not None:
        return _quoted(names.get((REFERENCES[name], value), f"#{value}"))
    if name == "api_key":
        return "stored" if value else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in (None, "") else str(value)
