"""GitLab's REST API, as far as groups and their members are read: pages of checked rows.

Only direct members are asked for. A rule on a group holds for all below it, so a member of a parent
needs no row in each child; and a deny on one child must not reach everybody in the parent.

Source: GitLab's REST API, "Groups", "Members", "Pagination" (offset; GitLab 17.1 to 19.x).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from features.errors import GitLabNonsense, GitLabRefused, GitLabUnreachable
from models_registry import egress
from models_registry.egress import Limits, Reply
from models_registry.errors import (
    BackendTlsFailed,
    BackendUnreachable,
    EgressDenied,
    ModelError,
    ModelMisconfigured,
)

PER_PAGE = 100
PAGE_WITHIN_S = 30.0
PAGE_MAX_BYTES = 4 * 1024 * 1024
PATH_MAX = 255
# Guest; below it is "minimal access", which gives a seat and no group.
ACCESS_LEVEL_MIN = 10
TRIES = 4
WAITS_S = (1.0, 3.0, 9.0)
WAIT_MAX_S = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page of rows; `next_page` is None after the last, `total` None where GitLab is silent."""

    rows: list[dict[str, Any]]
    next_page: int | None
    total: int | None


class GitLabApi:
    """GitLab, read with a token. A failure that may pass is tried again, `wait` in between."""

    def __init__(self, url: str, token: str, *, wait: Callable[[float], None] = time.sleep) -> None:
        """Ask nothing yet."""
        self._base = f"{url.rstrip('/')}/api/v4"
        self._headers = {"PRIVATE-TOKEN": token, "Accept": "application/json"}
        self._wait = wait

    def groups(self, page: int) -> Page:
        """Return a page of all groups that the token may see, each `{"id", "full_path"}`.

        Raises:
            SyncError: GitLab gave none.
        """
        path = f"/groups?all_available=true&order_by=id&sort=asc&per_page={PER_PAGE}&page={page}"
        try:
            found = self._page(path, page)
        except _Gone:
            raise GitLabNonsense(
                "There is no API of GitLab behind GATEWAY_GITLAB_URL (404)."
            ) from None
        return Page(
            rows=[_group(row, place=f"groups, page {page}") for row in found.rows],
            next_page=found.next_page,
            total=found.total,
        )

    def group(self, gitlab_id: int) -> dict[str, Any] | None:
        """Return one group, None if there is no such group any more.

        Raises:
            SyncError: GitLab did not say.
        """
        document = self._ask(f"/groups/{gitlab_id}?with_projects=false")[0]
        return None if document is None else _group(document, place=f"group {gitlab_id}")

    def members(self, gitlab_id: int) -> list[list[str]] | None:
        """Return the direct members as `[id, username]`, None if the group is gone.

        A list that changes while it is read is read again, so that nobody falls between two pages.

        Raises:
            SyncError: GitLab did not say.
        """
        try:
            rows, total = self._all_members(gitlab_id)
            for _ in range(TRIES - 1):
                if total is None or len(rows) == total:
                    break
                rows, total = self._all_members(gitlab_id)
        except _Gone:
            return None
        return sorted(
            [str(row["id"]), row["username"]]
            for row in rows.values()
            if row["access_level"] >= ACCESS_LEVEL_MIN
        )

    def _all_members(self, gitlab_id: int) -> tuple[dict[int, dict[str, Any]], int | None]:
        """Return the members by id, and how many GitLab says there are.

        Raises:
            _Gone: there is no such group.
        """
        members: dict[int, dict[str, Any]] = {}
        page: int | None = 1
        total = None
        while page is not None:
            path = f"/groups/{gitlab_id}/members?per_page={PER_PAGE}&page={page}"
            found = self._page(path, page)
            place = f"members of group {gitlab_id}, page {page}"
            members |= {row["id"]: row for row in (_member(row, place) for row in found.rows)}
            page, total = found.next_page, found.total
        return members, total

    # Asking

    def _page(self, path: str, number: int) -> Page:
        document, headers = self._ask(path)
        if document is None:
            raise _Gone
        if not isinstance(document, list) or len(document) > PER_PAGE:
            raise GitLabNonsense(
                f"GitLab's answer to {_named(path)} is no list of a page's length."
            )
        following = _number(headers, "X-Next-Page", path)
        if following is not None and (following != number + 1 or not document):
            raise GitLabNonsense(f"GitLab's answer to {_named(path)} names no sensible next page.")
        return Page(rows=document, next_page=following, total=_number(headers, "X-Total", path))

    def _ask(self, path: str) -> tuple[Any, dict[str, str]]:
        """Return the document, None for a 404, and the headers; try again what may pass."""
        for wait_s in (*WAITS_S, None):
            try:
                return self._ask_once(path)
            except GitLabUnreachable as failure:
                if wait_s is None:
                    raise
                self._wait(min(failure.retry_after_s or wait_s, WAIT_MAX_S))
        raise AssertionError("unreachable: the last try returns or raises")

    def _ask_once(self, path: str) -> tuple[Any, dict[str, str]]:
        limits = Limits(
            deadline_at=time.monotonic() + PAGE_WITHIN_S,
            first_byte_s=PAGE_WITHIN_S,
            idle_s=PAGE_WITHIN_S,
            max_bytes=PAGE_MAX_BYTES,
        )
        try:
            with egress.exchange(
                "GET", self._base + path, headers=self._headers, body=None, limits=limits
            ) as reply:
                _check(reply, path)
                if reply.status == HTTPStatus.NOT_FOUND:
                    return None, {}
                body, headers = reply.read(), dict(reply.headers)
        except ModelError as exc:
            raise _translated(exc) from exc
        try:
            return orjson.loads(body), headers
        except orjson.JSONDecodeError as exc:
            raise GitLabNonsense(f"GitLab's answer to {_named(path)} is not JSON.") from exc


