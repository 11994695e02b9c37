"""What proposed rules would have done to the calls on record: who used it lately, and a rehearsal.

Only who called and what is read, never what was asked. The log is read a few hours at a time, so
that a process that serves calls goes on serving them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count

from features import policy
from features.proposal import Comparison
from features.snapshot import Snapshot
from gateway.audit.models import InferenceRecord

LATELY = timedelta(hours=1)
DAYS = 7
WINDOW = timedelta(hours=4)
WHO = ("feature", "user_id", "global_user_id", "api_key_id", "namespace_ids")


def used_lately(
    features: Iterable[str],
    user_refs: Iterable[str],
    *,
    now: datetime,
    within: timedelta = LATELY,
) -> int:
    """Return how many of these users called one of the features lately."""
    rows = InferenceRecord.objects.filter(feature__in=list(features), opened_at__gte=now - within)
    wanted = set(user_refs)
    seen = {
        (user_id, global_id) if user_id in wanted or global_id in wanted else None
        for user_id, global_id in rows.values_list("user_id", "global_user_id").distinct()
    }
    return len({pair[0] or pair[1] for pair in seen if pair is not None})


@dataclass(kw_only=True, slots=True)
class FeatureRehearsal:
    """How many calls of a feature there were, and how many would have ended otherwise."""

    slug: str
    calls: int = 0
    changed: dict[str, int] = field(default_factory=lambda: {"lose": 0, "gain": 0, "move": 0})
    users: dict[str, set[str]] = field(
        default_factory=lambda: {"lose": set(), "gain": set(), "move": set()}
    )


def rehearse(
    before: Snapshot, after: Snapshot, features: Iterable[str], *, now: datetime, days: int = DAYS
) -> list[FeatureRehearsal]:
    """Return what the proposed rules would have done to the calls of the last days.

    Each call is decided twice, by the rules of now and by the proposed ones, for the user, the key
    and the place that it named then; so what a rule of that day decided plays no part.
    """
    compare = Comparison(before, after)
    key_groups = {key.key_id: key.group_id for key in before.api_keys.values()}
    found = {slug: FeatureRehearsal(slug=slug) for slug in features}
    for row in _calls(found, since=now - timedelta(days=days), until=now):
        one = found[row["feature"]]
        one.calls += row["calls"]
        what = compare(row["feature"], _subject(row, before, key_groups))
        if what:
            one.changed[what] += row["calls"]
            who = row["user_id"] or row["global_user_id"] or f"key {row['api_key_id']}"
            one.users[what].add(who)
    return [one for one in found.values() if one.calls]


def _subject(
    row: Mapping[str, Any], config: Snapshot, key_groups: Mapping[int, int | None]
) -> tuple[int, ...]:
    """Return the groups that a call on record stands for now, by the names that it carried."""
    return policy.subject_groups(
        config,
        api_key_group_id=key_groups.get(row["api_key_id"]),
        namespace_ids=tuple(int(pk) for pk in row["namespace_ids"].split(",") if pk),
        user_refs=tuple(ref for ref in (row["user_id"], row["global_user_id"]) if ref),
    )


def _calls(
    features: Iterable[str], *, since: datetime, until: datetime
) -> Iterator[dict[str, Any]]:
    """Yield the calls of these features, those alike counted together, a window at a time."""
    rows = InferenceRecord.objects.filter(feature__in=list(features)).order_by()
    while since < until:
        end = min(since + WINDOW, until)
        window = rows.filter(opened_at__gte=since, opened_at__lt=end)
        yield from window.values(*WHO).annotate(calls=Count("pk"))
        since = end
        time.sleep(0.001)  # a turn for whoever waits
