"""How fast the audit log is verified: `python -m benchmarks.audit_verify [--records N]`.

Writes a log through the real store into a database of its own (SQLite in a temporary directory, or
DATABASE_URL), signs it, and verifies it twice: in the gateway and, from a proof, with the
stand-alone verifier. Every record has an opening, a claim, an outcome, 1 kB of request and 0.8 kB
of answer. Times are CPU seconds of the verifying process, which uses one core.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Write, verify and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.audit_verify")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=20, help="records that share a commit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="enclave-verify-") as directory:
        set_up(directory)
        written_s = write(options.records, options.batch)
        print(f"{options.records:,} records in commits of {options.batch}: {written_s:.1f} s")
        seconds, memory = in_the_gateway()
        tell("manage.py audit verify", options.records, seconds, memory)
        proof = Path(directory) / "proof.jsonl"
        seconds, memory = stand_alone(proof)
        tell("scripts/verify_audit_log.py", options.records, seconds, memory)
    return 0


def tell(what: str, records: int, seconds: float, memory: float) -> None:
    print(f"{what}: {records / seconds:,.0f} records/s on one core, {memory:.0f} MiB at most")


def set_up(directory: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings.development")
    os.environ.setdefault("DATABASE_URL", "")
    os.environ |= {
        "GATEWAY_DATA_DIR": directory,
        "SECRET_KEY": "benchmark",
        "GATEWAY_ENCRYPTION_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    }
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def write(records: int, batch: int) -> float:
    from django.utils import timezone

    from gateway.audit import store
    from gateway.audit.chain import checkpoints, lanes
    from gateway.audit.records import Outcome, closing
    from gateway.ids import new_id

    rows, web, worker = store.for_connection(), lanes.begin("web"), lanes.begin("worker")
    outcome = Outcome(
        state="answered",
        answer="y" * 800,
        finish_reason="stop",
        queue_ms=1.25,
        first_token_ms=80.5,
        total_ms=412.125,
        prompt_tokens=310,
        completion_tokens=190,
        model_calls=1,
    )
    started_at = time.perf_counter()
    for first in range(0, records, batch):
        now = timezone.now()
        opening = [
            {
                **store.BLANK,
                "id": new_id(),
                "state": "queued",
                "opened_at": now,
                "deadline_at": now,
                "caller_kind": "user",
                "instance_id": "ea8bf810-1d6f-4a6a-b4fd-93e8cbd8b57f",
                "user_id": str(number),
                "group_id": 7,
                "group_path": "payments/core",
                "feature": "code_completions",
                "endpoint": "/v2/code/completions",
                "is_streamed": False,
                "correlation_id": f"01JC{number}",
                "policy": "payments: on",
                "config_version": 3,
                "model_id": 2,
                "model_name": "Codestral 22B",
                "revision_id": 9,
                "prompt_version": "code_completions/codestral",
                "prompt_digest": "5" * 64,
                "web_process": "w" * 32,
                "request": '{"prompt": {"text": "' + "x = 1 + " * 125 + '"}}',
            }
            for number in range(first, min(first + batch, records))
        ]
        rows.open(opening, web.opened(opening))
        ids = [row["id"] for row in opening]
        closed = [
            closing(claim.id, outcome, worker="v" * 32, claimed_at=claim.claimed_at)
            for claim in rows.claim(ids, worker="v" * 32, now=now)
        ]
        rows.close(closed, worker.closed(closed))
    checkpoints.write(now=timezone.now())
    return time.perf_counter() - started_at


def in_the_gateway() -> tuple[float, float]:
    return measured([sys.executable, "manage.py", "audit", "verify"])


def stand_alone(proof: Path) -> tuple[float, float]:
    writing = [sys.executable, "manage.py", "audit", "proof", "--content", "--reason", "speed"]
    subprocess.run([*writing, str(proof)], cwd=ROOT, check=True)
    folder = Path(os.environ["GATEWAY_DATA_DIR"])
    key = folder / "public.pem"
    with key.open("wb") as out:
        subprocess.run(
            [sys.executable, "manage.py", "audit", "key"], cwd=ROOT, stdout=out, check=True
        )
    return measured(
        [
            *(sys.executable, "scripts/verify_audit_log.py", str(proof)),
            *("--public-key", str(key), "--auditor-key", str(folder / "auditor_key.pem")),
        ]
    )


def measured(command: list[str]) -> tuple[float, float]:
    """Return a command's CPU seconds and its memory at most in MiB, and print what it says."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, after.ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
