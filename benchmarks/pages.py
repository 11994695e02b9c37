"""Measure the auditors' pages on a log of made-up records.

    python -m benchmarks.pages --records 1000000               # SQLite, made for the purpose
    python -m benchmarks.pages --records 1000000 --postgresql
    python -m benchmarks.pages --database sqlite:///kept.sqlite3 --records 0    # one made before

Each page is asked for through Django's whole stack, by an auditor who is logged in, `--rounds`
times with another filter value each time, so that no answer is a repetition. Prints one table.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from benchmarks import services

PAGES_MS, SEARCH_MS = 300, 1000


def main() -> int:
    """Measure and print; return 1 if a page missed its goal."""
    options = read_options()
    with (
        tempfile.TemporaryDirectory(prefix="enclave-pages-") as scratch,
        database(options, Path(scratch)) as url,
    ):
        prepare(url, Path(scratch))
        fill(options.records, options.days)
        missed = report(measure(options.rounds))
        export()
    return 1 if missed else 0


def read_options() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--postgresql", action="store_true", help="a PostgreSQL for the purpose")
    parser.add_argument("--database", default="", help="the DATABASE_URL of one that is there")
    return parser.parse_args()


@contextmanager
def database(options: argparse.Namespace, scratch: Path) -> Iterator[str]:
    """Yield the URL of the database to measure on."""
    if not options.postgresql:
        yield options.database or f"sqlite:///{scratch / 'pages.sqlite3'}"
        return
    program, url = services.start_postgresql(scratch, dict(os.environ))
    try:
        yield url
    finally:
        program.stop()


def prepare(url: str, scratch: Path) -> None:
    """Set Django up on the database."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "gateway.settings.development",
        "DATABASE_URL": url,
        "GATEWAY_DATA_DIR": str(scratch),
        "GATEWAY_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "ALLOWED_HOSTS": "testserver",
        "GATEWAY_LOG_LEVEL": "WARNING",
    }
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def fill(records: int, days: int) -> None:
    """Make records up and index them; say how long each took."""
    from django.core.management import call_command
    from django.db import connection

    if not records:
        return
    for verb in (("generate", "--records", str(records), "--days", str(days)), ("index",)):
        began = time.perf_counter()
        call_command("audit", *verb, stdout=sys.stderr)
        took_ms = (time.perf_counter() - began) * 1000
        print(f"{verb[0]}: {took_ms / 1000:.0f} s, {took_ms / records:.2f} ms a record")
    if connection.vendor == "postgresql":  # as its autovacuum would; SQLite never looks
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


@dataclass(kw_only=True)
class Times:
    """How long a page took, and how much CPU of this process, in milliseconds."""

    name: str
    goal: float
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def measure(rounds: int) -> Iterator[Times]:
    """Yield each page's times."""
    from django.urls import reverse

    browser = auditor()
    listing = reverse("admin:audit_inferencerecord_changelist")
    chance = random.Random(7)
    for name, goal, address in pages(chance, listing):
        times = Times(name=name, goal=goal)
        for _ in range(rounds):
            url = address()
            began, cpu = time.perf_counter(), time.process_time()
            answer = browser.get(url)
            times.wall.append((time.perf_counter() - began) * 1000)
            times.cpu.append((time.process_time() - cpu) * 1000)
            assert answer.status_code == 200, (name, answer.status_code)
        yield times


