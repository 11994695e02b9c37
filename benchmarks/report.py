"""The page that a run writes: medians over the rounds, goals, and what the figures cannot say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

from benchmarks.line_up import OURS, PEERS, TARGETS
from benchmarks.measuring import Measurement
from benchmarks.targets import Target
from benchmarks.workloads import WORKLOADS, Workload

ROLES = ("web", "worker", "Redis", "PostgreSQL", "gateway")
IDLE_CORES = 0.1
# Whom the others are compared with.
YARDSTICK = "litellm"
COMPARED = ("plain_1", "plain_32", "busy_model", "stream_fast", "stream_light", "stream_1000")


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
        """Return how many requests Enclave did not answer as it should."""
        return sum(
            _error_count(found)
            for target in OURS
            for workload in WORKLOADS
            for found in self.of(target, workload)
        )


Value = Callable[[Measurement], float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A figure to reach: `value` of a target under a workload, at most (or at least) `limit`.

    `against` names a target whose own value is taken off, or by which it is divided.
    """

    text: str
    target: str
    workload: str
    value: Value
    limit: float
    unit: str
    is_least: bool = False
    minus: str | None = None
    divided_by: str | None = None

    def measured(self, results: Results) -> float | None:
        """Return the median over the rounds, in `unit`."""
        own = _median(results.of(self.target, self.workload), self.value)
        other = self.minus or self.divided_by
        if own is None or other is None:
            return own
        theirs = _median(results.of(other, self.workload), self.value)
        if theirs is None:
            return None
        return own - theirs if self.minus else own / theirs

    def row(self, results: Results) -> str:
        """Return the row of the table."""
        found = self.measured(results)
        label = TARGETS[self.target].label
        if found is None:
            return f"| {self.text} | {label} | not measured | |"
        is_met = found >= self.limit if self.is_least else found <= self.limit
        told = f"{found:,.2f}" if 0 < self.limit < 100 else f"{found:,.0f}"
        return (
            f"| {self.text} | {label} | {told} {self.unit} | {'met' if is_met else '**missed**'} |"
        )


def goals() -> list[Goal]:
    """Return what is to be reached."""
    found: list[Goal] = []

    def add(text: str, workload: str, value: Value, limits: dict[str, float], **more: Any) -> None:
        for target, limit in limits.items():
            found.append(
                Goal(
                    text=text.format(f"{limit:,g}"),
                    target=target,
                    workload=workload,
                    value=value,
                    limit=limit,
                    **more,
                )
            )

    server = "server-postgresql"
    p50, p99 = _p("latency", "p50"), _p("latency", "p99")
    add(
        "CPU per request, 32 connections, at most {} ms",
        "plain_32",
        _cpu,
        {server: 1.5, "embedded": 1.0},
        unit="ms",
    )
    add(
        "CPU per request, 200 ms model, at most {} ms",
        "busy_model",
        _cpu,
        {server: 3.2, "embedded": 1.3},
        unit="ms",
    )
    add(
        "requests/s against LiteLLM, 32 connections, at least {} times",
        "plain_32",
        lambda m: m.rps,
        {server: 7.0},
        unit="times",
        is_least=True,
        divided_by=YARDSTICK,
    )
    add(
        "added latency p50, 1 connection, at most {} ms",
        "plain_1",
        p50,
        {server: 6.0, "embedded": 1.5},
        unit="ms",
        minus="direct",
    )
    add(
        "added latency p99, 1 connection, at most {} ms",
        "plain_1",
        p99,
        {server: 12.0, "embedded": 6.0},
        unit="ms",
        minus="direct",
    )
    add(
        "tokens/s, 50 streams of 101 tokens, at least {}",
        "stream_fast",
        lambda m: m.tokens_per_s,
        {server: 25_000, "embedded": 25_000},
        unit="tokens/s",
        is_least=True,
    )
    add(
        "first token p50, lightly loaded, added, at most {} ms",
        "stream_light",
        _p("first_token", "p50"),
        {server: 8.0, "embedded": 3.5},
        unit="ms",
        minus="direct",
    )
    add(
        "CPU per stream of 50 tokens, lightly loaded, at most {} ms",
        "stream_light",
        _cpu,
        {server: 22.0, "embedded": 7.0},
        unit="ms",
    )
    add(
        "1,000 slow streams: first token p50, at most {} ms",
        "stream_1000",
        _p("first_token", "p50"),
        {server: 60.0, "embedded": 60.0},
        unit="ms",
    )
    add(
        "1,000 slow streams: web and worker, at most {} MiB",
        "stream_1000",
        _own_memory,
        {server: 350, "embedded": 350},
        unit="MiB",
    )
    for slug in ("stream_1000", "stream_5000", "stream_10000"):
        count = WORKLOADS[slug].connections
        add(
            f"{count:,} slow streams: errors, at most {{}}",
            slug,
            _error_count,
            {server: 0, "embedded": 0},
            unit="errors",
        )
    add(
        "5,000 slow streams: web and worker, at most {} MiB",
        "stream_5000",
        _own_memory,
        {server: 600, "embedded": 600},
        unit="MiB",
    )
    return found


def page(results: Results) -> str:
    """Return the whole page in Markdown."""
    parts = [
        *_intro(results),
        *_goals(results),
        *_beside_others(results),
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
    yield from (goal.row(results) for goal in goals())
    yield ""


def _beside_others(results: Results) -> Iterable[str]:
    if not any(results.of(YARDSTICK, slug) for slug in COMPARED):
        return
    yield "## Beside other gateways"
    yield ""
    yield (
        "In the same run, against the same model server, each with one process for the web."
        f" *times* compares with {TARGETS[YARDSTICK].label}: how much less CPU for each request or"
        " stream. The others run as their makers publish them, without logging; MLflow and Portkey"
        " ask nobody for a key. Enclave authenticates, decides, renders the prompt and commits the"
        " record twice."
    )
    yield ""
    yield f"| CPU ms (times) | {' | '.join(_title(WORKLOADS[slug]) for slug in COMPARED)} |"
    yield "|---" * (len(COMPARED) + 1) + "|"
    for slug in (*OURS, *PEERS):
        cells = [_against(results, slug, workload) for workload in COMPARED]
        yield f"| {TARGETS[slug].label} | {' | '.join(cells)} |"
    yield ""


def _against(results: Results, slug: str, workload: str) -> str:
    rounds = results.of(slug, workload)
    own = _median([m for m in rounds if not m.errors], _cpu)
    theirs = _median(results.of(YARDSTICK, workload), _cpu)
    if own is None:
        return "failed" if rounds else ""
    return f"{own:.2f}" + (f" ({theirs / own:.1f})" if theirs else "")


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
        if workload.is_memory_measured:
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
    for workload in _chosen(results, is_streamed=True):
        if workload.is_memory_measured:
            yield from _held_streams(results, workload)


def _held_streams(results: Results, workload: Workload) -> Iterable[str]:
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
        "* Gateways that cannot be installed from PyPI or npm (Bifrost, Kong, Envoy). LiteLLM's own"
        " database log, whose engine is downloaded from elsewhere.",
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


def _error_count(found: Measurement) -> int:
    return sum(found.errors.values())


def _own_memory(found: Measurement) -> float | None:
    """Return the memory of web process and worker; a database server's is not ours."""
    return sum(found.peak_mib.get(role, 0.0) for role in ("web", "worker")) or None


def _errors(rounds: list[Measurement]) -> str:
    count = sum(_error_count(found) for found in rounds)
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
