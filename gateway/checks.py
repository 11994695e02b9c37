"""System checks of our own. They read settings and files, never the database.

    gateway.E001  a prompt of the catalog has no definition
    gateway.E002  a prompt definition is malformed
    gateway.E003  a limit is not a positive number
    gateway.E004  the field-encryption key is missing or malformed
    gateway.E005  GATEWAY_EGRESS_ALLOW or another choice is malformed
    gateway.E006  DEBUG is on or any host is allowed (deploy)
    gateway.W001  GATEWAY_GITLAB_URL is not set, so no GitLab can call (deploy)
    gateway.W002  GATEWAY_SIGNING_KEY_FILE is not set, so editors cannot call directly (deploy)
    gateway.I013  there is no index of GitLab's documentation, so searches find nothing (deploy)
    gateway.E014  GATEWAY_VENDOR_ROUTE_URL cannot be used
    gateway.W014  GATEWAY_VENDOR_ROUTE_URL is not https, so tokens travel in the clear (deploy)

Ids are never used twice; retired ones stay listed here.
"""

from __future__ import annotations

from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.core.exceptions import ImproperlyConfigured, ValidationError

from features.catalog import PROMPTS
from gateway.audit import siem
from gateway.documentation import index
from models_registry import egress
from models_registry.errors import ModelMisconfigured
from models_registry.families import FAMILIES
from prompts import library
from prompts.errors import InvalidPrompt, PromptNotFound

LIMITS = (
    "GATEWAY_BODY_MAX_BYTES",
    "GATEWAY_ANSWER_MAX_BYTES",
    "GATEWAY_BATCH_MAX_TEXTS",
    "GATEWAY_CODE_DEADLINE_S",
    "GATEWAY_PROMPT_DEADLINE_S",
    "GATEWAY_CHECK_DEADLINE_S",
    "GATEWAY_CONVERSATION_DEADLINE_S",
    "GATEWAY_CONNECT_S",
    "GATEWAY_FIRST_BYTE_S",
    "GATEWAY_IDLE_S",
    "GATEWAY_AUDIT_TIMEOUT_S",
    "GATEWAY_SNAPSHOT_POLL_S",
    "GATEWAY_LEASE_S",
    "GATEWAY_JWKS_REFETCH_S",
    "GATEWAY_JWKS_STALE_S",
)


@register
def prompts_exist(**_: Any) -> list[CheckMessage]:
    """Check that every prompt of the catalog is there for every family."""
    found: list[CheckMessage] = []
    for prompt in PROMPTS.values():
        for family in FAMILIES:
            try:
                library.get_definition(prompt.slug, family)
            except PromptNotFound as exc:
                found.append(Error(str(exc), id="gateway.E001"))
            except InvalidPrompt as exc:
                found.append(Error(str(exc), id="gateway.E002"))
    return found


@register
def limits_are_positive(**_: Any) -> list[CheckMessage]:
    """Check the numbers."""
    return [
        Error(f"{name} must be greater than 0.", id="gateway.E003")
        for name in LIMITS
        if getattr(settings, name) <= 0
    ]


@register
def secrets_are_usable(**_: Any) -> list[CheckMessage]:
    """Check the keys that encrypt secrets at rest."""
    if not settings.GATEWAY_ENCRYPTION_KEYS:
        return [
            Error(
                "GATEWAY_ENCRYPTION_KEYS is empty.",
                hint="`manage.py serve` makes one, or: python -c 'from cryptography.fernet import "
                "Fernet; print(Fernet.generate_key().decode())'",
                id="gateway.E004",
            )
        ]
    try:
        for key in settings.GATEWAY_ENCRYPTION_KEYS:
            Fernet(key)
    except ValueError:
        return [Error("GATEWAY_ENCRYPTION_KEYS holds a malformed key.", id="gateway.E004")]
    return []


@register
def choices_are_known(**_: Any) -> list[CheckMessage]:
    """Check what is spelled by hand."""
    found: list[CheckMessage] = []
    try:
        egress.parse_allow_list(tuple(settings.GATEWAY_EGRESS_ALLOW))
    except ImproperlyConfigured as exc:
        found.append(Error(str(exc), id="gateway.E005"))
    try:
        siem.check_receiver(settings.GATEWAY_SIEM_URL)
    except ModelMisconfigured as exc:
        found.append(Error(f"GATEWAY_SIEM_URL: {exc}", id="gateway.E005"))
    if settings.GATEWAY_UNREGISTERED_MODELS not in ("adopt", "refuse"):
        found.append(
            Error("GATEWAY_UNREGISTERED_MODELS must be adopt or refuse.", id="gateway.E005")
        )
    if settings.GATEWAY_CLIENT_MODEL_NAMES not in ("any", "listed"):
        found.append(Error("GATEWAY_CLIENT_MODEL_NAMES must be any or listed.", id="gateway.E005"))
    return found


@register
def vendor_route_is_usable(**_: Any) -> list[CheckMessage]:
    """Check where calls would leave to, if there is such a place."""
    if not settings.GATEWAY_VENDOR_ROUTE_URL:
        return []
    try:
        egress.validate_endpoint(settings.GATEWAY_VENDOR_ROUTE_URL)
    except ValidationError as exc:
        return [Error(f"GATEWAY_VENDOR_ROUTE_URL: {exc.message}", id="gateway.E014")]
    return []


@register(deploy=True)
def production_is_safe(**_: Any) -> list[CheckMessage]:
    """Check what a development machine may leave open."""
    found: list[CheckMessage] = []
    if settings.DEBUG or "*" in settings.ALLOWED_HOSTS:
        found.append(
            Error("DEBUG must be off and ALLOWED_HOSTS must name hosts.", id="gateway.E006")
        )
    if not settings.GATEWAY_GITLAB_URL:
        found.append(Warning("GATEWAY_GITLAB_URL is not set.", id="gateway.W001"))
    if not settings.GATEWAY_SIGNING_KEY_FILE:
        found.append(Warning("GATEWAY_SIGNING_KEY_FILE is not set.", id="gateway.W002"))
    if settings.GATEWAY_VENDOR_ROUTE_URL.startswith("http:"):
        found.append(Warning("GATEWAY_VENDOR_ROUTE_URL is not https.", id="gateway.W014"))
    return found


@register(deploy=True)
def documentation_is_indexed(**_: Any) -> list[CheckMessage]:
    """Check that Duo Chat finds something when it searches GitLab's documentation."""
    if index.path().exists():
        return []
    return [
        Info(
            "There is no index of GitLab's documentation.",
            hint="manage.py index_docs FOLDER, with a checkout of the GitLab that you run.",
            id="gateway.I013",
        )
    ]