class _Gone(Exception):
    """There is no such group."""


def _check(reply: Reply, path: str) -> None:
    """Pass 200 and 404.

    Raises:
        SyncError: anything else, in words for whoever holds the token.
    """
    status = reply.status
    if status in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
        return
    if status == HTTPStatus.UNAUTHORIZED:
        raise GitLabRefused("GitLab refused the token (401): it is wrong, expired or revoked.")
    if status == HTTPStatus.FORBIDDEN:
        raise GitLabRefused("GitLab refused (403): the token needs the scope read_api.")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        after = reply.headers.get("Retry-After", "")
        raise GitLabUnreachable(
            "GitLab limits how often it may be asked (429).",
            retry_after_s=float(after) if after.isascii() and after.isdigit() else None,
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise GitLabUnreachable(f"GitLab failed ({status}).")
    raise GitLabNonsense(f"GitLab answered {status} to {_named(path)}.")


def _translated(error: ModelError) -> Exception:
    """Return the failure in words about GitLab instead of a model server."""
    if isinstance(error, (EgressDenied, ModelMisconfigured)):
        return GitLabRefused(f"GATEWAY_GITLAB_URL cannot be used. {error}")
    if isinstance(error, BackendTlsFailed):
        return GitLabRefused(f"GitLab's certificate was not accepted. {error}")
    if isinstance(error, BackendUnreachable) or error.code == "backend_timed_out":
        return GitLabUnreachable("GitLab cannot be reached, or did not answer in time.")
    return GitLabNonsense(f"GitLab's answer cannot be used. {error}")


def _named(path: str) -> str:
    return path.partition("?")[0]


def _number(headers: dict[str, str], name: str, path: str) -> int | None:
    """Return the number in a header, None where it is empty or missing."""
    value = next((v for k, v in headers.items() if k.lower() == name.lower()), "")
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise GitLabNonsense(f"GitLab's answer to {_named(path)} has no number in {name}.")
    return int(value)


def _group(row: Any, *, place: str) -> dict[str, Any]:
    """Return what is needed of a group.

    Raises:
        GitLabNonsense: the row is no group.
    """
    path = row.get("full_path") if isinstance(row, dict) else None
    parent_id = row.get("parent_id") if isinstance(row, dict) else None
    is_good = (
        isinstance(path, str)
        and 0 < len(path) <= PATH_MAX
        and path.isprintable()
        and path == path.strip("/ ")
        and _is_id(row.get("id"))
        and (parent_id is None or _is_id(parent_id))
    )
    if not is_good:
        raise GitLabNonsense(f"GitLab's answer ({place}) holds an entry that is no group.")
    return {"id": row["id"], "full_path": path, "parent_id": parent_id}


def _member(row: Any, place: str) -> dict[str, Any]:
    """Return what is needed of a member.

    Raises:
        GitLabNonsense: the row is no member.
    """
    is_good = (
        isinstance(row, dict)
        and _is_id(row.get("id"))
        and isinstance(row.get("username"), str)
        and isinstance(row.get("access_level"), int)
    )
    if not is_good:
        raise GitLabNonsense(f"GitLab's answer ({place}) holds an entry that is no member.")
    username = "".join(filter(str.isprintable, row["username"]))[:255]
    return {"id": row["id"], "username": username, "access_level": row["access_level"]}


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63
