"""The configuration as the request path sees it: one immutable snapshot per process, no queries.

A process that serves calls says `start_polling()` once at its start; from then on a background
thread compares one number in the database every GATEWAY_SNAPSHOT_POLL_S and loads everything anew
when it changed. If the database is away, the last good snapshot stays. Without polling (tests,
management commands) the snapshot changes only when `refresh()` or `catch_up()` is called.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import TypeVar

from django.conf import settings
from django.db import DatabaseError, connection

from features.models import ApiKey, FeatureRule, Group, Membership, VendorRoute
from models_registry.adoption import PREFERENCE, Address
from models_registry.configuration import ConfigVersion
from models_registry.errors import ModelMisconfigured
from models_registry.models import ModelRevision, SelfHostedModel
from models_registry.providers.types import ModelConfig

logger = logging.getLogger(__name__)

Row = TypeVar("Row")

CHUNK_ROWS = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """A model and, if it can be called, its current revision; else `fault` says why not."""

    model_id: int
    name: str
    state: str
    config: ModelConfig | None
    fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupEntry:
    """A group and its place in the tree; `lineage` goes from the root to the group itself."""

    group_id: int
    gitlab_id: int | None
    path: str
    lineage: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What a group, or the instance, says about a feature."""

    state: str
    is_locked: bool
    model_id: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyEntry:
    """An API key, as far as it is needed to check one."""

    key_id: int
    name: str
    digest: str
    group_id: int | None
    is_active: bool
    expires_at: datetime | None
    may_explain: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The configuration at one version. `has_vendor_route`: it is set, and switched on.

    Shape: `named` finds a model by what GitLab says of it; `rules` are found by (group id or None
    for the instance, feature slug), `members` by the GitLab user's numeric or global id, `api_keys`
    by their visible prefix.
    """

    version: int
    models: Mapping[int, ModelEntry]
    named: Mapping[Address, ModelEntry]
    groups: Mapping[int, GroupEntry]
    by_gitlab_id: Mapping[int, GroupEntry]
    members: Mapping[str, tuple[int, ...]]
    rules: Mapping[tuple[int | None, str], Rule]
    api_keys: Mapping[str, KeyEntry]
    has_vendor_route: bool = False


# Loading


def load() -> Snapshot:
    """Return the configuration as it stands in the database now: one SELECT per table.

    Raises:
        DatabaseError: the database is away.
    """
    with one_view():
        version = ConfigVersion.current()
        models = _models()
        groups = _groups()
        return Snapshot(
            version=version,
            models=MappingProxyType({entry.model_id: entry for _, entry in models}),
            named=MappingProxyType(dict(reversed(models))),  # the first twin wins
            groups=MappingProxyType(groups),
            by_gitlab_id=MappingProxyType(
                {g.gitlab_id: g for g in groups.values() if g.gitlab_id is not None}
            ),
            members=MappingProxyType(_members()),
            rules=MappingProxyType(_rules()),
            api_keys=MappingProxyType(_api_keys()),
            has_vendor_route=_has_vendor_route(),
        )


@contextmanager
def one_view() -> Iterator[None]:
    """Let every SELECT inside see the same instant, without keeping a writer out.

    Not `atomic()`: on SQLite that begins with IMMEDIATE and would hold up the audit log, on
    PostgreSQL each of its statements may see a different instant.
    """
    if connection.in_atomic_block:
        yield
        return
    is_postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        cursor.execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if is_postgresql else "BEGIN"
        )
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


def _models() -> list[tuple[Address, ModelEntry]]:
    """Return the models and their addresses; one that is in use comes before its twins."""
    rows = SelfHostedModel.objects.select_related("current").order_by("pk")
    ordered = sorted(rows, key=lambda row: PREFERENCE.index(row.state))
    return [
        (Address.of_row(row), model_entry(row.pk, row.name, row.state, row.current))
        for row in ordered
    ]


def model_entry(model_id: int, name: str, state: str, revision: ModelRevision | None) -> ModelEntry:
    """Return a model's entry; one that cannot be called must not take the others with it."""
    config, fault = None, ""
    try:
        config = revision.as_config() if revision else None
    except ModelMisconfigured as exc:
        fault = str(exc)
    return ModelEntry(model_id=model_id, name=name, state=state, config=config, fault=fault)


def _groups() -> dict[int, GroupEntry]:
    columns = Group.objects.values_list("pk", "gitlab_id", "path", "parent_id")
    return group_entries(list(gently(columns.iterator(CHUNK_ROWS))))


def group_entries(
    rows: Sequence[tuple[int, int | None, str, int | None]],
) -> dict[int, GroupEntry]:
    """Return the groups in their tree, from their id, GitLab id, path and parent."""
    by_path = {path: pk for pk, _, path, _ in rows}
    parents = {pk: parent_id or _nearest_above(path, by_path) for pk, _, path, parent_id in rows}
    return {
        pk: GroupEntry(group_id=pk, gitlab_id=gitlab_id, path=path, lineage=_lineage(pk, parents))
        for pk, gitlab_id, path, _ in gently(rows)
    }


