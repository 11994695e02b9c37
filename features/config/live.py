"""What is live, in the words of a document: rows by name, and what each says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from features import catalog
from features.config.document import MODEL_COLUMNS, STORED, Document, Facts, Section
from features.models import FeatureRule, Group, Source
from models_registry.fields import CannotDecrypt, clear_text
from models_registry.models import SelfHostedModel
from models_registry.models import State as ModelState


@dataclass(frozen=True, slots=True)
class Secret:
    """A key that can be compared and never be seen; `text` of None cannot be known here."""

    text: str | None = field(repr=False)

    def __str__(self) -> str:
        return "none" if self.text == "" else STORED


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """The rows: models by name, groups by path, rules by group path (None) and feature."""

    models: dict[str, SelfHostedModel]
    groups: dict[str, Group]
    rules: dict[tuple[str | None, str], FeatureRule]

    @classmethod
    def load(cls) -> Live:
        """Return what the tables hold now: three queries."""
        rules = FeatureRule.objects.select_related("group", "model")
        return cls(
            models={row.name: row for row in SelfHostedModel.objects.order_by("name")},
            groups={row.path: row for row in Group.objects.select_related("parent")},
            rules={
                (row.group.path if row.group else None, row.feature): row
                for row in rules
                if row.feature in catalog.FEATURES
            },
        )

    def row(self, kind: str, key: Any) -> Any:
        """Return the row that a difference is about."""
        return {"model": self.models, "group": self.groups, "rule": self.rules}[kind][key]  # type: ignore[index]  # by kind

    def is_for_review(self, name: str) -> bool:
        """Test whether calls of GitLab brought a model, so that a file does not remove it."""
        return bool(self.models[name].state == ModelState.DISCOVERED)

    def is_from_elsewhere(self, path: str) -> bool:
        """Test whether GitLab or a file of members brought a group: it is changed there."""
        return bool(self.groups[path].source != Source.HAND)


def model_facts(row: SelfHostedModel) -> Facts:
    """Return what a model says; the key as something that cannot be seen."""
    try:
        secret = Secret(clear_text(row.api_key))
    except CannotDecrypt:
        secret = Secret(None)
    return {"api_key": secret, **{column: getattr(row, column) for column in MODEL_COLUMNS}}


def group_facts(row: Group) -> Facts:
    """Return what a group says."""
    return {"gitlab_id": row.gitlab_id, "parent": row.parent.path if row.parent else None}


def rule_facts(row: FeatureRule) -> Facts:
    """Return what a rule says."""
    return {
        "state": row.state,
        "locked": row.is_locked,
        "model": row.model.name if row.model else None,
    }


def export() -> Document:
    """Return the live configuration as a document.

    Groups that GitLab or a file brought are in it where a rule stands on them; members are not, and
    neither are models that wait for review.
    """
    live = Live.load()
    used = {row.model.name for row in live.rules.values() if row.model}
    ruled = {path for path, _ in live.rules}
    models = {
        name: {**model_facts(row), "api_key": STORED if row.api_key else ""}
        for name, row in live.models.items()
        if name in used or not live.is_for_review(name)
    }
    groups = {
        path: group_facts(row)
        for path, row in live.groups.items()
        if path in ruled or not live.is_from_elsewhere(path)
    }
    parents = {facts["parent"] for facts in groups.values()} - {None, *groups}
    groups |= {path: group_facts(live.groups[path]) for path in parents}
    return Document(
        models=Section(entries=models),
        groups=Section(entries=groups),
        rules=Section(entries={key: rule_facts(row) for key, row in live.rules.items()}),
    )
