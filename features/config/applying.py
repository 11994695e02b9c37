"""Making the live configuration say what a document says: all of it at once, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from features import history
from features.config import document
from features.config.document import MODEL_COLUMNS, Document
from features.config.live import Live
from features.config.plan import Difference, differences
from features.config.state import AppliedConfig
from features.errors import BadConfigFile
from features.models import FeatureRule, Group
from models_registry.changes import ConfigChange
from models_registry.configuration import recorded
from models_registry.models import SelfHostedModel

CHANGES_READ = 1_000


def apply(wanted: Document, *, name: str) -> list[Difference]:
    """Write what differs, in one transaction, and return it.

    Raises:
        BadConfigFile: it cannot be, with every place; nothing was changed.
    """
    found = differences(wanted)
    if not found:
        AppliedConfig.keep(document.write(wanted), name=name)
        return []
    writing: list[_Writing] = []

    def find() -> list[Any]:
        # Again, now that nobody else can change anything.
        live = Live.load()
        writing.append(_Writing(differences(wanted, live), live))
        return writing[0].rows()

    with recorded(find) as made:
        made += writing[0].write()
        AppliedConfig.keep(document.write(wanted), name=name)
    return writing[0].found


class _Writing:
    """Writes differences, in an order in which nothing refers to what is not there."""

    def __init__(self, found: list[Difference], live: Live) -> None:
        self.found = found
        self._live = live
        self._made: list[Any] = []

    def rows(self) -> list[Any]:
        """Return the rows that will be changed or deleted."""
        return [self._row(one) for one in self.found if one.before is not None]

    def write(self) -> list[Any]:
        """Return the rows that are new.

        Raises:
            BadConfigFile: a group cannot be removed.
        """
        _delete(FeatureRule, [self._row(one) for one in self._of("rule", "-")])
        for one in self._of("model", "+~"):
            self._model(one)
        self._groups()
        for one in self._of("rule", "+~"):
            self._rule(one)
        _delete(SelfHostedModel, [self._row(one) for one in self._of("model", "-")])
        return self._made

    def _row(self, one: Difference) -> Any:
        return self._live.row(one.kind, one.key)

    def _of(self, kind: str, signs: str) -> list[Difference]:
        return [one for one in self.found if one.kind == kind and one.sign in signs]

    def _model(self, one: Difference) -> None:
        after = one.after or {}
        if one.before is None:
            self._live.models[one.key] = SelfHostedModel(name=one.key)
            self._made.append(self._live.models[one.key])
        row = self._row(one)
        for column in MODEL_COLUMNS:
            setattr(row, column, after[column])
        if "api_key" in one.columns:
            row.api_key = after["api_key"].text or ""
        row.write()

    def _groups(self) -> None:
        removed = [self._row(one) for one in self._of("group", "-")]
        changed = [self._row(one) for one in self._of("group", "~")]
        for group in removed:
            _refuse_use(group, removed)
        # Two groups may have changed ids or places: none is free before all have left theirs.
        pks = [group.pk for group in (*changed, *removed)]
        Group._base_manager.filter(pk__in=pks).update(gitlab_id=None, parent=None)
        _delete(Group, removed)
        added = [Group(path=one.key) for one in self._of("group", "+")]
        self._made += Group._base_manager.bulk_create(added)
        self._live.groups.update({group.path: group for group in added})
        for one in self._of("group", "+~"):
            after = one.after or {}
            row, parent = self._row(one), after["parent"]
            row.gitlab_id = after["gitlab_id"]
            row.parent = self._live.groups[parent] if parent is not None else None
            row.write()

    def _rule(self, one: Difference) -> None:
        after = one.after or {}
        path, feature = one.key
        if one.before is None:
            group = self._live.groups[path] if path is not None else None
            self._live.rules[one.key] = FeatureRule(group=group, feature=feature)
            self._made.append(self._live.rules[one.key])
        row, model = self._row(one), after["model"]
        row.state, row.is_locked = after["state"], after["locked"]
        row.model = self._live.models[model] if model is not None else None
        row.write()


def _delete(model: Any, rows: list[Any]) -> None:
    model._base_manager.filter(pk__in=[row.pk for row in rows]).delete()


def _refuse_use(group: Group, removed: list[Group]) -> None:
    """Pass if nothing would go with the group that no file can bring back.

    Raises:
        BadConfigFile: members, API keys or groups below stand on it.
    """
    counts = {
        "members": group.memberships.count(),
        "API keys": group.api_keys.count(),
        "groups below it": group.children.exclude(pk__in=[row.pk for row in removed]).count(),
    }
    used = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    if used:
        raise BadConfigFile([f"group '{group.path}' cannot be removed; it still has {used}"])


# Drift


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """Something that is not as the last applied document says, and who made it so, when."""

    difference: Difference
    author: str


def drift(applied: AppliedConfig) -> list[Drift]:
    """Return what is not as a document says that was applied.

    Raises:
        BadConfigFile: the document speaks of what there is not any more.
    """
    found = differences(document.read(applied.document), has_secrets=False)
    authors = _authors(applied) if found else {}
    return [Drift(difference=one, author=authors.get(one.subject, "")) for one in found]


def _authors(applied: AppliedConfig) -> dict[str, str]:
    """Return who changed what last since a document was applied, by the subject of the change."""
    since = ConfigChange.objects.filter(at__gt=applied.at).exclude(kind="membership")
    rows = list(since.order_by("-pk")[:CHANGES_READ])
    described = zip(rows, history.describe(rows), strict=True)
    return {
        words.subject: f"{row.actor}, {row.at:%Y-%m-%d %H:%M} UTC"
        for row, words in reversed(list(described))
    }
