"""One measurement: load a target, read what it cost, check that what it answered is recorded."""

from __future__ import annotations

import json
import resource
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.processes import PeakMemory, Program
from benchmarks.targets import Target
from benchmarks.workloads import Workload

# The client's words for a request that got no whole answer (native/load.c).
NO_ANSWER = ("closed", "connect_failed", "cut_off", "reset", "timeout", "write_failed")
# What an answered request may still cause after its last byte: acknowledgements, log lines.
SETTLE_S = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What one run of a workload gave. Times in milliseconds; `cpu_ms` is for each request.

    `other_cores`: how many cores something else on the machine kept busy meanwhile.
    """

    rps: float
    answered: int
    tokens_per_s: float
    latency: dict[str, float]
    first_token: dict[str, float]
    token_delay: dict[str, float]
    cpu_ms: dict[str, float]
    peak_mib: dict[str, float]
    other_cores: float
    errors: dict[str, int]
    first_error: str


@dataclass(kw_only=True)
class Tally:
    """What a target has served since it started, and what disagrees with that.

    `served`: status 200 and an end; `failed`: everything else that was asked.
    """

    served: int = 0
    failed: int = 0
    model_calls_before: int = 0
    complaints: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Stub:
    """The running model server."""

    program: Program
    port: int

    def requests(self) -> int:
        """Return how many calls it has got."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=5) as reply:
            return int(json.load(reply)["requests"])


def probe(target: Target, workload: Workload, *, load: Path, tally: Tally) -> dict[str, Any]:
    """Send one request and return the report; the first one also waits for the workers."""
    once = replace(workload, connections=1, seconds=None, ramp=0.0)
    return _run_load(target, once, load=load, tally=tally)


def measure(
    target: Target, workload: Workload, *, stub: Stub, load: Path, tally: Tally
) -> Measurement:
    """Return the figures of one run; what does not add up is added to the tally's complaints."""
    if workload.warm_up:
        _run_load(target, replace(workload, seconds=workload.warm_up), load=load, tally=tally)
        time.sleep(SETTLE_S)
    programs = target.programs or [stub.program]
    memory = PeakMemory(programs=programs)
    before, others_before, began = (
        processes.cpu_s(programs),
        _others_s(programs, stub),
        time.monotonic(),
    )
    if workload.is_memory_measured:
        with memory:
            told = _run_load(target, workload, load=load, tally=tally)
    else:
        told = _run_load(target, workload, load=load, tally=tally)
    time.sleep(SETTLE_S)
    after, others_after, ended = (
        processes.cpu_s(programs),
        _others_s(programs, stub),
        time.monotonic(),
    )
    check(target, workload, stub=stub, tally=tally)
    requests = max(told["answered"], 1)
    return Measurement(
        rps=told["rps"],
        answered=told["answered"],
        tokens_per_s=told["tokens_per_s"],
        latency=told["latency_ms"],
        first_token=told["ttft_ms"],
        token_delay=told["delay_ms"],
        cpu_ms={role: (after[role] - before[role]) * 1000 / requests for role in after},
        peak_mib=memory.peak,
        other_cores=max(0.0, (others_after - others_before) / (ended - began)),
        errors=told["errors"],
        first_error=told["first_error"],
    )


def _others_s(programs: list[Program], stub: Stub) -> float:
    """Return the CPU seconds used by what is neither target, model server, client nor ourselves."""
    ours = {program.process.pid: program for program in [*programs, stub.program]}
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    used = sum(processes.cpu_s(list(ours.values())).values())
    return processes.machine_busy_s() - used - sum(u.ru_utime + u.ru_stime for u in own)


def check(target: Target, workload: Workload, *, stub: Stub, tally: Tally) -> None:
    """Compare what was served with what is on record and with what the model was asked."""
    log = target.log()
    if log is None:
        return
    is_open = sum(log.by_state.get(state, 0) for state in ("queued", "running"))
    calls = stub.requests() - tally.model_calls_before
    # The model is never asked twice; a request that failed may have reached it, or not.
    least, most = tally.served, tally.served + tally.failed
    facts = {
        "closed as answered": (log.by_state.get("answered", 0), tally.served, tally.served),
        "request and answer stored": (log.pairs, tally.served, tally.served),
        "still open": (is_open, 0, 0),
        "model calls": (calls, least, most),
    }
    tally.complaints += [
        f"{target.label}, after '{workload.label}': {what}: {found}, expected {low} to {high}"
        for what, (found, low, high) in facts.items()
        if not low <= found <= high
    ]


def _run_load(target: Target, workload: Workload, *, load: Path, tally: Tally) -> dict[str, Any]:
    request = target.directory / "request.http"
    request.write_bytes(target.request(workload))
    words = [str(load), str(target.port), str(request)]
    words += ["--connections", str(workload.connections), "--tokens", str(workload.tokens)]
    words += ["--ramp", str(workload.ramp)]
    if workload.seconds is not None:
        words += ["--seconds", str(workload.seconds)]
    if workload.is_streamed and target.ends_with_done:
        words += ["--done"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    errors: dict[str, int] = told["errors"]
    refused = sum(n for name, n in errors.items() if name.startswith("status_"))
    unanswered = sum(n for name, n in errors.items() if name in NO_ANSWER)
    tally.served += told["answered"] - refused
    tally.failed += refused + unanswered
    return told
