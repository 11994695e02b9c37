"""How fast the audit log is verified: `python -m benchmarks.audit_verify [--records N]`.

Writes a log through the real store into a database of its own (SQLite in a temporary directory, or
DATABASE_URL), signs it, and verifies it twice: in the gateway and, from a proof, with the
stand-alone verifier. Every record has an opening, a claim, an outcome, 1 kB of request and 0.8 kB
of answer. Time is CPU time of the verifying process, which uses one core, beyond that for an empty
log.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANAGE = (sys.executable, "manage.py", "audit")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a command took."""

    cpu_s: float
    memory_mib: float


def main() -> int:
    """Write, verify and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.audit_verify")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=20, help="records that share a commit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="enclave-verify-") as directory:
        folder = Path(directory)
        set_up(folder)
        key = folder / "public.pem"
        key.write_bytes(subprocess.check_output([*MANAGE, "key"], cwd=ROOT))
        empty = verified(folder, "empty.jsonl")
        write(options.records, options.batch)
        print(f"{options.records:,} records in commits of {options.batch}")
        for name, cost in verified(folder, "full.jsonl").items():
            rate = options.records / (cost.cpu_s - empty[name].cpu_s)
            memory = f"{cost.memory_mib:.0f} MiB, {empty[name].memory_mib:.0f} for an empty log"
            print(f"{name}: {rate:,.0f} records/s on one core, {memory}")
    return 0


def verified(folder: Path, proof: str) -> dict[str, Cost]:
    """Verify the log in both ways."""
    reason = ("--content", "--reason", "benchmark")
    subprocess.run([*MANAGE, "proof", *reason, str(folder / proof)], cwd=ROOT, check=True)
    alone = [
        *(sys.executable, "scripts/verify_audit_log.py", str(folder / proof)),
        *("--public-key", str(folder / "public.pem")),
        *("--auditor-key", str(folder / "auditor_key.pem")),
    ]
    return {
        "manage.py audit verify": measured([*MANAGE, "verify"]),
        "scripts/verify_audit_log.py": measured(alone),
    }


def measured(command: Sequence[str]) -> Cost:
    """Run a command; it has to find nothing."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"{command} ended with {status}"
    return Cost(cpu_s=usage.ru_utime + usage.ru_stime, memory_mib=usage.ru_maxrss / 1024)


def set_up(folder: Path) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings.development")
    os.environ.setdefault("DATABASE_URL", "")
    os.environ |= {
        "GATEWAY_DATA_DIR": str(folder),
        "SECRET_KEY": "benchmark",
        "GATEWAY_ENCRYPTION_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    }
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from gateway.audit.chain import keys

    keys.require()


def write(records: int, batch: int) -> None:
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


if __name__ == "__main__":
    sys.exit(main())
