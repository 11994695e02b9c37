"""A small documentation of our own, and an index of it."""

from pathlib import Path

import pytest
from django.utils import timezone

from gateway.documentation import folder, index

CORPUS = Path(__file__).parent / "corpus"


def build(path=CORPUS):
    """Index a folder and return what the index holds."""
    found = folder.look_into(path)
    with index.building() as draft:
        for page in found.pages:
            draft.add(page, found.read(page))
        return draft.finish(version=found.version, now=timezone.now())


@pytest.fixture
def data_dir(settings, tmp_path):
    """An empty data directory."""
    settings.GATEWAY_DATA_DIR = tmp_path / "var"
    settings.GATEWAY_DATA_DIR.mkdir()
    return settings.GATEWAY_DATA_DIR


@pytest.fixture
def indexed(data_dir):
    """An index of the small documentation."""
    return build()
