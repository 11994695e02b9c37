"""Run the benchmark: `python -m benchmarks.run [--quick] [--rounds N] [--only TARGET ...]`.

Each round starts every target afresh (an empty database, its own processes), loads it with every
workload and stops it; the rounds take the targets in turn, so that a machine that gets slower or
faster is not taken for a difference between them. Figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine, processes, report
from benchmarks.line_up import TARGETS
from benchmarks.measuring import Measurement, Stub, Tally, measure, probe
from benchmarks.native import NoCompiler, compiled
from benchmarks.processes import DidNotStart
from benchmarks.services import Missing
from benchmarks.targets import REPOSITORY, Target
from benchmarks.workloads import WORKLOADS, Workload, shortened

VAR = REPOSITORY / "var" / "bench"
PAGE = REPOSITORY / "docs" / "benchmarks.md"


def main() -> int:
    """Measure, write the page and the raw figures; return the exit status."""
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine.allow_many_connections()
    try:
        stub_program = compiled("stub", cache=VAR / "bin")
        load = compiled("load", cache=VAR / "bin")
    except NoCompiler as reason:
        print(reason, file=sys.stderr)
        return 2
    chosen = [TARGETS[slug] for slug in options.only or TARGETS]
    plan = [WORKLOADS[slug] for slug in options.workload or WORKLOADS]
    if options.quick:
        plan = [shortened(workload) for workload in plan]
    results = report.Results(
        began_at=datetime.now(UTC),
        command=" ".join(["python -m benchmarks.run", *sys.argv[1:]]),
        rounds=options.rounds,
        is_quick=options.quick,
    )
    with tempfile.TemporaryDirectory(prefix="enclave-bench-") as scratch:
        directory = Path(scratch)
        results.machine = machine.describe(directory)
        stub = start_stub(stub_program, directory)
        try:
            for number in range(options.rounds):
                turn = number % len(chosen)
                for target_class in chosen[turn:] + chosen[:turn]:
                    place = directory / f"{number}-{target_class.slug}"
                    place.mkdir()
                    target = target_class(directory=place, stub_port=stub.port)
                    run_target(target, plan, stub=stub, load=load, results=results)
        finally:
            stub.program.stop()
    return finish(results, options.output)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.run")
    parser.add_argument("--rounds", type=int, help="how often (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="one short round, for a first look")
    parser.add_argument("--only", nargs="+", choices=TARGETS, help="these targets")
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, help="these workloads")
    parser.add_argument(
        "--output",
        type=Path,
        help="the page to write (docs/benchmarks.md for a whole run, else var/bench/benchmarks.md)",
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    is_whole = not (options.quick or options.only or options.workload)
    options.output = options.output or (PAGE if is_whole else VAR / "benchmarks.md")
    return options


def start_stub(program: Path, directory: Path) -> Stub:
    """Start the model server and read the port that it chose."""
    log = directory / "stub.log"
    started = processes.start("stub", [str(program)], environment={}, directory=directory, log=log)
    processes.wait_until(
        lambda: b"port" in log.read_bytes(), what="the stub", programs=[started], within_s=5
    )
    return Stub(program=started, port=int(log.read_text().split()[1]))


def run_target(
    target: Target, plan: list[Workload], *, stub: Stub, load: Path, results: report.Results
) -> None:
    """Start one target, load it with every workload, stop it."""
    print(f"{target.label}", flush=True)
    tally = Tally(model_calls_before=stub.requests())
    try:
        target.start()
        first = probe(target, plan[0], load=load, tally=tally)
        if first["errors"]:
            raise DidNotStart(f"the first request failed: {first['errors']} {first['first_error']}")
        for workload in plan:
            if target.is_peer and not workload.is_for_peers:
                continue
            found = measure(target, workload, stub=stub, load=load, tally=tally)
            results.add(target, workload, found)
            print(f"  {workload.label:48}  {one_line(workload, found)}", flush=True)
    except Missing as reason:
        results.skipped[target.label] = str(reason)
        print(f"  not run: {reason}", flush=True)
    except DidNotStart as reason:
        if target.is_peer:
            results.skipped[target.label] = str(reason).splitlines()[0]
        else:
            results.complaints.append(f"{target.label}: {reason}")
        print(f"  FAILED: {reason}", flush=True)
    finally:
        target.stop()
    results.served[target.label] = results.served.get(target.label, 0) + tally.served
    results.complaints += tally.complaints
    for complaint in tally.complaints:
        print(f"  DOES NOT ADD UP: {complaint}", flush=True)


def one_line(workload: Workload, found: Measurement) -> str:
    """Return the progress line of a measurement."""
    latency = found.latency
    words = [f"{found.rps:8.0f}/s", f"cpu {sum(found.cpu_ms.values()):6.2f} ms"]
    if latency["count"]:
        words.append(f"p50 {latency['p50']:8.2f}  p99 {latency['p99']:8.2f} ms")
        if workload.is_streamed:
            words.append(f"first token {found.first_token['p50']:6.2f} ms")
    if found.errors:
        words.append(f"ERRORS {found.errors} {found.first_error[:120]}")
    return "  ".join(words)


def finish(results: report.Results, page: Path) -> int:
    """Write the page and the raw figures; return 1 where an answer or a record was wrong."""
    VAR.mkdir(parents=True, exist_ok=True)
    raw = VAR / f"{results.began_at:%Y%m%dT%H%M%S}.json"
    raw.write_text(json.dumps(asdict(results), indent=1, default=str))
    page.write_text(report.page(results))
    print(f"\n{page.relative_to(REPOSITORY) if page.is_relative_to(REPOSITORY) else page}")
    print(raw.relative_to(REPOSITORY))
    for complaint in results.complaints:
        print(complaint, file=sys.stderr)
    return 1 if results.complaints or results.error_count() else 0


if __name__ == "__main__":
    sys.exit(main())
