"""Connection tests as people start them: not too many, kept, and found again with the model.

What was tested is known by its digest, so that a test of a form counts for the model that is saved
from it, and no longer counts once the model is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import OuterRef, Q, QuerySet
from django.utils import timezone

from models_registry import connection_test, egress
from models_registry.connection_test import Step
from models_registry.errors import ModelMisconfigured
from models_registry.models import ModelCheck, ModelRevision, SelfHostedModel
from models_registry.providers.types import ModelConfig

PER_MINUTE = 10
MINUTE = timedelta(minutes=1)
# Tests of what was never saved, or is no more.
KEEP_STRAY = timedelta(days=30)


class TooManyChecks(Exception):
    """One person, or all for one model, started more tests than PER_MINUTE."""


def limit_rate(model: SelfHostedModel, *, by: str, now: datetime) -> None:
    """Pass if a person may start one more test of this model now.

    Raises:
        TooManyChecks: wait a minute.
    """
    lately = ModelCheck.objects.filter(started_at__gt=now - MINUTE)
    theirs = lately.filter(Q(by=by) | Q(digest=model.digest_as(model.name)))
    if theirs.count() >= PER_MINUTE:
        raise TooManyChecks


class Check:
    """A connection test of a model, saved or not."""

    def __init__(self, model: SelfHostedModel, *, by: str, now: datetime) -> None:
        """Write down that it begins.

        Raises:
            ModelMisconfigured: the model has a key that cannot be read any more.
        """
        self.model = model
        self._config = as_config(model)
        address = ""
        with suppress(ModelMisconfigured):
            address = egress.address_of(self._config.endpoint)
        self.row = ModelCheck.objects.create(
            digest=model.digest_as(model.name),
            address=address,
            by=by,
            started_at=now,
            since=now,
        )

    def steps(self) -> Iterator[Step]:
        """Yield the steps as they are taken; a forgotten /v1 is added to the model, unsaved."""
        if not connection.in_atomic_block:
            connection.close()  # a test may wait for a minute
        taken: list[Step] = []
        state = ModelCheck.State.STOPPED
        try:
            for step in connection_test.run(self._config):
                taken.append(step)
                if step.change == "endpoint" and step.state == connection_test.State.OK:
                    (self.model.endpoint,) = step.choices
                yield step
            is_failed = taken[-1].state == connection_test.State.FAILED
            state = ModelCheck.State.FAILED if is_failed else ModelCheck.State.PASSED
        finally:
            self._close(state, taken, now=timezone.now())

    def _close(self, state: ModelCheck.State, taken: list[Step], *, now: datetime) -> None:
        row = self.row
        row.digest = self.model.digest_as(self.model.name)
        before = last(row.digest)
        row.state = state
        row.since = before.since if before and before.state == state else now
        row.failed_step = taken[-1].name if state == ModelCheck.State.FAILED else ""
        row.steps = [step.as_dict() for step in taken]
        row.save()
        _forget_older(row, now=now)


def as_config(model: SelfHostedModel) -> ModelConfig:
    """Return what a call would be made with if the model were saved as it is.

    Raises:
        ModelMisconfigured: the key cannot be decrypted, or the family left the catalog.
    """
    columns = {column: getattr(model, column) for column in SelfHostedModel.COLUMNS}
    return ModelRevision(**columns, name=model.name, api_key=model.api_key).as_config()


def ended(digest: str | OuterRef) -> QuerySet[ModelCheck]:
    """Return the tests of a connection that came to their end, the last one first."""
    states = (ModelCheck.State.PASSED, ModelCheck.State.FAILED)
    return ModelCheck.objects.filter(digest=digest, state__in=states).order_by("-started_at")


def last(digest: str) -> ModelCheck | None:
    """Return the last test of a connection that came to its end."""
    return ended(digest).first()


def _forget_older(row: ModelCheck, *, now: datetime) -> None:
    """Delete the earlier tests of this connection, and old ones of connections that are no more."""
    current = SelfHostedModel.objects.exclude(current=None).values("current__digest")
    useless = Q(started_at__lt=now - KEEP_STRAY) & ~Q(digest__in=current)
    if row.state != ModelCheck.State.STOPPED:
        useless |= Q(digest=row.digest, started_at__lt=now - MINUTE)
    ModelCheck.objects.filter(useless).exclude(pk=row.pk).delete()
