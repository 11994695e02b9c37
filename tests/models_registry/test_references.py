"""Tests for models_registry/references.py."""

import pytest

from models_registry.references import BadReference, resolve

CANARY = "sk-canary-55aa"


class TestResolve:
    def test_reads_the_environment(self, monkeypatch):
        monkeypatch.setenv("MODEL_KEY", CANARY)

        assert resolve("env:MODEL_KEY") == CANARY

    def test_reads_a_file_without_its_last_line_break(self, tmp_path):
        (tmp_path / "key").write_text(CANARY + "\n")

        assert resolve(f"file:{tmp_path / 'key'}") == CANARY

    @pytest.mark.parametrize(
        "reference",
        [CANARY, "", "env:", "file:", "env:NOT_SET_ANYWHERE", "file:/not/there", "file:/",
         "http://10.0.0.1/key", "file:a\0b"],
    )  # fmt: skip
    def test_refuses_what_leads_nowhere(self, reference):
        with pytest.raises(BadReference):
            resolve(reference)

    def test_never_repeats_a_secret(self, tmp_path):
        big = tmp_path / "big"
        big.write_text(CANARY * 10_000)
        binary = tmp_path / "binary"
        binary.write_bytes(b"\xff" + CANARY.encode())

        for reference in (CANARY, f"file:{big}", f"file:{binary}"):
            with pytest.raises(BadReference) as refusal:
                resolve(reference)
            assert CANARY not in str(refusal.value)