def _nearest_above(path: str, by_path: dict[str, int]) -> int | None:
    """Return the group whose path this one continues, so that its rules hold here too."""
    while "/" in path:
        path = path.rpartition("/")[0]
        if path in by_path:
            return by_path[path]
    return None


def _lineage(pk: int, parents: dict[int, int | None]) -> tuple[int, ...]:
    """Return the groups from the root to this one; a circle made behind our back is cut."""
    lineage: list[int] = []
    above: int | None = pk
    while above is not None and above not in lineage:
        lineage.append(above)
        above = parents[above]
    return tuple(reversed(lineage))


def _members() -> dict[str, tuple[int, ...]]:
    members: dict[str, list[int]] = {}
    rows = Membership.objects.values_list("user_ref", "group_id").iterator(CHUNK_ROWS)
    for user_ref, group_id in gently(rows):
        members.setdefault(user_ref, []).append(group_id)
    return {user_ref: tuple(group_ids) for user_ref, group_ids in members.items()}


def _rules() -> dict[tuple[int | None, str], Rule]:
    rows = FeatureRule.objects.values_list("group_id", "feature", "state", "is_locked", "model_id")
    return {
        (group_id, feature): Rule(state=state, is_locked=is_locked, model_id=model_id)
        for group_id, feature, state, is_locked, model_id in rows
    }


def _api_keys() -> dict[str, KeyEntry]:
    return {
        row.prefix: KeyEntry(
            key_id=row.pk,
            name=row.name,
            digest=row.digest,
            group_id=row.group_id,
            is_active=row.is_active,
            expires_at=row.expires_at,
            may_explain=row.may_explain,
        )
        for row in ApiKey.objects.all()
    }


def _has_vendor_route() -> bool:
    is_set = bool(settings.GATEWAY_VENDOR_ROUTE_URL)
    return is_set and VendorRoute.objects.filter(is_on=True).exists()


def gently(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows, and let the process's streams have a turn after every chunk."""
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK_ROWS)):
        yield from chunk
        time.sleep(0.001)  # with 0, gevent would look at no socket


# The process's snapshot


class _Process:
    """What this process holds: its snapshot, and the thread that keeps it current."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.is_polling_wanted = False
        self.forget_threads()

    def forget_threads(self) -> None:
        """Start over without the threads and locks of the process we were forked from."""
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None
        self.stop_asked = threading.Event()


_process = _Process()
os.register_at_fork(after_in_child=_process.forget_threads)


def current() -> Snapshot:
    """Return the process's snapshot: no query, except for the very first time.

    Raises:
        DatabaseError: the database is away and nothing was loaded before.
    """
    if _process.is_polling_wanted and _process.thread is None:
        start_polling()  # a fork does not take threads along
    if _process.snapshot is not None:
        return _process.snapshot
    try:
        return catch_up()
    finally:
        if not connection.in_atomic_block:
            connection.close()  # the call goes on to wait for its answer without one


def refresh() -> Snapshot:
    """Load the snapshot anew, changed or not.

    Raises:
        DatabaseError: the database is away; the old snapshot stays.
    """
    with _process.lock:
        _process.snapshot = load()
        return _process.snapshot


def catch_up() -> Snapshot:
    """Load the snapshot anew if the database has another version.

    Raises:
        DatabaseError: the database is away; the old snapshot stays.
    """
    with _process.lock:
        held = _process.snapshot
        if held is None or held.version != ConfigVersion.current():
            held = _process.snapshot = load()
            logger.info("snapshot.loaded", extra={"config_version": held.version})
        return held


def forget() -> None:
    """Drop the snapshot, so that the next call loads one."""
    _process.snapshot = None


# Polling


def start_polling() -> None:
    """Keep this process's snapshot current from now on. Call it after forks, once or often."""
    with _process.lock:
        _process.is_polling_wanted = True
        if _process.thread is not None:
            return
        _process.stop_asked.clear()
        _process.thread = threading.Thread(
            target=_poll, args=(_process.stop_asked,), name="snapshot-poller", daemon=True
        )
        _process.thread.start()


def stop_polling() -> None:
    """Stop and wait for the background thread."""
    _process.is_polling_wanted = False
    _process.stop_asked.set()
    if _process.thread is not None:
        _process.thread.join()
        _process.thread = None


def _poll(stop_asked: threading.Event) -> None:
    """Catch up until asked to stop; an outage is logged when it begins and when it ends."""
    is_out = False
    while not stop_asked.wait(settings.GATEWAY_SNAPSHOT_POLL_S):
        try:
            catch_up()
        except Exception as exc:  # the loop must outlive whatever one round meets
            if not is_out:
                _log_outage(exc)
            is_out = True
            connection.close()
            continue
        if is_out:
            logger.warning("snapshot.current_again")
        is_out = False
    connection.close()


def _log_outage(exc: Exception) -> None:
    """Log why the snapshot is stale; a driver's own text may name hosts and users."""
    if isinstance(exc, DatabaseError):
        logger.error("snapshot.database_away", extra={"error": type(exc).__name__})
    else:
        logger.error("snapshot.load_failed", exc_info=exc)
