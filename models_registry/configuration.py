"""Configuration rows, the version that tells every process they changed, and their history.

Every way of changing a configuration row raises the version and writes the change down in the same
transaction; each process polls that one row (`features.snapshot`). No signals: both stand in the
classes below.

The version is raised before the change, never after: its row lock makes changes of configuration
take turns, and two that take turns in the same order cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, ClassVar

from django.db import models, transaction
from django.db.models.deletion import Collector

from models_registry.changes import BATCH_ROWS, Change, ConfigChange, Facts, facts_of


class ConfigVersion(models.Model):
    """One row, raised by every change of configuration."""

    number = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.number)

    # Mutators

    @classmethod
    def bump(cls) -> None:
        """Tell every process that the configuration changes; call first in the transaction."""
        row = cls.objects.filter(pk=1)
        if not row.update(number=models.F("number") + 1):
            cls.objects.get_or_create(pk=1)
            row.update(number=models.F("number") + 1)

    # Queries

    @classmethod
    def current(cls) -> int:
        """Return the version; 0 before the first change."""
        return cls.objects.filter(pk=1).values_list("number", flat=True).first() or 0


@contextmanager
def recorded(find: Callable[[], Iterable[Any]]) -> Iterator[list[Any]]:
    """Change configuration rows: all of what the block writes, or nothing, and its history with it.

    `find` returns the rows that the block will change or delete, asked for after the version is
    raised; rows that the block makes it adds to the list that it is given.
    """
    with transaction.atomic():
        ConfigVersion.bump()
        before = {(type(row), row.pk): row.facts() for row in find()}
        made: list[Any] = []
        yield made
        after = {(type(row), row.pk): row.facts() for row in _again(before)}
        after |= {(type(row), row.pk): row.facts() for row in made}
        ConfigChange.write(_changes(before, after), version=ConfigVersion.current())


Keys = Iterable[tuple[type[Any], int]]


def _again(keys: Keys) -> Iterator[Any]:
    """Yield the rows as they stand in the database now; those that are gone are not among them."""
    for model in dict.fromkeys(model for model, _ in keys):
        ids = (pk for of, pk in keys if of is model)
        while batch := list(islice(ids, BATCH_ROWS)):
            yield from model._base_manager.filter(pk__in=batch)


def _changes(
    before: dict[tuple[type[Any], int], Facts], after: dict[tuple[type[Any], int], Facts]
) -> Iterator[Change]:
    pairs: dict[type[Any], dict[int, tuple[Facts | None, Facts | None]]] = {}
    for model, pk in before | after:
        pairs.setdefault(model, {})[pk] = (before.get((model, pk)), after.get((model, pk)))
    for model, rows in pairs.items():
        yield from model.changes(rows)


class ConfigurationQuerySet(models.QuerySet[Any]):
    """Bulk changes raise the version and are written down too."""

    def update(self, **kwargs: Any) -> int:
        with recorded(lambda: list(self.all())):
            return super().update(**kwargs)

    def delete(self) -> tuple[int, dict[str, int]]:
        with recorded(lambda: _deleted_with(self.all())):
            return super().delete()

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> list[Any]:
        with recorded(list) as made:
            made += super().bulk_create(objs, *args, **kwargs)
            return made


_Manager = models.Manager.from_queryset(ConfigurationQuerySet)


class ConfigurationManager(_Manager):  # type: ignore[type-arg]  # made at run time
    """The manager of configuration rows."""


class Configuration(models.Model):
    """A row that an administrator decides; changing it raises the version."""

    objects = ConfigurationManager()

    class Meta:
        abstract = True

    UNRECORDED: ClassVar[tuple[str, ...]] = ()

    def save(self, **kwargs: Any) -> None:
        with recorded(lambda: self._stored()) as made:
            self.write(**kwargs)
            made.append(self)

    def write(self, **kwargs: Any) -> None:
        """Write the row and what belongs to it; `save` raises the version around it."""
        super().save(**kwargs)

    def delete(
        self, using: str | None = None, keep_parents: bool = False
    ) -> tuple[int, dict[str, int]]:
        with recorded(lambda: _deleted_with([self])):
            return super().delete(using=using, keep_parents=keep_parents)

    # History

    def facts(self) -> Facts:
        """Return what the history keeps of this row."""
        return facts_of(self, leave_out=self.UNRECORDED)

    @classmethod
    def changes(cls, rows: dict[int, tuple[Facts | None, Facts | None]]) -> Iterator[Change]:
        """Yield what the history keeps of rows, given by id with their facts before and after."""
        kind = str(cls._meta.model_name)
        for pk, (before, after) in rows.items():
            if before != after:
                yield Change(kind=kind, row_id=pk, before=before, after=after)

    def _stored(self) -> Iterable[Configuration]:
        """Return the row as the database has it, nothing if it is new."""
        return type(self)._base_manager.filter(pk=self.pk) if self.pk else ()


def _deleted_with(rows: Any) -> list[Configuration]:
    """Return these rows and the configuration rows that go with them.

    Raises:
        ProtectedError: one of them is still in use.
    """
    rows = list(rows)
    if not rows:
        return []
    collector = Collector(using="default")
    collector.collect(rows)
    found = [row for instances in collector.data.values() for row in instances]
    found += [row for queryset in collector.fast_deletes for row in queryset]
    return [row for row in found if isinstance(row, Configuration)]
