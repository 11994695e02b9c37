"""Certificates, as far as a person needs to know them: who, signed by whom, until when.

The texts are written by whoever made the certificate: they are shown as text, and what could move
the rest of a line is replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

TEXT_MAX = 200
HOSTS_MAX = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """One certificate of a chain; `not_after` is a date as people write it in logs."""

    subject: str
    issuer: str
    not_after: str


def read(pems: Iterable[str]) -> list[x509.Certificate]:
    """Return the certificates that can be read, in their order."""
    found = []
    for pem in pems:
        with suppress(ValueError):
            certificate = x509.load_pem_x509_certificate(pem.encode())
            _described(certificate)
            found.append(certificate)
    return found


def describe(chain: Iterable[x509.Certificate]) -> tuple[Certificate, ...]:
    """Return what to show of a chain."""
    return tuple(map(_described, chain))


def why_refused(chain: Sequence[x509.Certificate], *, now: datetime) -> dict[str, str]:
    """Return what advice about a refused chain mentions.

    Shape: `missing`, the authority that nobody here trusts; `ended`, the certificate that expired
    and when; `names`, what hosts the server's certificate is for.
    """
    if not chain:
        return {"missing": "unknown", "ended": "unknown", "names": "names that cannot be read"}
    ended = next((each for each in chain if each.not_valid_after_utc < now), chain[0])
    return {
        # Whoever signed the last one is missing, or is the last one itself.
        "missing": _name(chain[-1].issuer),
        "ended": f"{_name(ended.subject)}, which ended on {ended.not_valid_after_utc:%Y-%m-%d}",
        "names": ", ".join(_hosts(chain[0])) or "no host",
    }


def as_pem(file: bytes) -> str:
    """Return the certificates of a file, PEM or DER, as PEM without anything else.

    Raises:
        ValueError: it holds none, or a broken one.
    """
    if b"-----BEGIN" in file:
        found = x509.load_pem_x509_certificates(file)
    else:
        found = [x509.load_der_x509_certificate(file)]
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in found)


def _described(certificate: x509.Certificate) -> Certificate:
    return Certificate(
        subject=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        not_after=f"{certificate.not_valid_after_utc:%Y-%m-%d}",
    )


def _hosts(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    hosts = [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]
    return [_printable(host) for host in hosts[:HOSTS_MAX]]


def _name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return _printable(str(common[0].value) if common else name.rfc4514_string())


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)[:TEXT_MAX]
