"""Promises of gateway/audit/chain/keys.py."""

import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gateway import data_dir
from gateway.audit.chain import formats, keys
from gateway.audit.chain.keys import KeyUnusable

STATEMENT = '{"enclave":"lane 1"}'


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.GATEWAY_DATA_DIR = tmp_path
    return tmp_path


@pytest.fixture
def trusted():
    return {keys.public_text(keys.signing_key())}


class TestSigning:
    def test_is_verified_by_the_public_key(self, trusted):
        made = keys.sign(STATEMENT)

        assert keys.is_signed(STATEMENT, made.text, signed_by=made.signed_by, trusted=trusted)

    @pytest.mark.parametrize(
        "forged",
        [
            {"statement": STATEMENT + " "},
            {"signature": "00" * 64},
            {"signature": "not hexadecimal"},
            {"signature": ""},
            {"signed_by": "00" * 32},
            {"signed_by": ""},
            {"trusted": set()},
        ],
    )
    def test_of_something_else_is_refused(self, trusted, forged):
        made = keys.sign(STATEMENT)
        given = {
            "statement": STATEMENT,
            "signature": made.text,
            "signed_by": made.signed_by,
            "trusted": trusted,
            **forged,
        }
        statement, signature = given.pop("statement"), given.pop("signature")

        assert not keys.is_signed(statement, signature, **given)

    def test_by_a_key_that_nobody_trusts_is_refused(self, trusted):
        other = Ed25519PrivateKey.generate()
        signature = other.sign(STATEMENT.encode()).hex()

        assert not keys.is_signed(
            STATEMENT, signature, signed_by=keys.public_text(other), trusted=trusted
        )

    def test_with_a_trusted_name_and_another_key_is_refused(self, trusted):
        signature = Ed25519PrivateKey.generate().sign(STATEMENT.encode()).hex()
        (name,) = trusted

        assert not keys.is_signed(STATEMENT, signature, signed_by=name, trusted=trusted)


class TestSecret:
    def test_is_the_auditors_and_the_writer_s_alone(self, folder):
        secret, auditor, ephemeral = keys.agree()

        private = keys.auditor_key(folder / data_dir.AUDITOR_KEY)

        assert keys.open_secret(private, ephemeral) == secret
        assert keys.public_text(private) == auditor
        assert keys.open_secret(X25519PrivateKey.generate(), ephemeral) != secret

    def test_is_another_for_each_lane(self):
        assert keys.agree()[0] != keys.agree()[0]

    def test_makes_other_keys_under_another_statement(self):
        secret = keys.agree()[0]

        assert formats.first_key(secret, STATEMENT) != formats.first_key(secret, STATEMENT + " ")


class TestFiles:
    def test_are_made_once(self):
        keys.require()
        first = keys.public_text(keys.signing_key()), keys.auditor_public_key().public_bytes_raw()
        keys._load_private.cache_clear()
        keys._load_public.cache_clear()

        keys.require()

        assert first == (
            keys.public_text(keys.signing_key()),
            keys.auditor_public_key().public_bytes_raw(),
        )

    def test_leave_the_auditors_private_key_where_it_was_moved(self, folder):
        keys.require()
        (folder / data_dir.AUDITOR_KEY).rename(folder / "elsewhere.pem")
        keys._load_public.cache_clear()

        keys.require()

        assert not (folder / data_dir.AUDITOR_KEY).exists()

    def test_may_come_from_openssl(self, settings, folder):
        """As docs/operations.md tells auditors to make theirs."""
        private, public = folder / "private.pem", folder / "public.pem"
        for command in (
            ["genpkey", "-algorithm", "x25519", "-out", str(private)],
            ["pkey", "-in", str(private), "-pubout", "-out", str(public)],
        ):
            subprocess.run(["openssl", *command], check=True)
        settings.GATEWAY_AUDITOR_PUBLIC_KEY_FILE = str(public)

        _, auditor, _ = keys.agree()

        assert auditor == keys.public_text(keys.auditor_key(private))

    def test_that_are_named_are_not_made(self, settings, folder):
        settings.GATEWAY_AUDIT_SIGNING_KEY_FILE = str(folder / "missing.pem")

        with pytest.raises(KeyUnusable, match=r"missing\.pem holds no readable key"):
            keys.require()

    @pytest.mark.parametrize(
        "load", [keys.auditor_key, keys.trusted_key], ids=["auditor_key", "trusted_key"]
    )
    def test_of_another_kind_are_refused(self, folder, load):
        keys.require()

        with pytest.raises(KeyUnusable, match="holds no"):
            load(folder / data_dir.AUDIT_SIGNING_KEY)

    def test_of_another_kind_do_not_sign(self, settings, folder):
        keys.require()
        settings.GATEWAY_AUDIT_SIGNING_KEY_FILE = str(folder / data_dir.AUDITOR_KEY)

        with pytest.raises(KeyUnusable, match="holds no Ed25519 key"):
            keys.signing_key()

    def test_of_another_kind_do_not_seal(self, settings, folder):
        keys.require()
        settings.GATEWAY_AUDITOR_PUBLIC_KEY_FILE = str(folder / data_dir.AUDITOR_KEY)

        with pytest.raises(KeyUnusable, match="holds no readable key"):
            keys.auditor_public_key()

    def test_cannot_be_made_where_nobody_may_write(self, settings, folder):
        (folder / "file").write_text("")
        settings.GATEWAY_DATA_DIR = folder / "file" / "below"

        with pytest.raises(KeyUnusable, match="cannot be written"):
            keys.require()
