"""The data directory: what `manage.py serve` keeps there, for this user's eyes only.

secrets.env       SECRET_KEY and the field-encryption key, read by the development settings
signing_key.pem   signs the tokens that editors get for direct connections
audit_signing_key.pem   signs the lanes and checkpoints of the audit log
auditor_key.pem   the auditors' private key, to be moved to them; its public half stays
first-run.env     login and API key of the first start
enclave.sqlite3   the database, unless DATABASE_URL names another
docs.sqlite3      the index of GitLab's documentation, if `index_docs` built one
serve.lock        held while `serve` runs
redis.sock        where `serve` started a Redis of its own
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa, x25519

SECRETS = "secrets.env"
SIGNING_KEY = "signing_key.pem"
AUDIT_SIGNING_KEY = "audit_signing_key.pem"
AUDITOR_KEY = "auditor_key.pem"
AUDITOR_PUBLIC_KEY = "auditor_public_key.pem"
PRIVATE = (SECRETS, SIGNING_KEY, AUDIT_SIGNING_KEY, AUDITOR_KEY)
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class DataDirRefused(Exception):
    """The directory cannot be used; the message is one sentence for an operator."""


def prepare(path: Path) -> None:
    """Create the directory, or check that it is ours to write and that its keys are private.

    Raises:
        DataDirRefused: this user may not write it, or others may read a key in it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataDirRefused(
            f"The data directory {path} cannot be written ({error.strerror}); give this user the"
            " right to, or set GATEWAY_DATA_DIR to another folder."
        ) from error
    for file in (path / name for name in PRIVATE):
        if file.exists() and file.stat().st_mode & OTHERS:
            raise DataDirRefused(
                f"Other users of this machine may read {file}; run: chmod 600 {file}"
            )


def lock(path: Path) -> IO[str]:
    """Return the open lock file; the lock ends with the file or with the process.

    Raises:
        DataDirRefused: another `serve` holds it.
    """
    held = (path / "serve.lock").open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise DataDirRefused(
            f"Enclave already runs with the data directory {path}; stop it first, or set"
            " GATEWAY_DATA_DIR to another folder."
        ) from None
    return held


def make_secrets(path: Path) -> bool:
    """Write `secrets.env` unless it is there; say whether it did."""
    if (path / SECRETS).exists():
        return False
    write_private(path / SECRETS, _secrets())
    return True


def make_signing_key(path: Path) -> Path:
    """Return the file of the signing key, made now if it is missing."""
    file = path / SIGNING_KEY
    if not file.exists():
        write_private(file, _signing_key())
    return file


def make_audit_signing_key(path: Path) -> Path:
    """Return the file of the key that signs the audit log, made now if it is missing."""
    file = path / AUDIT_SIGNING_KEY
    if not file.exists():
        write_once(file, _pem(ed25519.Ed25519PrivateKey.generate()))
    return file


def make_auditor_key(path: Path) -> Path:
    """Return the file of the auditors' public key; the pair is made now if it is missing."""
    file = path / AUDITOR_PUBLIC_KEY
    if not file.exists():
        write_once(path / AUDITOR_KEY, _pem(x25519.X25519PrivateKey.generate()))
        made = serialization.load_pem_private_key((path / AUDITOR_KEY).read_bytes(), None)
        write_once(
            file,
            made.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode(),
        )
    return file


def write_once(file: Path, text: str) -> None:
    """Write a file of mode 600 unless it is there: of several processes one wins."""
    draft = file.with_name(f".{file.name}.{os.getpid()}.new")
    write_private(draft, text)
    with suppress(FileExistsError):
        os.link(draft, file)
    draft.unlink()


def write_private(file: Path, text: str) -> None:
    """Write a file of mode 600, whole or not at all."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        os.fchmod(out.fileno(), 0o600)
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)


def _secrets() -> str:
    return (
        "# Made by the first `manage.py serve`. Without the second line the stored model keys\n"
        "# cannot be read any more: back this file up with the database.\n"
        f"SECRET_KEY={secrets.token_urlsafe(48)}\n"
        f"GATEWAY_ENCRYPTION_KEYS={Fernet.generate_key().decode()}\n"
    )


def _signing_key() -> str:
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def _pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
