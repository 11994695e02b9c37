"""Finding an interpreter: the first that really is one of the versions we run on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "find_python.sh"


@pytest.fixture
def bin_dir(tmp_path):
    return tmp_path


def put(bin_dir, name, version):
    """Put a program there that judges versions like the Python it pretends to be."""
    (bin_dir / name).write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = {version};$2"\n'
    )
    (bin_dir / name).chmod(0o755)


def find(bin_dir, **environment):
    return subprocess.run(
        ["/bin/sh", str(SCRIPT)],
        env={"PATH": str(bin_dir), **environment},
        capture_output=True,
        text=True,
    )


class TestFindPython:
    @pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
    def test_takes_python3_if_it_fits(self, bin_dir, version):
        put(bin_dir, "python3", version)

        assert find(bin_dir).stdout == "python3\n"

    @pytest.mark.parametrize("version", [(3, 10), (3, 14)])
    def test_passes_over_one_that_is_too_old_or_too_new(self, bin_dir, version):
        put(bin_dir, "python3", version)
        put(bin_dir, "python3.12", (3, 12))

        assert find(bin_dir).stdout == "python3.12\n"

    def test_passes_over_a_name_without_an_interpreter_behind_it(self, bin_dir):
        (bin_dir / "python3").write_text("#!/bin/sh\nexit 127\n")
        (bin_dir / "python3").chmod(0o755)
        put(bin_dir, "python3.11", (3, 11))

        assert find(bin_dir).stdout == "python3.11\n"

    def test_takes_the_one_that_is_named_by_hand(self, bin_dir):
        put(bin_dir, "python3", (3, 11))

        assert find(bin_dir, PYTHON=sys.executable).stdout == f"{sys.executable}\n"

    def test_says_in_one_sentence_that_there_is_none(self, bin_dir):
        found = find(bin_dir)

        assert found.returncode == 1
        assert found.stdout == ""
        assert found.stderr.startswith("Enclave needs Python 3.11, 3.12 or 3.13")
        assert found.stderr.count("\n") == 1
