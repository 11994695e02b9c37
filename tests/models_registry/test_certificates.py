"""Tests for models_registry/certificates.py."""

from __future__ import annotations

import ssl
from datetime import timedelta

import pytest
from django.utils import timezone

from models_registry.certificates import as_pem, describe, read, why_refused
from tests.models_registry.authority import Authority


class TestRead:
    def test_leaves_out_what_is_no_certificate(self, authority):
        broken = authority.pem.replace(authority.pem[100:140], "A" * 40)

        assert len(read(["nonsense", broken, authority.pem])) == 1


class TestDescribe:
    def test_names_who_signed_whom_until_when(self, authority):
        (shown,) = describe(read([authority.pem]))

        assert (shown.subject, shown.issuer) == ("Enclave test authority",) * 2
        assert shown.not_after == f"{timezone.now() + timedelta(days=10):%Y-%m-%d}"

    def test_shows_text_that_moves_nothing(self, tmp_path):
        (shown,) = describe(read([Authority(tmp_path, "a\u202eb\nc").pem]))

        assert shown.subject == "a\ufffdb\ufffdc"


class TestWhyRefused:
    def test_names_the_authority_that_signed_the_last_certificate(self, authority):
        facts = why_refused(read([authority.pem]), now=timezone.now())

        assert facts["missing"] == "Enclave test authority"
        assert facts["names"] == "no host"

    def test_names_the_certificate_that_ended(self, authority):
        chain = read([authority.pem])

        facts = why_refused(chain, now=timezone.now() + timedelta(days=11))

        assert facts["ended"].startswith("Enclave test authority, which ended on 20")

    def test_can_do_without_a_chain(self):
        assert set(why_refused([], now=timezone.now())) == {"missing", "ended", "names"}


class TestAsPem:
    def test_keeps_the_certificates_and_nothing_else(self, authority):
        file = f"# Bücher GmbH\n{authority.pem}\n\n{authority.pem}".encode()

        assert as_pem(file) == authority.pem * 2

    def test_takes_a_binary_file_too(self, authority):
        assert as_pem(ssl.PEM_cert_to_DER_cert(authority.pem)) == authority.pem

    @pytest.mark.parametrize("file", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nnonsense"])
    def test_refuses_what_holds_none(self, file):
        with pytest.raises(ValueError, match=r"PEM|parsing"):
            as_pem(file)
