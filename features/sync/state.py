"""What the sync of groups keeps in the database: its token, its runs, and what a run read so far.

A run can be left and found again: its progress is a row, and the pages that it read outlive it, so
that the next run goes on where one broke off. One run is active at a time (`slot`); a process that
dies leaves its run to whoever comes after LEASE.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.core.validators import MinValueValidator
from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.utils import timezone

from features.errors import SyncError
from models_registry.changes import Change, ConfigChange
from models_registry.configuration import ConfigVersion
from models_registry.fields import EncryptedTextField

# Longer than the longest wait of a run for GitLab.
LEASE = timedelta(minutes=4)
# What a run read serves a later one for so long.
KEEP_PAGES = timedelta(hours=1)
RUNS_KEPT = 50
ACTIVE = 1


class GitLabAccess(models.Model):
    """One row: the token that groups are read with, and how often."""

    token = EncryptedTextField(blank=True)
    every_minutes = models.PositiveIntegerField(
        "sync every (minutes)",
        null=True,
        blank=True,
        validators=[MinValueValidator(5)],
        help_text="Empty: only when asked.",
    )

    class Meta:
        verbose_name = "access to GitLab's groups"
        verbose_name_plural = "access to GitLab's groups"

    def __str__(self) -> str:
        return "access to GitLab's groups"

    # Factories

    @classmethod
    def get(cls) -> GitLabAccess:
        """Return the row, unsaved before the first `decide`."""
        return cls.objects.filter(pk=1).first() or cls(pk=1)

    # Mutators

    def decide(self, *, every_minutes: int | None, token: str | None = None) -> None:
        """Change the token (None keeps it) and the interval, and write it down."""
        with transaction.atomic():
            ConfigVersion.bump()
            before = self._facts()
            self.every_minutes = every_minutes
            if token is not None:
                self.token = token
            self.save()
            change = Change(kind="gitlabaccess", row_id=1, before=before, after=self._facts())
            ConfigChange.write([change], version=ConfigVersion.current())

    def _facts(self) -> dict[str, Any]:
        return {"token": bool(self.token), "every_minutes": self.every_minutes}


class RunState(models.TextChoices):
    """Where a run is in its life; the last three are its end."""

    ASKED = "asked", "Waiting for a process"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is; a total of None is not known yet."""

    stage: str = ""
    groups_found: int = 0
    groups_total: int | None = None
    groups_read: int = 0
    members_found: int = 0


class LostRun(Exception):
    """The run was stopped, or another process took it over."""


