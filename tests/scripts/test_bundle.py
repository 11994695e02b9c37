"""The bundle holds what production needs and nothing else, and serves where there is no network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile

import pytest

from scripts import bundle
from tests.conftest import need
from tests.rig.processes import free_port
from tests.rig.services import find_unshare

# Wheels are fetched for the bundle.
pytestmark = pytest.mark.index


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The bundle of this tree."""
    return bundle.make(bundle.ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def unpacked(made, tmp_path_factory):
    """The folder that is in it."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(made) as archive:
        archive.extractall(folder, filter="data")
    (content,) = folder.iterdir()
    return content


@pytest.fixture
def bill(unpacked):
    """The bill of materials."""
    return json.loads((unpacked / bundle.SBOM).read_text())


class TestBundle:
    def test_is_named_after_its_version_and_machine(self, made):
        wanted = rf"enclave-{re.escape(bundle.version(bundle.ROOT))}-cp3\d\d-\w+\.tar\.gz"

        assert re.fullmatch(wanted, made.name)

    def test_holds_what_production_needs(self, unpacked):
        names = {path.name for path in unpacked.iterdir()}

        assert {"manage.py", "gateway", "features", "deploy", "docs", "wheels"} <= names
        assert names.isdisjoint({"tests", "benchmarks", "requirements-dev.txt", ".git", "var"})

    def test_lists_the_sum_of_every_file(self, unpacked):
        told = subprocess.run(
            ["sha256sum", "--check", "--quiet", bundle.SUMS], cwd=unpacked, capture_output=True
        )

        listed = {line.split("  ")[1] for line in (unpacked / bundle.SUMS).read_text().splitlines()}
        present = {str(p.relative_to(unpacked)) for p in unpacked.rglob("*") if p.is_file()}
        assert told.returncode == 0
        assert present - listed == {bundle.SUMS}

    def test_notices_a_changed_file(self, unpacked, tmp_path):
        copy = shutil.copytree(unpacked, tmp_path / "copy")
        (copy / "manage.py").write_text("# changed")

        told = subprocess.run(
            ["sha256sum", "--check", "--quiet", bundle.SUMS], cwd=copy, capture_output=True
        )

        assert b"manage.py: FAILED" in told.stdout


class TestBillOfMaterials:
    def test_names_every_wheel_with_its_hash(self, unpacked, bill):
        sums = (unpacked / bundle.SUMS).read_text()

        hashes = [component["hashes"][0]["content"] for component in bill["components"]]
        assert len(hashes) == len(list((unpacked / bundle.WHEELS).iterdir())) > 30
        assert all(f"{digest}  {bundle.WHEELS}/" in sums for digest in hashes)

    def test_names_the_licence_of_every_part(self, bill):
        nameless = [part["name"] for part in bill["components"] if not part["licenses"]]

        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
        assert nameless == []


class TestOffline:
    def test_installs_and_answers_without_a_network(self, unpacked, tmp_path):
        content, port = shutil.copytree(unpacked, tmp_path / "enclave"), str(free_port())

        told = subprocess.run(
            [
                *(need(find_unshare), "--net", "--map-root-user"),
                *(sys.executable, "-m", "tests.scripts.offline", str(content), port),
            ],
            cwd=bundle.ROOT,
            capture_output=True,
            text=True,
            timeout=240,
        )

        assert told.returncode == 0, told.stdout + told.stderr
        seen = json.loads(told.stdout)
        assert seen["could_leave"] is False
        assert "Set-up done" in seen["printed"]
        assert seen["answer"]["choices"][0]["text"].startswith("# echo:")


class TestRefusals:
    def test_outside_of_a_clone_it_is_said_so(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
        (tmp_path / "gateway").mkdir()
        (tmp_path / "gateway" / "__init__.py").write_text('__version__ = "1.0"')

        assert bundle.main([str(tmp_path / "dist")], root=tmp_path) == 1
        assert "make the bundle in a clone" in capsys.readouterr().err
