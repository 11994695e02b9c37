"""Promises of scripts/verify_audit_log.py: its arithmetic, and what it must not be talked into.

That it agrees with `manage.py audit verify`: tests/gateway/audit/chain/test_tampering.py.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts import verify_audit_log
from scripts.verify_audit_log import ORDER, P, Unusable, is_signature, read_key, x25519

FILE = Path(verify_audit_log.__file__)

# RFC 8032, section 7.1: public key, message, signature.
ED25519 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e3970"
        "1cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613"
        "d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760"
        "984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
# RFC 7748, section 5.2: scalar, u, result.
X25519 = [
    (
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    ),
    (
        "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
        "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
    ),
]


class TestSignature:
    @pytest.mark.parametrize(("key", "message", "signature"), ED25519)
    def test_is_that_of_rfc_8032(self, key, message, signature):
        key, message, signature = map(bytes.fromhex, (key, message, signature))

        assert is_signature(key, message, signature)
        assert not is_signature(key, message + b"x", signature)

    @settings(max_examples=20, deadline=None)
    @given(st.binary(max_size=100), st.integers(0, 511))
    def test_of_another_library_is_accepted_and_no_bit_may_differ(self, message, bit):
        private = Ed25519PrivateKey.generate()
        key, signature = private.public_key().public_bytes_raw(), private.sign(message)

        assert is_signature(key, message, signature)
        forged = int.from_bytes(signature, "big") ^ (1 << bit)
        assert not is_signature(key, message, forged.to_bytes(64, "big"))

    def test_has_one_form_only(self):
        """Adding the group's order to the second half gives another that most algebra accepts."""
        private = Ed25519PrivateKey.generate()
        key, signature = private.public_key().public_bytes_raw(), private.sign(b"x")
        s = int.from_bytes(signature[32:], "little") + ORDER

        assert not is_signature(key, b"x", signature[:32] + s.to_bytes(32, "little"))

    @pytest.mark.parametrize(
        "key",
        [
            b"",
            bytes(31),
            bytes(33),
            (2).to_bytes(32, "little"),  # no point has this y
            P.to_bytes(32, "little"),  # 0, written as p
            (1 | 1 << 255).to_bytes(32, "little"),  # x is 0, and said to be odd
        ],
    )
    def test_of_no_key_is_none(self, key):
        assert not is_signature(key, b"x", bytes(64))

    @pytest.mark.parametrize("signature", [b"", bytes(63), bytes(65), b"\xff" * 64])
    def test_of_no_form_is_none(self, signature):
        key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()

        assert not is_signature(key, b"x", signature)


class TestSharedSecret:
    @pytest.mark.parametrize(("scalar", "u", "result"), X25519)
    def test_is_that_of_rfc_7748(self, scalar, u, result):
        assert x25519(bytes.fromhex(scalar), bytes.fromhex(u)).hex() == result

    @settings(max_examples=20, deadline=None)
    @given(st.data())
    def test_is_that_of_another_library(self, data):
        private, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()

        shared = x25519(private.private_bytes_raw(), other.public_key().public_bytes_raw())

        assert shared == private.exchange(other.public_key())


class TestReadKey:
    def test_takes_what_openssl_writes(self, tmp_path):
        file = tmp_path / "key.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", file], check=True)
        public = subprocess.run(
            ["openssl", "pkey", "-in", file, "-pubout", "-outform", "DER"],
            check=True,
            capture_output=True,
        ).stdout[-32:]

        private = Ed25519PrivateKey.from_private_bytes(read_key(file))
        assert private.public_key().public_bytes_raw() == public

    @pytest.mark.parametrize(
        "text",
        ["", "a word", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
    )
    def test_says_that_it_is_none(self, tmp_path, text):
        (tmp_path / "key.pem").write_text(text)

        with pytest.raises(Unusable, match="no key"):
            read_key(tmp_path / "key.pem")


class TestFile:
    def run(self, *arguments):
        return subprocess.run(
            # Isolated: neither our packages nor our modules.
            [sys.executable, "-I", "-S", str(FILE), *map(str, arguments)],
            capture_output=True,
            text=True,
        )

    @pytest.fixture
    def key(self, tmp_path):
        file = tmp_path / "public.pem"
        raw = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        body = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + raw).decode()
        file.write_text(f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
        return file

    def test_needs_nothing_but_python(self):
        assert self.run("--help").returncode == 0

    def test_takes_an_empty_log_for_one(self, tmp_path, key):
        (tmp_path / "proof").write_text('{"at":"","enclave":"proof 1"}\n')

        done = self.run(tmp_path / "proof", "--public-key", key)

        assert (done.returncode, done.stderr) == (0, "")
        assert "No sign of tampering." in done.stdout

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{}\n",
            "a word\n",
            "[]\n",
            '{"enclave":"proof 1"}\nnonsense\n',
            '{"enclave":"proof 1"}\n{"unknown":{}}\n',
            '{"enclave":"proof 1"}\n{"lane":{}}\n',
            '{"enclave":"proof 1"}\n{"link":{"number":1}}\n',
        ],
    )
    def test_says_that_it_is_no_proof(self, tmp_path, key, text):
        (tmp_path / "proof").write_text(text)

        done = self.run(tmp_path / "proof", "--public-key", key)

        assert done.returncode == 2
        assert done.stderr.startswith("This cannot be verified: ")
        assert "Traceback" not in done.stderr

    def test_says_that_there_is_no_file(self, tmp_path, key):
        assert self.run(tmp_path / "none", "--public-key", key).returncode == 2
