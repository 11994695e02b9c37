"""Verifying and issuing tokens: GitLab's instance tokens and our own user tokens, all RS256.

Source: gateway-api.md 2.2 and 2.6; gitlab-client.md 4.1, 4.4.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from django.conf import settings
from jwt.exceptions import ExpiredSignatureError, InvalidAudienceError, PyJWTError

from gateway.api import keys
from gateway.calls import Caller

ALGORITHM = "RS256"
TOKEN_MAX_BYTES = 16 * 1024
USER_TOKEN_LIFETIME_S = 3600
# GitLab's numeric id of the user, by which groups know their members; `sub` is the global id.
USER_ID_CLAIM = "enclave_user_id"
USER_TOKEN_SCOPES = ("complete_code", "ai_gateway_model_provider_proxy")


class BadToken(Exception):
    """The token cannot be trusted; the message is for our log."""


def verify(token: str) -> dict[str, Any]:
    """Return the claims of a token that GitLab or we ourselves signed for us.

    Raises:
        BadToken: it is malformed, expired, meant for somebody else, or signed by a stranger.
    """
    if len(token) > TOKEN_MAX_BYTES:
        raise BadToken("the token is too long")
    try:
        header = jwt.get_unverified_header(token)
    except PyJWTError as exc:
        raise BadToken("the token is not a JWT") from exc
    if header.get("alg") != ALGORITHM:
        raise BadToken("the token is not signed with RS256")
    return _claims(token, _candidates(header.get("kid")))


def is_own(claims: dict[str, Any]) -> bool:
    """Test whether we issued the token ourselves: it then stands for one user."""
    return claims.get("iss") == settings.GATEWAY_TOKEN_AUDIENCE


def issue_user_token(caller: Caller) -> tuple[str, int]:
    """Return a token for the caller's user and when it expires, in seconds since 1970.

    Raises:
        NoSigningKey: we have nothing to sign with.
    """
    now = int(time.time())
    expires_at = now + USER_TOKEN_LIFETIME_S
    service = settings.GATEWAY_TOKEN_AUDIENCE
    claims = {
        "iss": service,
        "sub": caller.global_user_id or None,
        "aud": service,
        "exp": expires_at,
        "nbf": now,
        "iat": now,
        "jti": str(uuid4()),
        "gitlab_realm": caller.realm,
        "gitlab_instance_id": caller.claims.get("gitlab_instance_id", ""),
        "scopes": [scope for scope in USER_TOKEN_SCOPES if scope in caller.scopes],
    }
    if caller.user_id:
        claims[USER_ID_CLAIM] = caller.user_id
    for name in ("duo_seat_count", "gitlab_instance_uid"):
        if name in caller.claims:
            claims[name] = caller.claims[name]
    return jwt.encode(claims, keys.signing_key(), algorithm=ALGORITHM), expires_at


def _candidates(kid: object) -> Iterator[RSAPublicKey]:
    """Yield the public keys to try: ours first where the token names none, as our own tokens do.

    Raises:
        BadToken: there is no key to try.
    """
    if kid is not None and not isinstance(kid, str):
        raise BadToken("the token names no valid key")
    if kid is None:
        with suppress(keys.NoSigningKey):
            yield keys.signing_key().public_key()
    try:
        yield from keys.provider_keys().candidates(kid)
    except keys.NoKeys:
        raise BadToken(
            "no signing keys: GitLab's OIDC discovery cannot be reached (GATEWAY_GITLAB_URL)"
        ) from None


def _claims(token: str, candidates: Iterator[RSAPublicKey]) -> dict[str, Any]:
    reason: Exception | None = None
    for key in candidates:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=settings.GATEWAY_TOKEN_AUDIENCE,
                options={"require": ["exp", "aud"], "verify_sub": False, "verify_iat": False},
            )
        except (ExpiredSignatureError, InvalidAudienceError) as exc:
            raise BadToken(f"the token is not valid: {exc}") from exc
        except (PyJWTError, ValueError) as exc:
            reason = exc
    detail = f": {reason}" if reason else ": its key is unknown"
    raise BadToken(f"the token's signature or claims are not valid{detail}") from reason
