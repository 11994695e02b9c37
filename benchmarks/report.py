"""The page that a run writes: medians over the rounds, goals, and what the figures cannot say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from benchmarks.measuring import Measurement
from benchmarks.targets import TARGETS, Target
from benchmarks.workloads import WORKLOADS, Workload

ROLES = ("web", "worker", "Redis", "PostgreSQL")
CPU_GOALS_MS = {"embedded": 2.0, "server-sqlite": 4.0, "server-postgresql": 4.0}
DURATION_GOAL = 0.05
IDLE_CORES = 0.1
CPU_GOAL_WORKLOAD, STREAM_GOAL_WORKLOAD = "plain_32", "stream_1000"


@dataclass(kw_only=True)
class Results:
    """All figures of a run: `figures[target][workload]` holds one measurement for each round."""

    began_at: datetime
    command: str
    rounds: int
    is_quick: bool
    machine: dict[str, str] = field(default_factory=dict)
    figures: dict[str, dict[str, list[Measurement]]] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def add(self, target: Target, workload: Workload, found: Measurement) -> None:
        """Keep one measurement."""
        self.figures.setdefault(target.slug, {}).setdefault(workload.slug, []).append(found)

    def of(self, target: str, workload: str) -> list[Measurement]:
        """Return the measurements of all rounds; empty if there are none."""
        return self.figures.get(target, {}).get(workload, [])

    def all(self) -> list[Measurement]:
        """Return every measurement."""
        return [
            found
            for workloads in self.figures.values()
            for rounds in workloads.values()
            for found in rounds
        ]

    def error_count(self) -> int:
        """Return how many requests were not answered as they should."""
        return sum(sum(found.errors.values()) for found in self.all())


Value = Callable[[Measurement], float | None]


def page(results: Results) -> str:
    """Return the whole page in Markdown."""
    parts = [
        *_intro(results),
        *_goals(results),
        *_plain(results),
        *_streams(results),
        *_many_streams(results),
        *_honesty(results),
        *_method(results),
    ]
    return "\n".join(parts) + "\n"


def _intro(results: Results) -> Iterable[str]:
    yield "# Benchmarks"
    yield ""
    yield (
        "For whoever wants to know what Enclave costs. This page is written by the benchmark; do"
        " not edit it. To measure your own machine:"
    )
    yield ""
    yield "```"
    yield "make bench"
    yield "```"
    yield ""
    rounds = "1 round" if results.rounds == 1 else f"medians over {results.rounds} rounds"
    yield (
        f"Measured on {results.began_at:%Y-%m-%d}, {rounds}{', short form' * results.is_quick},"
        f" with `{results.command}`. The audit log was on, as always: every request below was"
        " committed to the database before the model was asked, and its answer before the last byte"
        " was sent."
    )
    yield ""
    yield "| Machine | |"
    yield "|---|---|"
    yield from (f"| {name} | {value} |" for name, value in results.machine.items())
    others = [found.other_cores for found in results.all()]
    if others:
        busy = f"{median(others):.2f} cores (median), {max(others):.2f} at most"
        yield f"| Other work on the machine meanwhile | {busy} |"
    yield ""
    if others and median(others) > IDLE_CORES:
        yield (
            "**The machine was not idle.** Whatever else ran took time from gateway, client and"
            " model server: latencies and durations are too high, requests per second too low."
            " Measure again."
        )
        yield ""


def _goals(results: Results) -> Iterable[str]:
    yield "## Goals"
    yield ""
    yield "| Goal | Target | Measured | |"
    yield "|---|---|---|---|"
    for slug, limit in CPU_GOALS_MS.items():
        cpu = _median(results.of(slug, CPU_GOAL_WORKLOAD), _cpu)
        goal = f"CPU per request at 32 connections, at most {limit:.0f} ms"
        yield _goal(goal, slug, cpu, f"{cpu or 0:.2f} ms", cpu is not None and cpu <= limit)
    direct = _median(results.of("direct", STREAM_GOAL_WORKLOAD), _p("latency", "p50"))
    for slug in CPU_GOALS_MS:
        rounds = results.of(slug, STREAM_GOAL_WORKLOAD)
        duration = _median(rounds, _p("latency", "p50"))
        errors = sum(sum(found.errors.values()) for found in rounds)
        more = duration / direct - 1 if duration and direct else None
        yield _goal(
            "1,000 slow streams: no error, median duration within 5 % of direct",
            slug,
            more,
            f"{errors} errors, {(more or 0) * 100:+.2f} %",
            more is not None and not errors and more <= DURATION_GOAL,
        )
    yield ""


def _goal(goal: str, slug: str, value: float | None, measured: str, is_met: bool) -> str:
    label = TARGETS[slug].label
    if value is None:
        return f"| {goal} | {label} | not measured | |"
    return f"| {goal} | {label} | {measured} | {'met' if is_met else '**missed**'} |"


def _plain(results: Results) -> Iterable[str]:
    yield "## Plain answers"
    yield ""
    yield (
        "16 tokens in one piece. *Added* is the difference to the same percentile of the direct"
        " call under the same load; with more than one connection and a model that answers at once"
        " it is mostly queueing, because every connection asks again as soon as it has its answer."
        " CPU is user and system time of all processes of the target, in ms for each request;"
        " the range is over the rounds."
    )
    for workload in _chosen(results, is_streamed=False):
        yield ""
        yield f"### {_title(workload)}"
        yield ""
        yield (
            "| | requests/s | p50 ms | p99 ms | added p50 | added p99 | CPU ms | range |"
            " by process | errors |"
        )
        yield "|---|---|---|---|---|---|---|---|---|---|"
        for slug, rounds in _rows(results, workload):
            direct = results.of("direct", workload.slug)
            cells = [
                _number(_median(rounds, lambda m: m.rps), 0),
                _number(_median(rounds, _p("latency", "p50")), 2),
                _number(_median(rounds, _p("latency", "p99")), 2),
                _added(rounds, direct, _p("latency", "p50"), slug),
                _added(rounds, direct, _p("latency", "p99"), slug),
                *_cpu_cells(rounds, slug),
                _errors(rounds),
            ]
            yield f"| {TARGETS[slug].label} | {' | '.join(cells)} |"
    yield ""


def _streams(results: Results) -> Iterable[str]:
    yield "## Streams"
    yield ""
    yield (
        "A token's delay is the time from the model server writing it to the client reading it; the"
        " worker of a server joins tokens for up to 5 ms (`GATEWAY_FLUSH_WINDOW_MS`). Duration is"
        " from the request to the clean end."
    )
    for workload in _chosen(results, is_streamed=True):
        if workload.slug == STREAM_GOAL_WORKLOAD:
            continue
        yield ""
        yield f"### {_title(workload)}"
        yield ""
        yield (
            "| | tokens/s | first token p50 ms | p99 | token delay p50 ms | p99 | duration p50 ms |"
            " CPU ms/stream | range | by process | errors |"
        )
        yield "|---|---|---|---|---|---|---|---|---|---|---|"
        for slug, rounds in _rows(results, workload):
            cells = [
                _number(_median(rounds, lambda m: m.tokens_per_s), 0),
                *_stream_cells(rounds),
                _number(_median(rounds, _p("latency", "p50")), 1),
                *_cpu_cells(rounds, slug),
                _errors(rounds),
            ]
            yield f"| {TARGETS[slug].label} | {' | '.join(cells)} |"
    yield ""


def _many_streams(results: Results) -> Iterable[str]:
    workload = WORKLOADS[STREAM_GOAL_WORKLOAD]
    if not any(results.of(slug, workload.slug) for slug in TARGETS):
        return
    yield f"### {_title(workload)}"
    yield ""
    yield (
        "| | errors | first token p50 ms | p99 | token delay p50 ms | p99 | duration p50 ms |"
        " to direct | CPU ms/stream | range | by process | peak memory MiB (PSS) |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    direct = _median(results.of("direct", workload.slug), _p("latency", "p50"))
    for slug, rounds in _rows(results, workload):
        duration = _median(rounds, _p("latency", "p50"))
        more = f"{(duration / direct - 1) * 100:+.2f} %" if duration and direct else ""
        cells = [
            _errors(rounds),
            *_stream_cells(rounds),
            _number(duration, 1),
            "" if slug == "direct" else more,
            *_cpu_cells(rounds, slug),
            "" if slug == "direct" else _peak(rounds),
        ]
        yield f"| {TARGETS[slug].label} | {' | '.join(cells)} |"
    yield ""


def _honesty(results: Results) -> Iterable[str]:
    yield "## Does it add up?"
    yield ""
    yield (
        "Every request carries a number of its own, and every token of the model's answer repeats"
        " it: an answer counts only with status 200, all tokens of this very request in order and a"
        " clean end. After each run the database was asked how many records are closed as answered,"
        " how many have both their request and their answer stored and how many are still open; and"
        " the model server, how often it was called."
    )
    yield ""
    for slug in TARGETS:
        served = results.served.get(TARGETS[slug].label)
        if served and slug != "direct":
            yield f"* {TARGETS[slug].label}: {served:,} requests answered, warm-up included."
    for label, reason in results.skipped.items():
        yield f"* {label}: not run. {reason}"
    yield ""
    if results.complaints:
        yield "**It does not add up:**"
        yield ""
        yield from (f"* {complaint.splitlines()[0]}" for complaint in results.complaints)
    else:
        yield (
            "Every check agreed: one closed record, one stored pair and one model call for each"
            " answer."
        )
    yield ""


def _method(results: Results) -> Iterable[str]:
    yield "## How it is measured"
    yield ""
    yield from (
        "* Processes as shipped: one gunicorn worker, one Celery worker (gevent), Redis without"
        " persistence over TCP, PostgreSQL with fsync and synchronous_commit on, 256 MB shared"
        " buffers, over a Unix socket. Databases start empty in each round. SQLite runs with WAL"
        " and `synchronous=FULL`.",
        "* The request is a code completion of 1 kB above the cursor, authenticated by an API key"
        " whose group has a rule and a model of its own. The model server and the load client are"
        " small C programs (`benchmarks/native/`), because all of it runs on the same machine.",
        "* CPU comes from `/proc/<pid>/stat` of the target's processes and their children, before"
        " and after; the model server's and the client's are not in it (in the row *direct* it is"
        " the model server's). Memory is the highest sum of PSS seen, looked at twice a second.",
        "* Each round starts each target afresh, and the rounds take the targets in turn.",
    )
    yield ""
    yield "## What is not measured"
    yield ""
    yield from (
        "* Client, model server, gateway, Redis and PostgreSQL share the machine's cores. Requests"
        " per second are therefore a lower bound and noisy; CPU per request is the figure to"
        " compare.",
        "* A closed loop with a model that answers at once lets requests move in step, which makes"
        " group commits large. The row with the 200 ms model is nearer to a normal day.",
        "* One web process and one worker. No TLS, no network between the parts, no slow disk: each"
        " commit costs about one `fdatasync` of the table above.",
        "* Empty tables: no run holds more than some ten thousand records.",
        "* The 99th percentile of 100 streams is the slowest stream.",
        "* Other gateways.",
    )


def _chosen(results: Results, *, is_streamed: bool) -> list[Workload]:
    return [
        workload
        for workload in WORKLOADS.values()
        if workload.is_streamed == is_streamed
        and any(results.of(slug, workload.slug) for slug in TARGETS)
    ]


def _rows(results: Results, workload: Workload) -> list[tuple[str, list[Measurement]]]:
    found = [(slug, results.of(slug, workload.slug)) for slug in TARGETS]
    return [(slug, rounds) for slug, rounds in found if rounds]


def _title(workload: Workload) -> str:
    return workload.label[0].upper() + workload.label[1:]


def _stream_cells(rounds: list[Measurement]) -> list[str]:
    return [
        _number(_median(rounds, _p(series, percentile)), 2)
        for series in ("first_token", "token_delay")
        for percentile in ("p50", "p99")
    ]


def _cpu_cells(rounds: list[Measurement], slug: str) -> list[str]:
    totals = [sum(found.cpu_ms.values()) for found in rounds]
    if slug == "direct":
        return [f"({median(totals):.3f})", "", ""]
    shares = [
        f"{role} {median([found.cpu_ms[role] for found in rounds]):.2f}"
        for role in ROLES
        if role in rounds[0].cpu_ms
    ]
    return [
        f"**{median(totals):.2f}**",
        f"{min(totals):.2f} to {max(totals):.2f}",
        " + ".join(shares),
    ]


def _peak(rounds: list[Measurement]) -> str:
    shares = [
        f"{role} {median([found.peak_mib.get(role, 0.0) for found in rounds]):.0f}"
        for role in ROLES
        if role in rounds[0].peak_mib
    ]
    return " + ".join(shares)


def _added(rounds: list[Measurement], direct: list[Measurement], value: Value, slug: str) -> str:
    ours, theirs = _median(rounds, value), _median(direct, value)
    if slug == "direct" or ours is None or theirs is None:
        return ""
    return f"{ours - theirs:.2f}"


def _errors(rounds: list[Measurement]) -> str:
    count = sum(sum(found.errors.values()) for found in rounds)
    return str(count) if not count else f"**{count}**"


def _cpu(found: Measurement) -> float | None:
    return sum(found.cpu_ms.values())


def _p(series: str, percentile: str) -> Value:
    def read(found: Measurement) -> float | None:
        value: float | None = getattr(found, series).get(percentile)
        return value

    return read


def _median(rounds: list[Measurement], value: Value) -> float | None:
    values = [known for found in rounds if (known := value(found)) is not None]
    return median(values) if values else None


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
