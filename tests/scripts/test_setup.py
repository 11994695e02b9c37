"""The set-up with a real virtual environment and a real pip, on a package made here."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile

import pytest

from scripts import setup


@pytest.fixture
def root(tmp_path):
    """A project whose lock files name one package each, both lying beside them."""
    for lock, package in (("requirements.txt", "probe"), ("requirements-dev.txt", "extra")):
        write_lock(tmp_path / lock, package, make_wheel(tmp_path, package))
    return tmp_path


def make_wheel(folder, package):
    wheel = folder / f"{package}-1.0-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{package}.py", "answer = 42\n")
        archive.writestr(f"{package}-1.0.dist-info/METADATA", metadata)
        archive.writestr(
            f"{package}-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{package}-1.0.dist-info/RECORD", "")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def write_lock(lock, package, digest):
    lock.write_text(
        f"--no-index\n--find-links {lock.parent}\n{package}==1.0 \\\n    --hash=sha256:{digest}\n"
    )


def imports(root, package):
    command = [root / ".venv" / "bin" / "python", "-c", f"import {package}"]
    return subprocess.run(command, capture_output=True).returncode == 0


class TestSetUp:
    def test_installs_once_what_the_lock_files_name(self, root):
        said = []

        setup.set_up("run", root=root, say=said.append)
        lines = len(said)
        setup.set_up("run", root=root, say=said.append)

        assert imports(root, "probe")
        assert not imports(root, "extra")
        assert said[0].startswith("Creating .venv with Python 3.")
        assert said[1] == "Installing 1 packages from requirements.txt …"
        assert said[-1].startswith("Set-up done in")
        assert len(said) == lines

    def test_knows_that_the_tests_set_is_the_larger_one(self, root):
        said = []
        setup.set_up("dev", root=root, say=said.append)
        lines = len(said)

        setup.set_up("run", root=root, say=said.append)

        assert imports(root, "probe")
        assert imports(root, "extra")
        assert len(said) == lines

    def test_installs_again_when_a_lock_file_changed(self, root):
        setup.set_up("run", root=root, say=lambda text: None)
        write_lock(root / "requirements.txt", "other", make_wheel(root, "other"))

        setup.set_up("run", root=root, say=lambda text: None)

        assert imports(root, "other")

    def test_makes_it_anew_when_its_python_is_gone(self, root):
        setup.set_up("run", root=root, say=lambda text: None)
        (root / ".venv" / "bin" / "python").unlink()

        setup.set_up("run", root=root, say=lambda text: None)

        assert imports(root, "probe")

    def test_refuses_a_package_that_is_not_the_locked_one(self, root, capsys):
        write_lock(root / "requirements.txt", "probe", "0" * 64)

        status = setup.main(["run"], root=root)

        printed = capsys.readouterr()
        assert status == 1
        assert printed.err.startswith("The package index delivered a file that is not the one")
        assert "Traceback" not in printed.err
        assert not imports(root, "probe")

    def test_says_in_one_sentence_that_a_folder_cannot_be_made(self, root, capsys):
        (root / ".venv").write_text("in the way")

        status = setup.main(["run"], root=root)

        assert status == 1
        assert capsys.readouterr().err.startswith(f"The folder {root}/.venv cannot be made: ")

    def test_names_debians_package_where_venv_is_incomplete(
        self, root, tmp_path, capsys, monkeypatch
    ):
        python = tmp_path / "python3"
        python.write_text(
            "#!/bin/sh\necho 'The virtual environment was not created successfully because"
            " ensurepip is not available.'\nexit 1\n"
        )
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))

        status = setup.main(["run"], root=root)

        assert status == 1
        assert f"apt-get install python3.{sys.version_info[1]}-venv" in capsys.readouterr().err


class TestExplain:
    @pytest.mark.parametrize(
        ("output", "sentence"),
        [
            ("error: command 'gcc' failed: No such file or directory", "no C compiler is here"),
            ("error: command 'x86_64-linux-gnu-gcc' failed: No such file or", "no C compiler"),
            ("unable to execute 'cc': No such file or directory", "no C compiler"),
            ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE", "not the one we locked"),
            ("OSError: [Errno 28] No space left on device", "disk is full"),
            ("ERROR: [Errno 13] Permission denied: '/srv/.venv/lib'", "may not write there"),
            ("NewConnectionError: Failed to establish a new connection", "cannot be reached"),
            ("ERROR: No matching distribution found for gevent==26.9.0", "may be incomplete"),
            ("Collecting x\nERROR: something new\n\n", "cannot be installed: something new."),
            ("", "cannot be installed: no reason was given."),
        ],
    )
    def test_says_what_pip_meant(self, output, sentence):
        assert sentence in setup.explain(output)

    def test_prefers_the_compiler_to_what_follows_from_it(self):
        output = (
            "error: command 'gcc' failed: No such file or directory\nNo matching distribution found"
        )

        assert "no C compiler is here" in setup.explain(output)


class TestCount:
    def test_counts_a_package_of_both_lock_files_once(self):
        assert setup.count(setup.LOCKS["dev"], root=setup.ROOT) < sum(
            setup.count((lock,), root=setup.ROOT) for lock in setup.LOCKS["dev"]
        )
