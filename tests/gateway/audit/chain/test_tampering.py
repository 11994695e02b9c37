"""Whatever somebody does to the database, both verifiers see it and name the place.

Some trials of each kind here; `make tamper` runs a hundred.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from django.conf import settings
from django.db import transaction

from gateway import data_dir
from gateway.audit.chain import guards, keys, proof
from gateway.audit.chain.verify import verify
from gateway.audit.models import InferenceRecord
from scripts.verify_audit_log import Verifier, read_key
from tests.gateway.audit.chain.tampering import ATTACKS, place, write_log

pytestmark = pytest.mark.django_db(transaction=True)

TRIALS = int(os.environ.get("TAMPER_TRIALS", "3"))
SEED = int(os.environ.get("TAMPER_SEED", "1"))


def look(log, *, has_key=True):
    folder = Path(settings.GATEWAY_DATA_DIR)
    return verify(
        trusted={keys.public_text(keys.signing_key())},
        auditor=keys.auditor_key(folder / data_dir.AUDITOR_KEY) if has_key else None,
        outside=log.outside,
    )


def second_opinion(log, folder):
    """Return what the stand-alone verifier names in a proof: records, and places otherwise."""
    (folder / "proof.jsonl").write_bytes(b"".join(proof.lines(with_content=True)))
    (folder / "outside.log").write_text("".join(log.outside))
    verifier = Verifier(
        {keys.public_text(keys.signing_key())},
        read_key(Path(settings.GATEWAY_DATA_DIR) / data_dir.AUDITOR_KEY),
        [folder / "outside.log"],
    )
    with (folder / "proof.jsonl").open(encoding="utf-8") as lines:
        verifier.read(lines)
    places = {place for _, record, place in verifier.signs if not record}
    return {record for _, record, _ in verifier.signs} - {""}, places


@pytest.mark.parametrize("kind", ATTACKS)
class TestTampering:
    def test_is_found_and_named(self, kind, tmp_path):
        rng = random.Random(f"{kind} {SEED}")
        log = write_log(rng)
        for trial in range(TRIALS):
            with transaction.atomic():
                with guards.lifted():
                    tampered = ATTACKS[kind](log, rng)

                report = look(log)
                second = second_opinion(log, tmp_path)

                transaction.set_rollback(True)
            assert report.findings, f"trial {trial}"
            named = {finding.record for finding in report.findings} - {""}
            places = {place(finding) for finding in report.findings if not finding.record}
            told = "\n".join(map(str, report.findings))
            assert (named, places) == (tampered.records, tampered.places), f"trial {trial}\n{told}"
            assert second == (named, places), f"trial {trial}"


class TestLawfulLog:
    @pytest.mark.parametrize("seed", range(TRIALS))
    def test_raises_no_alarm(self, seed, tmp_path):
        rng = random.Random(seed)
        log = write_log(rng, records=60, erased=5, purged=10)

        report = look(log)

        assert report.findings == []
        assert report.pending == 0
        assert report.anchored == report.closed > 40
        assert report.purged == 60 - InferenceRecord.objects.count() > 0
        assert report.erased > 0
        assert second_opinion(log, tmp_path) == (set(), set())
