"""The keys that sign tokens: GitLab's by OIDC discovery, our own from a file.

GitLab rotates its keys and may be down for a while. So the last good keys of each provider are
kept (for GATEWAY_JWKS_STALE_S), an unknown `kid` fetches anew at most every GATEWAY_JWKS_REFETCH_S
whoever asks, and one provider's failure does not touch another's keys.

Source: OpenID Connect Discovery 1.0, section 4; gitlab-client.md 4.2.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.conf import settings
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from gateway import concurrency
from models_registry import egress
from models_registry.errors import ModelError

logger = logging.getLogger(__name__)

FETCH_TIMEOUT_S = 3.0
KEYS_MAX = 100
RSA_BITS_MIN = 2048
# Before the first success there is nothing to serve from: ask again sooner.
FIRST_RETRY_S = 2.0
# After this share of GATEWAY_JWKS_STALE_S keys are renewed: every hour of a day.
RENEW_SHARE = 1 / 24


class NoKeys(Exception):
    """No provider's keys could be fetched, or not for too long."""


@dataclass(slots=True)
class Provider:
    """One OIDC provider and its last good keys."""

    url: str
    keys: dict[str, RSAPublicKey] = field(default_factory=dict)
    fetched_at: float | None = None
    tried_at: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_due(self, *, is_unknown: bool, now: float) -> bool:
        """Test whether to fetch: nothing yet, too old, or an unknown key after the cool-down."""
        if self.tried_at is None:
            return True
        has_keys = self.fetched_at is not None
        pause_s = settings.GATEWAY_JWKS_REFETCH_S if has_keys or not is_unknown else FIRST_RETRY_S
        if now - self.tried_at < pause_s:
            return False
        renew_s = RENEW_SHARE * settings.GATEWAY_JWKS_STALE_S
        is_old = self.fetched_at is None or now - self.fetched_at >= renew_s
        return is_unknown or is_old

    def usable_keys(self, now: float) -> dict[str, RSAPublicKey]:
        """Return the keys, unless GitLab was silent for longer than GATEWAY_JWKS_STALE_S."""
        if self.fetched_at is None or now - self.fetched_at > settings.GATEWAY_JWKS_STALE_S:
            return {}
        return self.keys

    def fetch_if_due(self) -> None:
        """Fetch for a request that needs the answer, or wait for the fetch that is under way."""
        with self.lock:
            if self.is_due(is_unknown=True, now=time.monotonic()):
                self._fetch()

    def renew_beside(self) -> None:
        """Fetch beside the requests where the keys get old: a known key waits for nobody."""
        is_due = self.is_due(is_unknown=False, now=time.monotonic())
        if is_due and self.lock.acquire(blocking=False):
            concurrency.start(self._renew, name="oidc-renewal")

    def _renew(self) -> None:
        try:
            self._fetch()
        finally:
            self.lock.release()

    def _fetch(self) -> None:
        """Replace the keys by what the provider serves; keep the last good ones if it fails."""
        try:
            self.keys = _keys(self.url)
            self.fetched_at = time.monotonic()
        except (ModelError, ValueError) as exc:
            logger.warning(
                "oidc.fetch_failed", extra={"error": type(exc).__name__, "reason": str(exc)}
            )
        finally:
            # The end, not the start: those who waited for this fetch must not repeat it.
            self.tried_at = time.monotonic()


class KeySets:
    """The providers that the settings name."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        """Fetch nothing before the first question."""
        self._providers = [Provider(url=url) for url in urls]

    def candidates(self, kid: str | None) -> list[RSAPublicKey]:
        """Return the keys that may have signed a token: the one named, or all if it names none.

        Raises:
            NoKeys: nothing was fetched for too long, so nothing can be said about the token.
        """
        found = self._find(kid)
        if found:
            for provider in self._providers:
                provider.renew_beside()
            return found
        for provider in self._providers:
            provider.fetch_if_due()
            found = self._find(kid)
            if found and kid is not None:
                return found
        if not self._find(None):
            raise NoKeys
        return found

    def _find(self, kid: str | None) -> list[RSAPublicKey]:
        now = time.monotonic()
        keys = {k: v for p in self._providers for k, v in p.usable_keys(now).items()}
        if kid is None:
            return list(keys.values())
        return [keys[kid]] if kid in keys else []


def _keys(base_url: str) -> dict[str, RSAPublicKey]:
    """Return the provider's RSA signing keys by `kid`.

    Raises:
        ModelError: it cannot be reached.
        ValueError: it answered something else than a key set.
    """
    discovery = egress.fetch_json(
        f"{base_url.rstrip('/')}/.well-known/openid-configuration", timeout_s=FETCH_TIMEOUT_S
    )
    jwks_uri = discovery.get("jwks_uri") if isinstance(discovery, dict) else None
    if not isinstance(jwks_uri, str):
        raise ValueError("the discovery document names no jwks_uri")
    if base_url.startswith("https:") and not jwks_uri.startswith("https:"):
        raise ValueError("jwks_uri is not https although the provider is")
    document = egress.fetch_json(jwks_uri, timeout_s=FETCH_TIMEOUT_S)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise ValueError("the key set is malformed or too long")
    keys: dict[str, RSAPublicKey] = {}
    for entry in listed:
        key = _rsa_key(entry)
        if key is not None and keys.setdefault(entry["kid"], key) != key:
            raise ValueError("the key set names two keys alike")
    if not keys:
        raise ValueError("the key set holds no RSA signing key")
    return keys


def _rsa_key(entry: Any) -> RSAPublicKey | None:
    """Return the key if it can verify RS256; others in the set are none of our business."""
    if not isinstance(entry, dict) or entry.get("kty") != "RSA":
        return None
    if entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid"), str):
        return None
    try:
        key = PyJWK.from_dict(entry, algorithm="RS256").key
    except PyJWTError:
        return None
    is_strong = isinstance(key, RSAPublicKey) and key.key_size >= RSA_BITS_MIN
    return key if is_strong else None


@lru_cache(maxsize=4)
def _key_sets(urls: tuple[str, ...]) -> KeySets:
    return KeySets(urls)


def provider_keys() -> KeySets:
    """Return the key sets of GitLab and of other trusted issuers."""
    urls = (settings.GATEWAY_GITLAB_URL, *settings.GATEWAY_OIDC_URLS)
    return _key_sets(tuple(url for url in urls if url))


class NoSigningKey(Exception):
    """GATEWAY_SIGNING_KEY_FILE is not set or holds no RSA private key."""


@lru_cache(maxsize=4)
def _load_signing_key(path: str) -> RSAPrivateKey:
    if not path:
        raise NoSigningKey("GATEWAY_SIGNING_KEY_FILE is not set")
    try:
        key = load_pem_private_key(Path(path).read_bytes(), None)
    except (OSError, ValueError, TypeError) as exc:
        raise NoSigningKey("GATEWAY_SIGNING_KEY_FILE holds no readable private key") from exc
    if not isinstance(key, RSAPrivateKey):
        raise NoSigningKey("GATEWAY_SIGNING_KEY_FILE holds no RSA key")
    return key


def signing_key() -> RSAPrivateKey:
    """Return the key that signs our own user tokens.

    Raises:
        NoSigningKey: there is none.
    """
    return _load_signing_key(settings.GATEWAY_SIGNING_KEY_FILE)
