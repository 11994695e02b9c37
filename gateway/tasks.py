"""Celery entry points, one line each."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from gateway import forwarding, syncing


@shared_task
def forward(record_ids: list[str], **_: object) -> None:
    """Forward records; see `gateway.forwarding`. The message carries ids and nothing else."""
    forwarding.forward([UUID(hex=record_id) for record_id in record_ids])


@shared_task
def sync_groups(**_: object) -> None:
    """Do the sync of groups that somebody asked for; see `gateway.syncing`."""
    syncing.perform()
