"""SelfHostedModel, what an administrator edits, and ModelRevision, what a request is served with.

A record points at a revision, and a revision never changes: no request can be sent to the endpoint
of one version with the key of another, and an auditor sees what answered a year later.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models

from models_registry import certificates, egress, families, providers
from models_registry.changes import ConfigChange  # noqa: F401  # its table
from models_registry.configuration import Configuration, ConfigVersion  # noqa: F401  # its table
from models_registry.egress_ledger import as_entry
from models_registry.errors import ModelMisconfigured
from models_registry.fields import CannotDecrypt, EncryptedTextField, clear_text
from models_registry.providers.types import ModelConfig

UNREGISTERED = "unregistered"


class State(models.TextChoices):
    """Whether a model takes requests, and whether a person has looked at it."""

    ACTIVE = "active", "Active"
    DISABLED = "disabled", "Disabled"
    DISCOVERED = "discovered", "Discovered from GitLab"


def validate_pem(value: str) -> None:
    """Refuse a CA bundle that holds no certificate or a broken one."""
    try:
        certificates.as_pem(value.encode())
    except ValueError:
        raise ValidationError(
            "This is not a PEM file with certificates (-----BEGIN CERTIFICATE-----)."
        ) from None


class Connection(models.Model):
    """What is needed to call a model; the columns that a model and its revisions share."""

    family = models.CharField(max_length=50, choices=families.choices)
    provider = models.CharField(
        max_length=50, choices=providers.choices, default="openai_compatible"
    )
    endpoint = models.CharField(
        max_length=2048,
        blank=True,
        validators=[egress.validate_endpoint],
        help_text="Base URL. OpenAI-compatible servers want it with /v1 at the end.",
    )
    identifier = models.CharField(
        max_length=1000,
        blank=True,
        help_text="The backend's name for the model; a prefix such as custom_openai/ is cut.",
    )
    api_key = EncryptedTextField(blank=True)
    ca_bundle = models.TextField(
        blank=True,
        verbose_name="CA bundle",
        validators=[validate_pem],
        help_text="PEM; added to the system's authorities.",
    )
    has_native_fim = models.BooleanField(
        "native fill-in-the-middle",
        default=False,
        help_text="The backend serves text /completions and the model knows its FIM markers.",
    )
    takes_prefill = models.BooleanField(
        "continues a prefilled answer",
        default=False,
        help_text="The backend continues a last assistant message instead of answering it.",
    )
    is_reasoning = models.BooleanField(
        "reasoning parameters",
        default=False,
        help_text="Send max_completion_tokens and no temperature (o-series, GPT-5).",
    )
    context_window = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Tokens; empty: the family's.",
    )
    first_byte_s = models.FloatField(
        "first byte within (s)", null=True, blank=True, validators=[MinValueValidator(0.1)]
    )
    idle_s = models.FloatField(
        "silence at most (s)", null=True, blank=True, validators=[MinValueValidator(0.1)]
    )
    deadline_s = models.FloatField(
        "whole answer within (s)", null=True, blank=True, validators=[MinValueValidator(0.1)]
    )

    class Meta:
        abstract = True

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "family",
        "provider",
        "endpoint",
        "identifier",
        "ca_bundle",
        "has_native_fim",
        "takes_prefill",
        "is_reasoning",
        "context_window",
        "first_byte_s",
        "idle_s",
        "deadline_s",
    )

    def clean(self) -> None:
        """Refuse a row that could not be called."""
        if not self.endpoint and self.provider not in providers.WITHOUT_ENDPOINT:
            raise ValidationError({"endpoint": "This provider needs the address of a backend."})

    def digest_as(self, name: str) -> str:
        """Return what stands for this connection under a name, in revisions and in tests.

        Raises:
            CannotDecrypt: the key was encrypted with a key we no longer have.
        """
        return hashlib.sha256(f"{name}\n{self.fingerprint()}".encode()).hexdigest()

    def fingerprint(self) -> str:
        """Return what two equal connections have in common, without revealing the key.

        Raises:
            CannotDecrypt: the key was encrypted with a key we no longer have.
        """
        columns = [getattr(self, column) for column in self.COLUMNS]
        facts = json.dumps([*columns, clear_text(self.api_key)])
        return hmac.new(settings.SECRET_KEY.encode(), facts.encode(), hashlib.sha256).hexdigest()


class SelfHostedModel(Connection, Configuration):
    """One deployed LLM that the administrator knows."""

    name = models.CharField(max_length=255, unique=True)
    state = models.CharField(max_length=20, choices=State.choices, default=State.ACTIVE)
    current = models.ForeignKey(
        "ModelRevision", null=True, editable=False, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "self-hosted model"

    def __str__(self) -> str:
        return self.name

    # Mutators

    def write(self, **kwargs: Any) -> None:
        """Write the row and, where the connection changed, a new revision.

        Raises:
            CannotDecrypt: the stored key was encrypted with a key we no longer have.
        """
        super().write(**kwargs)
        previous_id, self.current = self.current_id, ModelRevision.of(self, model=self)
        if self.current_id != previous_id:
            super().write(update_fields=["current"])


class ModelRevision(Connection):
    """What a model was at one time. Rows are only ever added.

    `model` is empty where nobody registered one (GitLab named it in "Test connection") and where
    the model was deleted since.
    """

    model = models.ForeignKey(
        SelfHostedModel, null=True, on_delete=models.SET_NULL, related_name="revisions"
    )
    name = models.CharField(max_length=255)
    digest = models.CharField(max_length=64, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["model", "digest"], name="one_revision_per_connection"),
        )

    def __str__(self) -> str:
        return f"{self.name} (revision {self.pk})"

    # Factories

    @classmethod
    def of(cls, connection: Connection, *, model: SelfHostedModel | None) -> ModelRevision:
        """Return the revision that equals this connection, made now if it is new.

        Raises:
            CannotDecrypt: the key was encrypted with a key we no longer have.
        """
        columns = {column: getattr(connection, column) for column in cls.COLUMNS}
        name = model.name if model else UNREGISTERED
        digest = connection.digest_as(name)
        # Not get_or_create: without a model the database allows twins, and the first one will do.
        known = cls.objects.filter(model=model, digest=digest).order_by("pk").first()
        if known:
            known.heal(connection.api_key)
            return known
        return cls.objects.create(
            **columns, model=model, name=name, digest=digest, api_key=connection.api_key
        )

    # Mutators

    def heal(self, api_key: str) -> None:
        """Encrypt the same key anew if the stored one cannot be read any more."""
        try:
            clear_text(self.api_key)
        except CannotDecrypt:
            self.api_key = api_key
            self.save(update_fields=["api_key"])

    # Queries

    def as_config(self) -> ModelConfig:
        """Return the value that a provider is called with.

        Raises:
            ModelMisconfigured: the key cannot be decrypted, or the family left the catalog.
        """
        family = families.FAMILIES.get(self.family)
        if family is None:
            raise ModelMisconfigured(f"There is no model family '{self.family}'.")
        try:
            api_key = clear_text(self.api_key)
        except CannotDecrypt as exc:
            raise ModelMisconfigured(
                "The API key cannot be decrypted with GATEWAY_ENCRYPTION_KEYS; enter it again."
            ) from exc
        return ModelConfig(
            revision_id=self.pk,
            model_id=self.model_id,
            name=self.name,
            family=self.family,
            provider=self.provider,
            endpoint=self.endpoint.rstrip("/"),
            identifier=self.identifier,
            api_key=api_key,
            ca_bundle=self.ca_bundle,
            has_native_fim=self.has_native_fim,
            takes_prefill=self.takes_prefill,
            is_reasoning=self.is_reasoning,
            context_window=self.context_window or family.context_window,
            first_byte_s=self.first_byte_s,
            idle_s=self.idle_s,
            deadline_s=self.deadline_s,
        )


class ModelCheck(models.Model):
    """One connection test. `digest` says of what: of a connection, be it saved or not.

    Only the last test of each connection is kept; what people did stands in the admin's history.
    """

    class State(models.TextChoices):
        """How it ended; one that was left before its end is stopped."""

        RUNNING = "running", "Running"
        PASSED = "passed", "Passed"
        FAILED = "failed", "Failed"
        STOPPED = "stopped", "Stopped"

    digest = models.CharField(max_length=64, db_index=True)
    address = models.CharField(max_length=300, blank=True)
    by = models.CharField(max_length=150)
    started_at = models.DateTimeField(db_index=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    since = models.DateTimeField(help_text="When it first ended so, without another end between.")
    failed_step = models.CharField("step that failed", max_length=50, blank=True)
    steps = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"{self.state} at {self.started_at:%Y-%m-%d %H:%M}"


class EgressDestination(models.Model):
    """A server that was reached, or refused, and what for; written by `egress_report.flush`."""

    host = models.CharField(max_length=253)
    port = models.PositiveIntegerField()
    purpose = models.CharField(max_length=50)
    reached = models.PositiveBigIntegerField("times reached", default=0)
    first_at = models.DateTimeField("first reached", null=True)
    last_at = models.DateTimeField("last reached", null=True)
    refused = models.PositiveBigIntegerField("times refused", default=0)
    refused_at = models.DateTimeField("last refused", null=True)
    reason = models.CharField(max_length=50, blank=True)

    class Meta:
        verbose_name = "egress destination"
        constraints = (
            models.UniqueConstraint(fields=["host", "port", "purpose"], name="one_row_per_target"),
        )

    def __str__(self) -> str:
        return f"{as_entry(self.host, self.port)} ({self.purpose})"