def pages(chance: random.Random, listing: str) -> Iterator[tuple[str, float, Callable[[], str]]]:
    """Yield what to ask for: a name, a goal, and a function that makes an address."""
    from django.db.models import Max, Min
    from django.urls import reverse

    from features.catalog import FEATURES
    from gateway.audit.listing import Place
    from gateway.audit.models import InferenceRecord
    from gateway.audit.specimens import GROUPS, KEYS, MODELS, PEOPLE

    ends = InferenceRecord.objects.aggregate(first=Min("opened_at"), last=Max("opened_at"))
    span = ends["last"] - ends["first"]

    def somewhere() -> Any:
        at = ends["first"] + span * chance.random()
        return InferenceRecord.objects.filter(opened_at__gte=at).order_by("opened_at")[0]

    def query(**asked: object) -> str:
        return listing + "?" + "&".join(f"{name}={value}" for name, value in asked.items())

    def day() -> dict[str, str]:
        date = somewhere().opened_at.date().isoformat()
        return {"opened_at_from_0": date, "opened_at_to_0": date}

    def page_of(tab: str) -> str:
        url = reverse("admin:audit_inferencerecord_change", args=[somewhere().pk])
        return f"{url}?tab={tab}"

    filters: dict[str, Callable[[], dict[str, object]]] = {
        "a day": lambda: {**day()},
        "outcome": lambda: {"state": chance.choice(("answered", "failed", "cancelled"))},
        "cause": lambda: {"cause": chance.choice(("backend_failed", "backend_timed_out"))},
        "feature": lambda: {"feature": chance.choice(tuple(FEATURES))},
        "group": lambda: {"group": f"made-up/group-{chance.randrange(GROUPS)}"},
        "group and those below": lambda: {"group": "made-up/"},
        "user": lambda: {"user": f"made-up-user-{chance.randrange(PEOPLE)}"},
        "API key": lambda: {"key": f"made-up+key+{chance.randrange(KEYS)}"},
        "model": lambda: {"model": chance.choice(MODELS).replace(" ", "+")},
        "route": lambda: {"endpoint": "/v2/code/completions"},
        "total time": lambda: {"ms_from": chance.randrange(100, 60_000)},
        "tokens": lambda: {"tokens_from": chance.randrange(100, 1_000)},
        "nothing fits": lambda: {"model": f"none-{chance.random()}"},
        "feature, model, total time": lambda: {
            "feature": chance.choice(tuple(FEATURES)),
            "model": chance.choice(MODELS).replace(" ", "+"),
            "ms_from": chance.randrange(100, 20_000),
        },
    }
    searches: dict[str, Callable[[], str]] = {
        "a common word": lambda: "return",
        "two words": lambda: f"word{chance.randrange(50)}+word{chance.randrange(3_000)}",
        "a rare word": lambda: f"word{chance.randrange(29_000, 30_000)}",
        "a phrase": lambda: "%22return+self%22",
        "a word that is not there": lambda: f"nothing{chance.randrange(10**9)}",
    }
    yield "list", PAGES_MS, lambda: listing
    yield "next page", PAGES_MS, lambda: query(before=Place.of(somewhere()))
    yield "by record id", PAGES_MS, lambda: query(q=somewhere().pk)
    yield "grouped by correlation id", PAGES_MS, lambda: query(by="correlation")
    for name, asked in filters.items():
        yield f"filter: {name}", PAGES_MS, lambda asked=asked: query(**asked())
        yield (
            f"filter: {name}, a page of the past",
            PAGES_MS,
            lambda asked=asked: query(before=Place.of(somewhere()), **asked()),
        )
    for tab in ("timeline", "conversation", "policy", "prompt", "readers"):
        yield f"record: {tab}", PAGES_MS, lambda tab=tab: page_of(tab)
    yield (
        "record: frame with content",
        PAGES_MS,
        lambda: reverse("admin:audit_content", args=[somewhere().pk]),
    )
    for name, words in searches.items():
        yield f"search: {name}", SEARCH_MS, lambda words=words: query(words=words())
        yield (
            f"search: {name}, on a day, of one model",
            SEARCH_MS,
            lambda words=words: query(words=words(), model="Mistral+Small", **day()),
        )


def auditor() -> Any:
    """Return the browser of an auditor who has said why they read."""
    from django.contrib.auth.models import User
    from django.test import Client
    from django.urls import reverse

    from gateway.management.commands.create_roles import create_roles

    person, _ = User.objects.get_or_create(username="benchmark", defaults={"is_staff": True})
    person.groups.set(create_roles()[:1])
    browser = Client()
    browser.force_login(person)
    browser.post(reverse("admin:audit_reason"), {"reason": "benchmark"})
    return browser


def report(measured: Iterator[Times]) -> bool:
    """Print the table; return whether a goal was missed."""
    print(f"\nOther work on the machine: a load of {os.getloadavg()[0]:.1f}")
    print(
        "\n| page | p50 ms | p95 ms | max ms | CPU p95 ms | goal, p95 |\n|---|---|---|---|---|---|"
    )
    missed = False
    for times in measured:
        p95 = part(times.wall, 0.95)
        missed = missed or p95 > times.goal
        print(
            f"| {times.name} | {part(times.wall, 0.5):.0f} | {p95:.0f} | {max(times.wall):.0f} "
            f"| {part(times.cpu, 0.95):.0f} "
            f"| {times.goal:.0f}{'' if p95 <= times.goal else ', **missed**'} |",
            flush=True,
        )
    return missed


def part(values: list[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def export() -> None:
    """Export everything with its content; say how fast that goes and how memory grows."""
    from django.utils import timezone

    from gateway.audit.criteria import Criteria
    from gateway.audit.export import About, Tally, pieces

    print(
        "\n| export with content | records/s | MB | memory, first to last, MiB |\n|---|---|---|---|"
    )
    for format_ in ("jsonl", "csv", "zip"):
        about = About(
            reader="x", reason="x", criteria=Criteria(), has_content=True, at=timezone.now()
        )
        tally, size, began = Tally(), 0, time.perf_counter()
        first = 0.0
        for piece in pieces(format_, about, tally=tally):
            size += len(piece)
            first = first or (memory_mib() if tally.count >= 5_000 else 0.0)
        rate = tally.count / (time.perf_counter() - began)
        print(
            f"| {format_} | {rate:,.0f} | {size / 1e6:,.0f} | {first:.0f} to {memory_mib():.0f} |"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory of the process: {peak:.0f} MiB")


def memory_mib() -> float:
    """Return how much memory this process has now."""
    pages_held = int(Path("/proc/self/statm").read_text().split()[1])
    return pages_held * resource.getpagesize() / 2**20


if __name__ == "__main__":
    sys.exit(main())
