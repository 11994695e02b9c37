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
    gateway.E020  a key of the audit log that is named cannot be used
    gateway.E021  GATEWAY_AUDIT_ANCHORS names no place, or GATEWAY_AUDIT_CHECKPOINT_S is no interval
    gateway.W020  GATEWAY_AUDIT_ANCHORS is empty, or holds only files of our own (deploy)
    gateway.W021  the auditors' private key lies on this machine (deploy)

Ids are never used twice; retired ones stay listed here.
"""

from __future__ import annotations

from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.core.exceptions import ImproperlyConfigured, ValidationError

from features.catalog import PROMPTS
from gateway import data_dir
from gateway.audit import siem
from gateway.audit.chain import anchors, keys
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
    "GATEWAY_AUDIT_CHECKPOINT_S",
    "GATEWAY_SNAPSHOT_POLL_S",
    "GATEWAY_LEASE_S",
    "GATEWAY_JWKS_REFETCH_S",
    "GATEWAY_JWKS_STALE_S",
)


# A little under a minute: a checkpoint may be taken by another process than the one that was due.
CHECKPOINT_MAX_S = 50


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


@register
def audit_log_can_be_proved(**_: Any) -> list[CheckMessage]:
    """Check the keys that are named, the interval, and the places outside."""
    found: list[CheckMessage] = []
    for name, load in (
        ("GATEWAY_AUDIT_SIGNING_KEY_FILE", keys.signing_key),
        ("GATEWAY_AUDITOR_PUBLIC_KEY_FILE", keys.auditor_public_key),
    ):
        if getattr(settings, name):
            try:
                load()
            except keys.KeyUnusable as exc:
                found.append(Error(f"{name}: {exc}", id="gateway.E020"))
    if settings.GATEWAY_AUDIT_CHECKPOINT_S > CHECKPOINT_MAX_S:
        found.append(
            Error(
                f"GATEWAY_AUDIT_CHECKPOINT_S must be {CHECKPOINT_MAX_S} at most.",
                hint="Checkpoints are promised at most a minute apart.",
                id="gateway.E021",
            )
        )
    for address in settings.GATEWAY_AUDIT_ANCHORS:
        try:
            anchors.check(address)
        except ImproperlyConfigured as exc:
            found.append(Error(f"GATEWAY_AUDIT_ANCHORS: {exc}", id="gateway.E021"))
    return found


@register(deploy=True)
def audit_log_is_proved_outside(**_: Any) -> list[CheckMessage]:
    """Check that the proof is not all in the hands of whoever runs the gateway."""
    found: list[CheckMessage] = []
    if all(anchors.is_ours(address) for address in settings.GATEWAY_AUDIT_ANCHORS):
        found.append(
            Warning(
                "GATEWAY_AUDIT_ANCHORS names no place outside: whoever controls this machine can"
                " roll the audit log back.",
                id="gateway.W020",
            )
        )
    key = settings.GATEWAY_DATA_DIR / data_dir.AUDITOR_KEY
    if key.exists():
        found.append(
            Warning(f"{key} is the auditors'; move it to their machine.", id="gateway.W021")
        )
    return found


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
