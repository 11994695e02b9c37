"""What the tests of models_registry share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models_registry import egress, egress_ledger
from tests.models_registry.authority import Authority


@pytest.fixture(autouse=True)
def _no_connection_left() -> Iterator[None]:
    yield
    egress.close_connections()
    egress_ledger.take()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "Enclave test authority")
