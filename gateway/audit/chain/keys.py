"""The keys of the chain: the gateway's own, which signs, and the auditors', which opens.

    GATEWAY_AUDIT_SIGNING_KEY_FILE   Ed25519, private: signs lanes and checkpoints
    GATEWAY_AUDITOR_PUBLIC_KEY_FILE  X25519, public: a lane's first key can be made with the
                                     private half, which is the auditors' alone

Where a setting is empty the key stands in the data directory and is made when first needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)
from django.conf import settings

from gateway import data_dir


class KeyUnusable(Exception):
    """A key file cannot be used; the message is one sentence for an operator."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """A signature and who made it, both in hexadecimal digits."""

    text: str
    signed_by: str


def sign(statement: str) -> Signature:
    """Return this installation's signature of a statement.

    Raises:
        KeyUnusable: there is no usable key.
    """
    key = signing_key()
    return Signature(
        text=key.sign(statement.encode()).hex(),
        signed_by=key.public_key().public_bytes_raw().hex(),
    )


def is_signed(statement: str, signature: str, *, signed_by: str, trusted: set[str]) -> bool:
    """Test whether one of the trusted keys signed a statement."""
    if signed_by not in trusted:
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed_by))
        key.verify(bytes.fromhex(signature), statement.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def agree() -> tuple[bytes, str, str]:
    """Return a new secret shared with the auditors, their public key, and the one it was made with.

    Raises:
        KeyUnusable: there is no usable key.
    """
    auditor = auditor_public_key()
    ephemeral = X25519PrivateKey.generate()
    return (
        ephemeral.exchange(auditor),
        auditor.public_bytes_raw().hex(),
        ephemeral.public_key().public_bytes_raw().hex(),
    )


def open_secret(auditor: X25519PrivateKey, ephemeral: str) -> bytes:
    """Return the secret that `agree` shared, as the auditors make it.

    Raises:
        ValueError: that is no public key.
    """
    return auditor.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(ephemeral)))


def require() -> None:
    """Make sure that both keys are there before the first record needs them.

    Raises:
        KeyUnusable: one is not.
    """
    signing_key()
    auditor_public_key()


def public_text(key: X25519PrivateKey | Ed25519PrivateKey) -> str:
    """Return a key's public half in hexadecimal digits, as statements name it."""
    return key.public_key().public_bytes_raw().hex()


# Files


def signing_key() -> Ed25519PrivateKey:
    """Return the key that signs.

    Raises:
        KeyUnusable: the file is missing, unreadable or holds another kind of key.
    """
    file = _file(settings.GATEWAY_AUDIT_SIGNING_KEY_FILE, data_dir.make_audit_signing_key)
    key = _load_private(file)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(f"{file} holds no Ed25519 key.")
    return key


def auditor_public_key() -> X25519PublicKey:
    """Return the public key of the auditors.

    Raises:
        KeyUnusable: the file is missing, unreadable or holds another kind of key.
    """
    file = _file(settings.GATEWAY_AUDITOR_PUBLIC_KEY_FILE, data_dir.make_auditor_key)
    key = _load_public(file)
    if not isinstance(key, X25519PublicKey):
        raise KeyUnusable(f"{file} holds no X25519 public key.")
    return key


def auditor_key(file: Path) -> X25519PrivateKey:
    """Return the private key of the auditors from a file.

    Raises:
        KeyUnusable: the file is missing, unreadable or holds another kind of key.
    """
    key = _load_private(file)
    if not isinstance(key, X25519PrivateKey):
        raise KeyUnusable(f"{file} holds no X25519 private key.")
    return key


def trusted_key(file: Path) -> str:
    """Return a public key that signs, from a PEM file, as statements name it.

    Raises:
        KeyUnusable: the file is missing, unreadable or holds another kind of key.
    """
    key = _load_public(file)
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnusable(f"{file} holds no Ed25519 public key.")
    return key.public_bytes_raw().hex()


def _file(setting: str, make: Callable[[Path], Path]) -> Path:
    if setting:
        return Path(setting)
    try:
        folder = Path(settings.GATEWAY_DATA_DIR)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return make(folder)
    except OSError as exc:
        raise KeyUnusable(f"{folder} cannot be written, so no key can be made there.") from exc


@lru_cache(maxsize=8)
def _load_private(file: Path) -> object:
    return _load(file, lambda data: load_pem_private_key(data, None))


@lru_cache(maxsize=8)
def _load_public(file: Path) -> object:
    return _load(file, load_pem_public_key)


def _load(file: Path, parse: Callable[[bytes], object]) -> object:
    try:
        return parse(file.read_bytes())
    except (OSError, ValueError, TypeError) as exc:
        raise KeyUnusable(f"{file} holds no readable key in PEM format.") from exc