class SyncRun(models.Model):
    """One sync with GitLab, from the wish to the result."""

    slot = models.PositiveSmallIntegerField(null=True, unique=True, editable=False)
    state = models.CharField(max_length=10, choices=RunState.choices, default=RunState.ASKED)
    asked_at = models.DateTimeField(default=timezone.now)
    asked_by = models.CharField(max_length=150)
    accepts_loss = models.BooleanField(default=False)
    owner = models.CharField(max_length=32, blank=True)
    seen_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True, db_index=True)
    stage = models.CharField(max_length=50, blank=True)
    groups_found = models.PositiveIntegerField(default=0)
    groups_total = models.PositiveIntegerField(null=True)
    groups_read = models.PositiveIntegerField(default=0)
    members_found = models.PositiveIntegerField(default=0)
    error_code = models.CharField(max_length=50, blank=True)
    error_detail = models.CharField(max_length=500, blank=True)
    result = models.JSONField(default=dict)

    class Meta:
        verbose_name = "sync of groups"
        verbose_name_plural = "syncs of groups"

    def __str__(self) -> str:
        return f"{self.asked_at:%Y-%m-%d %H:%M} {self.state}"

    # Factories

    @classmethod
    def ask(cls, *, by: str, accepts_loss: bool = False) -> SyncRun:
        """Return the active run, made now if there is none."""
        try:
            with transaction.atomic():
                return cls.objects.create(slot=ACTIVE, asked_by=by[:150], accepts_loss=accepts_loss)
        except IntegrityError:
            return cls.objects.filter(slot=ACTIVE).first() or cls.ask(
                by=by, accepts_loss=accepts_loss
            )

    @classmethod
    def claim(cls, *, now: datetime) -> SyncRun | None:
        """Return the active run, if it waits for a process; None if there is nothing to do."""
        owner = uuid4().hex
        is_free = Q(state=RunState.ASKED) | Q(seen_at__lt=now - LEASE)
        free = cls.objects.filter(is_free, slot=ACTIVE)
        if not free.update(owner=owner, state=RunState.RUNNING, seen_at=now):
            return None
        return cls.objects.get(slot=ACTIVE, owner=owner)

    # Queries

    @classmethod
    def last_good(cls) -> SyncRun | None:
        """Return the last run that took groups over."""
        return cls.objects.filter(state=RunState.SUCCEEDED).order_by("-ended_at").first()

    @classmethod
    def failing_since(cls) -> datetime | None:
        """Return when the first run failed after the last good one; None if none did."""
        good = cls.last_good()
        failed = cls.objects.filter(state=RunState.FAILED)
        if good is not None:
            failed = failed.filter(ended_at__gt=good.ended_at)
        return failed.order_by("ended_at").values_list("ended_at", flat=True).first()

    @classmethod
    def is_due(cls, *, now: datetime) -> bool:
        """Test whether the schedule asks for a run, or one that was asked for waits."""
        if cls.objects.filter(slot=ACTIVE).exists():
            waiting = Q(state=RunState.ASKED) | Q(seen_at__lt=now - LEASE)
            return cls.objects.filter(waiting, slot=ACTIVE).exists()
        every_minutes = GitLabAccess.get().every_minutes
        if not every_minutes:
            return False
        last = cls.objects.order_by("-asked_at").values_list("asked_at", flat=True).first()
        return last is None or last <= now - timedelta(minutes=every_minutes)

    # Mutators

    def note(self, progress: Progress) -> None:
        """Say how far it is.

        Raises:
            LostRun: it is not ours any more.
        """
        self._write(
            seen_at=timezone.now(),
            stage=progress.stage,
            groups_found=progress.groups_found,
            groups_total=progress.groups_total,
            groups_read=progress.groups_read,
            members_found=progress.members_found,
        )

    def succeed(self, result: dict[str, int]) -> None:
        """End well; what was read is not needed any more.

        Raises:
            LostRun: it is not ours any more.
        """
        self._end(RunState.SUCCEEDED, result=result)
        SyncPage.objects.all().delete()

    def fail(self, error: SyncError) -> None:
        """End without having changed anything.

        Raises:
            LostRun: it is not ours any more.
        """
        self._end(RunState.FAILED, error_code=error.code, error_detail=str(error)[:500])

    @classmethod
    def stop(cls) -> bool:
        """End the active run whoever has it; return whether there was one."""
        ended = cls.objects.filter(slot=ACTIVE).update(
            slot=None, state=RunState.STOPPED, ended_at=timezone.now()
        )
        return bool(ended)

    def _end(self, state: RunState, **columns: Any) -> None:
        self._write(slot=None, state=state, ended_at=timezone.now(), **columns)
        kept = SyncRun.objects.order_by("-pk").values_list("pk", flat=True)[:RUNS_KEPT]
        last = SyncRun.last_good()
        SyncRun.objects.filter(slot=None).exclude(pk__in=[*kept, last.pk if last else 0]).delete()

    def _write(self, **columns: Any) -> None:
        if not SyncRun.objects.filter(pk=self.pk, slot=ACTIVE, owner=self.owner).update(**columns):
            raise LostRun
        for name, value in columns.items():
            setattr(self, name, value)


class SyncPage(models.Model):
    """What GitLab answered to one question; `rows` is None where the group was gone by then."""

    key = models.CharField(max_length=100, unique=True)
    rows = models.JSONField(null=True)
    read_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.key

    @classmethod
    def keep(cls, key: str, rows: list[Any] | None) -> None:
        """Keep a page for this run and, should it break off, for the next."""
        cls.objects.update_or_create(key=key, defaults={"rows": rows, "read_at": timezone.now()})

    @classmethod
    def kept(cls, *, now: datetime) -> dict[str, list[Any] | None]:
        """Return the pages that are young enough to go on from; drop the others."""
        cls.objects.filter(read_at__lt=now - KEEP_PAGES).delete()
        return dict(cls.objects.values_list("key", "rows"))
