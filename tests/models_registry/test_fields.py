"""Tests for models_registry/fields.py."""

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import FieldError
from django.db import connection

from models_registry.fields import CannotDecrypt, Stored, clear_text, decrypt, encrypt
from models_registry.models import SelfHostedModel
from tests.factories import make_model

CANARY = "sk-canary-7f3a"


class TestEncrypt:
    def test_comes_back_by_decrypt_only(self):
        stored = encrypt(CANARY)

        assert CANARY not in stored
        assert decrypt(stored) == CANARY

    def test_leaves_an_empty_secret_empty(self):
        assert encrypt("") == ""
        assert decrypt("") == ""

    def test_never_gives_the_same_text_twice(self):
        assert encrypt(CANARY) != encrypt(CANARY)


class TestDecrypt:
    def test_reads_what_an_older_key_wrote(self, settings):
        stored = encrypt(CANARY)
        settings.GATEWAY_ENCRYPTION_KEYS = [
            Fernet.generate_key().decode(),
            *settings.GATEWAY_ENCRYPTION_KEYS,
        ]

        assert decrypt(stored) == CANARY

    def test_raises_when_no_key_fits(self, settings):
        stored = encrypt(CANARY)
        settings.GATEWAY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

        with pytest.raises(CannotDecrypt) as caught:
            decrypt(stored)

        assert CANARY not in str(caught.value)

    def test_refuses_what_was_never_encrypted(self):
        with pytest.raises(CannotDecrypt):
            decrypt(CANARY)


class TestClearText:
    def test_tells_typed_from_stored(self):
        assert clear_text(CANARY) == CANARY
        assert clear_text(encrypt(CANARY)) == CANARY

    def test_takes_a_typed_secret_literally_even_if_it_looks_stored(self):
        assert clear_text("f1:abc") == "f1:abc"


@pytest.mark.django_db
class TestEncryptedTextField:
    def test_writes_no_clear_text(self):
        model = make_model(api_key=CANARY)

        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT api_key FROM models_registry_selfhostedmodel"
                " UNION ALL SELECT api_key FROM models_registry_modelrevision"
            )
            written = [row[0] for row in cursor.fetchall()]

        assert len(written) == 2
        assert all(CANARY not in text for text in written)
        assert model.api_key != CANARY

    def test_encrypts_a_secret_that_looks_encrypted(self):
        model = make_model(api_key="f1:looks-stored")

        model.refresh_from_db()

        assert decrypt(model.api_key) == "f1:looks-stored"

    def test_does_not_encrypt_twice(self):
        model = make_model(api_key=CANARY)
        model.refresh_from_db()

        model.save()
        model.refresh_from_db()

        assert decrypt(model.api_key) == CANARY

    def test_encrypts_in_bulk_updates(self):
        model = make_model()

        SelfHostedModel.objects.filter(pk=model.pk).update(api_key=CANARY)
        model.refresh_from_db()

        assert isinstance(model.api_key, Stored)
        assert decrypt(model.api_key) == CANARY

    def test_cannot_be_searched(self):
        with pytest.raises(FieldError):
            list(SelfHostedModel.objects.filter(api_key=CANARY))
