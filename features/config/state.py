"""AppliedConfig: the documents that were applied, to tell later what has drifted from them."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from models_registry import changes

KEPT = 20


class AppliedConfig(models.Model):
    """A document as it was applied: without comments, with references instead of keys."""

    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField("who", max_length=150)
    name = models.CharField(max_length=255)
    document = models.TextField()

    class Meta:
        verbose_name = "applied configuration"

    def __str__(self) -> str:
        return f"{self.name}, {self.at:%Y-%m-%d %H:%M}"

    # Factories

    @classmethod
    def keep(cls, document: str, *, name: str) -> AppliedConfig:
        """Return the row for a document that was just applied; old ones are forgotten."""
        row = cls.objects.create(actor=changes.current_actor(), name=name[:255], document=document)
        kept = cls.objects.order_by("-pk").values_list("pk", flat=True)[:KEPT]
        cls.objects.exclude(pk__in=list(kept)).delete()
        return row

    # Queries

    @classmethod
    def last(cls) -> AppliedConfig | None:
        """Return what was applied last."""
        return cls.objects.order_by("-pk").first()
