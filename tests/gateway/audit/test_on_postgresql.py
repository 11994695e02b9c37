"""The audit log and the configuration keep their promises on PostgreSQL too.

The suite itself runs on SQLite; this runs the tests whose code speaks SQL a second time.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
AGAIN = (
    "tests/gateway/audit/test_store.py",
    "tests/gateway/audit/test_writer.py",
    "tests/gateway/audit/test_records.py",
    "tests/gateway/audit/test_admin.py",
    "tests/gateway/audit/test_chores.py",
    "tests/gateway/audit/test_conditions.py",
    "tests/gateway/audit/test_contentindex.py",
    "tests/gateway/audit/test_export.py",
    "tests/gateway/audit/test_filters.py",
    "tests/gateway/audit/test_indexing.py",
    "tests/gateway/audit/test_ladders.py",
    "tests/gateway/audit/test_listing.py",
    "tests/gateway/audit/test_readings.py",
    "tests/gateway/audit/test_settled.py",
    "tests/gateway/audit/test_siem.py",
    "tests/gateway/audit/test_specimens.py",
    "tests/gateway/audit/test_views.py",
    "tests/gateway/audit/chain",
    "tests/gateway/test_maintenance.py",
    "tests/features/test_models.py",
    "tests/features/test_snapshot.py",
    "tests/features/test_history.py",
    "tests/features/test_proposal.py",
    "tests/features/config/test_applying.py",
    "tests/features/sync/test_run.py",
    "tests/features/sync/test_state.py",
    "tests/features/sync/test_swap.py",
    "tests/gateway/control/test_rehearsal.py",
    "tests/models_registry/test_adoption.py",
    "tests/models_registry/test_changes.py",
    "tests/models_registry/test_configuration.py",
    "tests/models_registry/test_models.py",
)


def test_promises_hold_on_postgresql(postgres_url):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *AGAIN],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": postgres_url},
        capture_output=True,
        text=True,
        timeout=900,
    )

    assert done.returncode == 0, done.stdout[-4000:]
