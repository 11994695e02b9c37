"""Authentication: the headers of a request in, a `Caller` out.

Three kinds of bearer: GitLab's instance token, our own user token (editors in direct mode), and
API keys. The texts of the refusals are GitLab's (gateway-api.md 2.4), because operators and
runbooks look for them; the reason that helps goes to our log.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from features import snapshot
from features.models import KEY_PREFIX, digest_key
from gateway.api import tokens
from gateway.api.errors import Unauthenticated
from gateway.audit.models import CallerKind
from gateway.calls import Caller

PUBLIC_PART = len(KEY_PREFIX) + 12
HEADER_MAX = 255


def authenticate(meta: Mapping[str, Any]) -> Caller:
    """Return who calls.

    Raises:
        Unauthenticated: the credentials are missing or bad.
    """
    authorization = meta.get("HTTP_AUTHORIZATION")
    if not authorization:
        raise Unauthenticated("No authorization header presented")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("Invalid authorization header")
    token = token.strip()
    if token.startswith(KEY_PREFIX):
        return _by_api_key(token)
    return _by_token(token, meta)


def _by_token(token: str, meta: Mapping[str, Any]) -> Caller:
    if meta.get("HTTP_X_GITLAB_AUTHENTICATION_TYPE") != "oidc":
        raise Unauthenticated(
            "Invalid authentication token type - only OIDC is supported",
            reason="X-Gitlab-Authentication-Type is not oidc, and the token is no API key",
        )
    if not token:
        raise Unauthenticated(
            "Forbidden by auth provider",
            reason=(
                "empty bearer: GitLab had no token to send. Assign a self-hosted model to Code "
                "Completion in GitLab first, then test the connection again"
            ),
        )
    try:
        claims = tokens.verify(token)
    except tokens.BadToken as exc:
        raise Unauthenticated("Forbidden by auth provider", reason=str(exc)) from exc
    _check_headers(claims, meta)
    return _caller(claims, meta)


def authenticate_client(meta: Mapping[str, Any]) -> Caller:
    """Return the program that calls with an API key, sent as OpenAI's or as Anthropic's clients do.

    Raises:
        Unauthenticated: it sends none, or a bad one.
    """
    scheme, _, token = meta.get("HTTP_AUTHORIZATION", "").partition(" ")
    bearer = token if scheme.lower() == "bearer" else ""
    # A client may send both, the other one meant for its vendor.
    sent = [key for key in (bearer.strip(), meta.get("HTTP_X_API_KEY", "").strip()) if key]
    key = next((key for key in sent if key.startswith(KEY_PREFIX)), None)
    if key is None:
        wanted = f"an API key of Enclave (it begins with {KEY_PREFIX})"
        raise Unauthenticated(f"Send {wanted}; this is none." if sent else f"Send {wanted}.")
    try:
        return _by_api_key(key)
    except Unauthenticated as refusal:
        words = "The API key is unknown, revoked or expired."
        raise Unauthenticated(words, reason=refusal.reason) from None


# Header, claim; an empty claim disables the check, a missing header does not (gateway-api.md 2.1).
_REALM = ("X-Gitlab-Realm", "gitlab_realm")
_INSTANCE = ("X-Gitlab-Instance-Id", "gitlab_instance_id")
_INSTANCE_SUBJECT = ("X-Gitlab-Instance-Id", "sub")
_USER_SUBJECT = ("X-Gitlab-Global-User-Id", "sub")


def _check_headers(claims: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    subject = _USER_SUBJECT if tokens.is_own(dict(claims)) else _INSTANCE_SUBJECT
    for header, claim in (_REALM, _INSTANCE, subject):
        expected = claims.get(claim)
        if expected and _header(meta, header) != expected:
            raise Unauthenticated(f"Header mismatch '{header}'")


def _caller(claims: Mapping[str, Any], meta: Mapping[str, Any]) -> Caller:
    scopes = claims.get("scopes")
    is_own = tokens.is_own(dict(claims))
    return Caller(
        kind=CallerKind.USER if is_own else CallerKind.INSTANCE,
        scopes=frozenset(s for s in scopes if isinstance(s, str))
        if isinstance(scopes, list)
        else frozenset(),
        realm=str(claims.get("gitlab_realm") or ""),
        claims=claims,
        # An editor writes its own headers: only what its token names is believed.
        **(_named_by_token(claims) if is_own else _claimed_by_instance(meta)),
    )


def _named_by_token(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user and the instance that our own token stands for."""
    instance_id = claims.get("gitlab_instance_uid") or claims.get("gitlab_instance_id")
    return {
        "user_id": str(claims.get(tokens.USER_ID_CLAIM) or ""),
        "global_user_id": str(claims.get("sub") or ""),
        "instance_id": str(instance_id or ""),
    }


def _claimed_by_instance(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what GitLab says of the user and the project behind a call."""
    names = ("X-Gitlab-Namespace-Id", "X-Gitlab-Root-Namespace-Id")
    ids = (_header(meta, name) for name in names)
    return {
        "instance_id": _header(meta, "X-Gitlab-Instance-Id"),
        "global_user_id": _header(meta, "X-Gitlab-Global-User-Id"),
        "user_id": _header(meta, "X-Gitlab-User-Id"),
        "namespace_ids": tuple(
            int(value) for value in ids if value.isascii() and value.isdigit() and len(value) < 19
        ),
    }


def _by_api_key(token: str) -> Caller:
    """Return the key's caller. An unknown key costs the same time as a wrong one."""
    key = snapshot.current().api_keys.get(token[:PUBLIC_PART])
    digest = digest_key(token)
    is_right = hmac.compare_digest(digest, key.digest if key else "0" * len(digest))
    if key is None or not is_right:
        raise Unauthenticated("Forbidden by auth provider", reason="unknown API key")
    if not key.is_active or (key.expires_at is not None and key.expires_at <= timezone.now()):
        raise Unauthenticated(
            "Forbidden by auth provider", reason="the API key is revoked or expired"
        )
    return Caller(
        kind=CallerKind.API_KEY,
        api_key_id=key.key_id,
        api_key_name=key.name,
        api_key_group_id=key.group_id,
        may_explain=key.may_explain,
    )


def _header(meta: Mapping[str, Any], name: str) -> str:
    value: str = meta.get(f"HTTP_{name.upper().replace('-', '_')}", "")
    return value[:HEADER_MAX]
