"""The data directory: private, whole, and one `serve` at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)

from gateway import data_dir
from gateway.data_dir import DataDirRefused

ROOT = Path(__file__).resolve().parents[2]


def mode(path):
    return path.stat().st_mode & 0o777


class TestPrepare:
    def test_makes_a_directory_for_this_user_only(self, tmp_path):
        data_dir.prepare(tmp_path / "a" / "var")

        assert mode(tmp_path / "a" / "var") == 0o700
        assert list((tmp_path / "a" / "var").iterdir()) == []

    def test_says_in_one_sentence_that_it_cannot_be_written(self, tmp_path):
        (tmp_path / "file").touch()

        with pytest.raises(DataDirRefused, match=r"file/var cannot be written \(Not a directory\)"):
            data_dir.prepare(tmp_path / "file" / "var")

    @pytest.mark.parametrize(
        "name", ["secrets.env", "signing_key.pem", "audit_signing_key.pem", "auditor_key.pem"]
    )
    def test_refuses_keys_that_others_may_read(self, tmp_path, name):
        (tmp_path / name).touch(0o600)
        data_dir.prepare(tmp_path)
        (tmp_path / name).chmod(0o640)

        with pytest.raises(DataDirRefused, match=rf"chmod 600 .*{name}"):
            data_dir.prepare(tmp_path)


class TestLock:
    def test_refuses_a_second_holder_until_the_first_is_gone(self, tmp_path):
        code = (
            "import sys; from pathlib import Path; from gateway import data_dir;"
            "held = data_dir.lock(Path(sys.argv[1])); print('held', flush=True); input()"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert other.stdout.readline() == b"held\n"

        with pytest.raises(DataDirRefused, match="already runs with the data directory"):
            data_dir.lock(tmp_path)
        other.kill()
        other.communicate()

        data_dir.lock(tmp_path).close()


class TestMakeSecrets:
    def test_makes_keys_that_only_this_user_may_read(self, tmp_path):
        assert data_dir.make_secrets(tmp_path) is True

        lines = (tmp_path / "secrets.env").read_text().splitlines()
        values = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
        assert mode(tmp_path / "secrets.env") == 0o600
        assert len(values["SECRET_KEY"]) >= 50
        assert Fernet(values["GATEWAY_ENCRYPTION_KEYS"])

    def test_never_replaces_keys(self, tmp_path):
        data_dir.make_secrets(tmp_path)
        before = (tmp_path / "secrets.env").read_text()

        assert data_dir.make_secrets(tmp_path) is False
        assert (tmp_path / "secrets.env").read_text() == before


class TestMakeSigningKey:
    def test_makes_an_rsa_key_once(self, tmp_path):
        file = data_dir.make_signing_key(tmp_path)
        text = file.read_bytes()

        assert data_dir.make_signing_key(tmp_path) == file
        assert file.read_bytes() == text
        assert mode(file) == 0o600
        assert load_pem_private_key(text, password=None).key_size == 2048


class TestWritePrivate:
    def test_replaces_a_file_whole_and_makes_it_private(self, tmp_path):
        file = tmp_path / "first-run.env"
        file.write_text("a longer text than the next")
        file.chmod(0o644)

        data_dir.write_private(file, "short")

        assert file.read_text() == "short"
        assert mode(file) == 0o600
        assert list(tmp_path.iterdir()) == [file]


class TestMakeAuditKeys:
    def test_makes_private_files_once(self, tmp_path):
        files = data_dir.make_audit_signing_key(tmp_path), data_dir.make_auditor_key(tmp_path)
        made = {path: path.read_text() for path in tmp_path.iterdir()}

        again = data_dir.make_audit_signing_key(tmp_path), data_dir.make_auditor_key(tmp_path)

        assert files == again
        assert {path: path.read_text() for path in tmp_path.iterdir()} == made
        assert {path.name for path in made} == {
            *("audit_signing_key.pem", "auditor_key.pem", "auditor_public_key.pem")
        }
        assert {mode(path) for path in made} == {0o600}

    def test_gives_the_auditors_key_its_public_half(self, tmp_path):
        public = load_pem_public_key(data_dir.make_auditor_key(tmp_path).read_bytes())

        private = load_pem_private_key((tmp_path / "auditor_key.pem").read_bytes(), None)
        assert private.public_key() == public


class TestWriteOnce:
    def test_lets_the_first_of_several_processes_win(self, tmp_path):
        file = tmp_path / "key.pem"

        for text in ("first", "second"):
            data_dir.write_once(file, text)

        assert file.read_text() == "first"
        assert list(tmp_path.iterdir()) == [file]
