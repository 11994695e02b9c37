"""Configuration rows and the version that tells every process they changed.

Every way of changing a configuration row raises the version in the same transaction; each process
polls that one row (`features.snapshot`). No signals: the raising stands in the classes below.

The version is raised before the change, never after: its row lock makes changes of configuration
take turns, and two that take turns in the same order cannot deadlock.
"""

from __future__ import annotations

from typing import Any

from django.db import models, transaction


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


class ConfigurationQuerySet(models.QuerySet[Any]):
    """Bulk changes raise the version too."""

    def update(self, **kwargs: Any) -> int:
        with transaction.atomic():
            ConfigVersion.bump()
            return super().update(**kwargs)

    def delete(self) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            ConfigVersion.bump()
            return super().delete()

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> list[Any]:
        with transaction.atomic():
            ConfigVersion.bump()
            return super().bulk_create(objs, *args, **kwargs)


_Manager = models.Manager.from_queryset(ConfigurationQuerySet)


class ConfigurationManager(_Manager):  # type: ignore[type-arg]  # made at run time
    """The manager of configuration rows."""


class Configuration(models.Model):
    """A row that an administrator decides; changing it raises the version."""

    objects = ConfigurationManager()

    class Meta:
        abstract = True

    def save(self, **kwargs: Any) -> None:
        with transaction.atomic():
            ConfigVersion.bump()
            super().save(**kwargs)

    def delete(
        self, using: str | None = None, keep_parents: bool = False
    ) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            ConfigVersion.bump()
            return super().delete(using=using, keep_parents=keep_parents)
