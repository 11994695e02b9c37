"""Tests for models_registry/forms.py; how the key goes in and stays in is in test_admin.py."""

from __future__ import annotations

import ssl

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from models_registry import forms
from models_registry.forms import SelfHostedModelForm
from tests.models_registry.test_admin import FORM


def filled(file=None, **changes):
    files = {"ca_bundle_file": SimpleUploadedFile("ca.crt", file)} if file is not None else {}
    return SelfHostedModelForm({**FORM, **changes}, files)


class TestCaBundle:
    def test_comes_from_a_file(self, db, authority):
        form = filled(authority.pem.encode())

        assert form.is_valid(), form.errors
        assert form.instance.ca_bundle == authority.pem

    def test_comes_from_a_binary_file(self, db, authority):
        form = filled(ssl.PEM_cert_to_DER_cert(authority.pem))

        assert form.is_valid(), form.errors
        assert form.instance.ca_bundle == authority.pem

    def test_comes_from_the_text(self, db, authority):
        form = filled(ca_bundle=authority.pem)

        assert form.is_valid(), form.errors
        assert form.instance.ca_bundle.strip() == authority.pem.strip()

    def test_is_the_file_where_both_are_given(self, db, authority):
        form = filled(authority.pem.encode() * 2, ca_bundle=authority.pem)

        assert form.is_valid(), form.errors
        assert form.instance.ca_bundle == authority.pem * 2

    @pytest.mark.parametrize("file", [b"nonsense", b"\xff\xfe\x00", b"-----BEGIN CERTIFICATE-----"])
    def test_refuses_a_file_without_certificates(self, db, file):
        form = filled(file)

        assert form.errors["ca_bundle_file"] == ["This file holds no certificate, PEM or DER."]

    def test_refuses_a_file_that_is_too_large(self, db, monkeypatch):
        monkeypatch.setattr(forms, "BUNDLE_MAX_BYTES", 10)

        assert "larger than 10 bytes" in filled(b"x" * 11).errors["ca_bundle_file"][0]
