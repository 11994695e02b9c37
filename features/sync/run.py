"""One sync with GitLab: read everything, check it, take it over; or leave everything as it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.conf import settings

from features.errors import GitLabNonsense, SyncError, SyncNotConfigured
from features.models import Source
from features.sync import directory, swap
from features.sync.gitlab import GitLabApi
from features.sync.state import GitLabAccess, LostRun, Progress, SyncPage, SyncRun
from models_registry import changes
from models_registry.fields import CannotDecrypt, clear_text

logger = logging.getLogger(__name__)

PAGES_MAX = 10_000
MISSED_MAX = 200


def perform(
    *,
    now: datetime,
    wait: Callable[[float], None] = time.sleep,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> SyncRun | None:
    """Do the run that waits for a process, and return it; None if none does."""
    run = SyncRun.claim(now=now)
    if run is None:
        return None
    try:
        with changes.made_by(f"sync with GitLab, asked by {run.asked_by}"):
            result = _take_over(_Reading(run, _api(wait), tell, now=now))
        run.succeed(result.as_dict())
        logger.info("sync.succeeded", extra=result.as_dict())
    except SyncError as error:
        run.fail(error)
        logger.warning("sync.failed", extra={"error_code": error.code})
    except LostRun:
        logger.warning("sync.stopped")
    except Exception:
        run.fail(SyncError("A fault of Enclave; its log holds the details."))
        raise
    return run


def _api(wait: Callable[[float], None]) -> GitLabApi:
    """Return GitLab, as it is configured.

    Raises:
        SyncNotConfigured: it is not.
    """
    if not settings.GATEWAY_GITLAB_URL:
        raise SyncNotConfigured("GATEWAY_GITLAB_URL is not set.")
    try:
        token = clear_text(GitLabAccess.get().token)
    except CannotDecrypt:
        raise SyncNotConfigured(
            "The token cannot be decrypted with GATEWAY_ENCRYPTION_KEYS; enter it again."
        ) from None
    if not token:
        raise SyncNotConfigured("There is no token to read groups with.")
    return GitLabApi(settings.GATEWAY_GITLAB_URL, token, wait=wait)


def _take_over(reading: _Reading) -> swap.Result:
    groups = reading.groups()
    members = reading.members(groups)
    found = directory.from_gitlab(groups, members)
    # A list that is read while it changes may miss a group at the edge of a page.
    missing = swap.missing(found, source=Source.GITLAB)
    if len(missing) <= MISSED_MAX:
        groups += filter(None, map(reading.api.group, missing))
        members = reading.members(groups)
    reading.enter("Taking over")
    return swap.take_over(
        directory.from_gitlab(groups, members),
        source=Source.GITLAB,
        accepts_loss=reading.run.accepts_loss,
    )


class _Reading:
    """What was read so far; every page is kept, so that a run that breaks off loses none."""

    def __init__(
        self, run: SyncRun, api: GitLabApi, tell: Callable[[Progress], None], *, now: datetime
    ) -> None:
        self.run = run
        self.api = api
        self._tell = tell
        self._kept = SyncPage.kept(now=now)
        self._progress = Progress()

    def groups(self) -> list[dict[str, Any]]:
        """Return all groups.

        Raises:
            SyncError: GitLab did not say.
            LostRun: the run is not ours any more.
        """
        self.enter("Reading groups")
        groups: dict[int, dict[str, Any]] = {}
        page: int | None = 1
        while page is not None:
            key = f"groups {page}"
            if key not in self._kept:
                found = self.api.groups(page)
                self._keep(key, [{"next": found.next_page, "total": found.total}, *found.rows])
            about, *rows = self._kept[key] or []
            groups |= {row["id"]: row for row in rows}
            self._note(groups_found=len(groups), groups_total=about["total"])
            page = about["next"]
            if page is not None and page > PAGES_MAX:
                raise GitLabNonsense("GitLab's list of groups has no end.")
        if not groups:
            raise GitLabNonsense("GitLab names no group at all; the token may lack rights.")
        return list(groups.values())

    def members(self, groups: list[dict[str, Any]]) -> dict[int, list[Any] | None]:
        """Return the members of each group, None where it is gone by now.

        Raises:
            SyncError: GitLab did not say.
            LostRun: the run is not ours any more.
        """
        self.enter("Reading members")
        self._progress = replace(self._progress, groups_total=len(groups), members_found=0)
        members: dict[int, list[Any] | None] = {}
        for number, group in enumerate(groups, start=1):
            key = f"members {group['id']}"
            is_new = key not in self._kept
            if is_new:
                self._keep(key, self.api.members(group["id"]))
            members[group["id"]] = self._kept[key]
            total = self._progress.members_found + len(self._kept[key] or ())
            self._progress = replace(self._progress, groups_read=number, members_found=total)
            if is_new:
                self._note()
        self._note()
        return members

    def enter(self, stage: str) -> None:
        """Say what is done now."""
        self._note(stage=stage)

    def _note(self, **facts: Any) -> None:
        self._progress = replace(self._progress, **facts)
        self.run.note(self._progress)
        self._tell(self._progress)

    def _keep(self, key: str, rows: list[Any] | None) -> None:
        SyncPage.keep(key, rows)
        self._kept[key] = rows
