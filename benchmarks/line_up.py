"""Who is measured, in the order of the report."""

from __future__ import annotations

from benchmarks.peers import LiteLLM, MLflow, Portkey
from benchmarks.targets import (
    Direct,
    Enclave,
    EnclaveServerPostgresql,
    EnclaveServerSqlite,
    Target,
)

TARGETS: dict[str, type[Target]] = {
    target.slug: target
    for target in (
        Direct,
        Enclave,
        EnclaveServerSqlite,
        EnclaveServerPostgresql,
        LiteLLM,
        MLflow,
        Portkey,
    )
}
OURS = tuple(slug for slug, target in TARGETS.items() if issubclass(target, Enclave))
PEERS = tuple(slug for slug, target in TARGETS.items() if target.is_peer)
