"""EncryptedTextField: a secret at rest, readable only with GATEWAY_ENCRYPTION_KEYS.

The first key encrypts, all decrypt. To rotate: put a new key first, assign `decrypt(row.api_key)`
to each row's `api_key` and save it, drop the old key.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models

PREFIX = "f1:"


class CannotDecrypt(Exception):
    """A stored secret fits none of GATEWAY_ENCRYPTION_KEYS."""


class Stored(str):
    """A secret as it stands in the database; a plain `str` is one that was typed in."""

    __slots__ = ()


@lru_cache(maxsize=4)
def _box(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(value: str) -> Stored:
    """Return the stored form of a secret; an empty string stays empty."""
    if not value:
        return Stored(value)
    token = _box(tuple(settings.GATEWAY_ENCRYPTION_KEYS)).encrypt(value.encode())
    return Stored(PREFIX + token.decode())


def decrypt(stored: str) -> str:
    """Return the secret.

    Raises:
        CannotDecrypt: no key fits, or the value was never encrypted.
    """
    if not stored:
        return ""
    if not stored.startswith(PREFIX):
        raise CannotDecrypt("a stored secret is not encrypted")
    try:
        token = stored[len(PREFIX) :].encode()
        return _box(tuple(settings.GATEWAY_ENCRYPTION_KEYS)).decrypt(token).decode()
    except InvalidToken as exc:
        raise CannotDecrypt("no key in GATEWAY_ENCRYPTION_KEYS fits a stored secret") from exc


def clear_text(value: str) -> str:
    """Return the secret that a row's attribute holds, be it just typed in or read back.

    Raises:
        CannotDecrypt: it was read back, and no key fits.
    """
    return decrypt(value) if isinstance(value, Stored) else value


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]  # generic only in the stubs
    """Text that is encrypted on its way to the database. No look-ups but isnull.

    Reading does not decrypt: one broken row must not take a whole list down. Call `decrypt` where
    the secret is used.
    """

    def from_db_value(self, value: str | None, *_: object) -> Stored | None:
        """Mark what comes from the database, so that saving it again does not encrypt it twice."""
        return None if value is None else Stored(value)

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Encrypt, and leave the row in memory as if it had been read back."""
        value = getattr(model_instance, self.attname)
        if value is not None and not isinstance(value, Stored):
            setattr(model_instance, self.attname, encrypt(str(value)))
        return super().pre_save(model_instance, add)

    def get_prep_value(self, value: Any) -> Any:
        if value is None:
            return value
        return str(value if isinstance(value, Stored) else encrypt(str(value)))

    def get_lookup(self, lookup_name: str) -> Any:
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None
