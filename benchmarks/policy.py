"""Measure policy in a large installation: `python -m benchmarks.policy`.

10,000 groups in trees five deep, 100,000 memberships, 2,000 rules. Goals: a decision from the
in-process snapshot in under 50 µs, the snapshot rebuilt in under 2 s. Prints both, and fails
where a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

GROUPS, MEMBERSHIPS, RULES, ASKED = 10_000, 100_000, 2_000, 20_000
ROUNDS = 5
DECISION_MAX_US, REBUILD_MAX_S = 50.0, 2.0


def main() -> int:
    """Measure in a database of its own; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.policy")
    parser.add_argument("--database-url", default="", help="empty: a new SQLite file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="enclave-policy-") as scratch:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "gateway.settings.development",
            "GATEWAY_DATA_DIR": scratch,
            "GATEWAY_ENCRYPTION_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            "GATEWAY_LOG_LEVEL": "WARNING",
            "DATABASE_URL": options.database_url or f"sqlite:///{Path(scratch) / 'db.sqlite3'}",
            "REDIS_URL": "",
        }
        return measure()


def measure() -> int:
    """Fill the database, measure, print."""
    import django

    django.setup()

    from django.core.management import call_command
    from django.db import connection

    from features import policy, snapshot

    call_command("migrate", verbosity=0)
    fill()
    rng = random.Random(1)
    rebuild_s = [timed(snapshot.load) for _ in range(ROUNDS)]
    config = snapshot.load()
    users = [str(rng.randrange(MEMBERSHIPS // 5)) for _ in range(ASKED)]
    namespaces = [rng.randrange(1, GROUPS + 1) for _ in range(ASKED)]
    decisions_us: list[float] = []
    rungs = 0
    for user, namespace in zip(users, namespaces, strict=True):
        began = time.perf_counter_ns()
        # As gateway.pipeline does it: the groups of user and place, then their ladders.
        group_ids = policy.subject_groups(
            config, api_key_group_id=None, namespace_ids=(namespace,), user_refs=(user,)
        )
        decision = policy.explain(config, feature="duo_chat_explain_code", group_ids=group_ids)
        decisions_us.append((time.perf_counter_ns() - began) / 1000)
        rungs += len(decision.ladder)
    rows = [
        ("rebuild the snapshot", statistics.median(rebuild_s), "s", REBUILD_MAX_S),
        ("decide, median", statistics.median(decisions_us), "µs", DECISION_MAX_US),
    ]
    print(f"{GROUPS} groups, {MEMBERSHIPS} memberships, {RULES} rules, {connection.vendor}")
    for what, value, unit, goal in rows:
        print(f"  {what:25} {value:8.2f} {unit:3} goal {goal:g} {unit}")
    print(f"A decision walked {rungs / ASKED:.1f} rungs: a user in five groups, at some place.")
    return 0 if all(value < goal for _, value, _, goal in rows) else 1


def timed(function: Callable[[], object]) -> float:
    """Return how long a call takes, in seconds."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def fill() -> None:
    """Write groups, members and rules."""
    from features.models import FeatureRule, Group, Membership

    rng = random.Random(0)
    paths: list[str] = []
    for number in range(GROUPS):
        above = rng.choice(paths) if paths and rng.random() < 0.9 else ""
        above = "" if above.count("/") >= 4 else above
        paths.append(f"{above}/g{number}".lstrip("/"))
    groups = Group.objects.bulk_create(
        [Group(path=path, gitlab_id=number + 1) for number, path in enumerate(paths)],
        batch_size=1_000,
    )
    seen = {(rng.choice(groups).pk, str(number // 5)) for number in range(MEMBERSHIPS + 200)}
    Membership.objects.bulk_create(
        [Membership(group_id=pk, user_ref=ref) for pk, ref in sorted(seen)[:MEMBERSHIPS]],
        batch_size=1_000,
    )
    cells = {
        (rng.choice(groups).pk, rng.choice(("duo_chat", "duo_chat_explain_code")))
        for _ in range(RULES)
    }
    FeatureRule.objects.bulk_create(
        [FeatureRule(group=None, feature="duo_chat")]
        + [
            FeatureRule(group_id=pk, feature=feature, state=rng.choice(("on", "off", "inherit")))
            for pk, feature in cells
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
