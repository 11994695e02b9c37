"""ConfigChange: who changed what of the configuration, and when. Rows are only ever added.

A change is written in the transaction that makes it (`models_registry.configuration`), so the
history holds every change and nothing else; `features.history` builds the configuration of a past
day from it. Of a secret it keeps only whether there was one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

from models_registry.fields import EncryptedTextField

Facts = dict[str, Any]

OURSELVES = "Enclave"
# The row that says since when changes are written down; a migration makes it.
BEGINNING = "history"
BATCH_ROWS = 1_000

_actor: ContextVar[Callable[[], str]] = ContextVar("actor", default=lambda: OURSELVES)


@contextmanager
def made_by(actor: str | Callable[[], str]) -> Iterator[None]:
    """Say who makes the changes inside; a callable is asked only if there is one."""
    token = _actor.set(actor if callable(actor) else lambda: actor)
    try:
        yield
    finally:
        _actor.reset(token)


def current_actor() -> str:
    """Return who makes changes now."""
    return _actor.get()()[:150]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What happened to one thing."""

    kind: str
    row_id: int
    before: Facts | None
    after: Facts | None


class ConfigChange(models.Model):
    """One change of one thing. `before` is empty where it was new, `after` where it is gone.

    Shape: the row's columns by name. Of members, `row_id` is the group, and `before` and `after`
    hold `{"members": [...]}`: those who left and those who came.
    """

    version = models.PositiveBigIntegerField()
    at = models.DateTimeField(db_index=True)
    actor = models.CharField("who", max_length=150)
    kind = models.CharField(max_length=50)
    row_id = models.PositiveBigIntegerField()
    before = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    after = models.JSONField(null=True, encoder=DjangoJSONEncoder)

    class Meta:
        verbose_name = "change of configuration"
        verbose_name_plural = "changes of configuration"
        indexes = (models.Index(fields=["kind", "row_id"], name="change_of_row"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.row_id} by {self.actor}"

    # Factories

    @classmethod
    def write(cls, changes: Iterable[Change], *, version: int) -> None:
        """Add what changed, in the transaction of the change."""
        at, actor = timezone.now(), current_actor()
        rows = [
            ConfigChange(
                version=version,
                at=at,
                actor=actor,
                kind=change.kind,
                row_id=change.row_id,
                before=change.before,
                after=change.after,
            )
            for change in changes
        ]
        ConfigChange.objects.bulk_create(rows, batch_size=BATCH_ROWS)

    # Queries

    @classmethod
    def begins_at(cls) -> datetime | None:
        """Return since when every change is written down; None if nothing ever was."""
        return cls.objects.order_by("pk").values_list("at", flat=True).first()


def facts_of(row: models.Model, *, leave_out: tuple[str, ...] = ()) -> Facts:
    """Return the columns that an administrator decides, as JSON holds them."""
    return {
        field.name: _plain(field, getattr(row, field.attname))
        for field in row._meta.concrete_fields
        if not (field.primary_key or field.name in leave_out or _is_automatic(field))
    }


def _is_automatic(field: Any) -> bool:
    return bool(getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False))


def _plain(field: Any, value: Any) -> Any:
    if isinstance(field, EncryptedTextField):
        return bool(value)
    return value.isoformat() if isinstance(value, (date, datetime)) else value
