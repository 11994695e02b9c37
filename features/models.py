"""Who may use what: groups (GitLab namespaces), their members, rules and API keys.

The request path never queries these tables: it reads `features.snapshot`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

from features import catalog
from features.errors import UnfitModel
from models_registry.changes import Change, Facts
from models_registry.configuration import Configuration
from models_registry.models import SelfHostedModel

# Their tables.
from features.config.state import AppliedConfig  # noqa: F401  # isort: skip
from features.sync.state import GitLabAccess, SyncPage, SyncRun  # noqa: F401  # isort: skip

KEY_PREFIX = "enc_"


class State(models.TextChoices):
    """What a rule says."""

    ON = "on", "On"
    OFF = "off", "Off"
    INHERIT = "inherit", "Inherit"


class Source(models.TextChoices):
    """Who brought a row, and so may take it away again."""

    HAND = "hand", "By hand"
    GITLAB = "gitlab", "GitLab"
    FILE = "file", "File"


class Group(Configuration):
    """A GitLab namespace. `gitlab_id` is GitLab's numeric namespace id, sent in headers.

    `gone_at`: since when its source does not know it any more; it stays as long as something, such
    as a rule, stands on it.
    """

    gitlab_id = models.PositiveBigIntegerField("GitLab id", null=True, blank=True, unique=True)
    path = models.CharField(
        max_length=255, unique=True, help_text="Full path, as in GitLab: payments/core"
    )
    parent = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="children",
        help_text="Empty: the nearest group that this path begins with.",
    )
    source = models.CharField(
        max_length=10, choices=Source.choices, default=Source.HAND, editable=False
    )
    gone_at = models.DateTimeField("gone since", null=True, editable=False)

    class Meta:
        verbose_name = "group"

    def __str__(self) -> str:
        return self.path

    def clean(self) -> None:
        """Refuse a group that is its own ancestor."""
        self.path = self.path.strip("/ ")
        seen, ancestor = {self.pk}, self.parent
        while ancestor is not None:
            if ancestor.pk in seen:
                raise ValidationError({"parent": f"'{self.path}' would be its own ancestor."})
            seen.add(ancestor.pk)
            ancestor = ancestor.parent


class Membership(Configuration):
    """A GitLab user in a group; the user is named by the numeric or the global (hashed) id."""

    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="memberships")
    user_ref = models.CharField("GitLab user id", max_length=255, db_index=True)
    source = models.CharField(
        max_length=10, choices=Source.choices, default=Source.HAND, editable=False
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["group", "user_ref"], name="one_membership_per_group"),
        )

    def __str__(self) -> str:
        return f"{self.user_ref} in group {self.group_id}"

    @classmethod
    def changes(cls, rows: dict[int, tuple[Facts | None, Facts | None]]) -> Iterator[Change]:
        """Yield one change for each group: who left and who came."""
        left: dict[int, list[str]] = defaultdict(list)
        came: dict[int, list[str]] = defaultdict(list)
        for before, after in rows.values():
            if before is not None and before != after:
                left[before["group"]].append(before["user_ref"])
            if after is not None and before != after:
                came[after["group"]].append(after["user_ref"])
        for group_id in sorted(left.keys() | came.keys()):
            yield Change(
                kind=str(cls._meta.model_name),
                row_id=group_id,
                before={"members": sorted(left[group_id])},
                after={"members": sorted(came[group_id])},
            )


class GitLabUser(models.Model):
    """The name of a user whom memberships know by id; for people, it decides nothing."""

    user_ref = models.CharField("GitLab user id", max_length=255, unique=True)
    username = models.CharField(max_length=255, db_index=True)

    class Meta:
        verbose_name = "GitLab user"

    def __str__(self) -> str:
        return self.username


class FeatureRule(Configuration):
    """One cell of the matrix: a group, or the whole instance, and a feature."""

    group = models.ForeignKey(
        Group,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="rules",
        help_text="Empty: the whole instance.",
    )
    feature = models.CharField(max_length=100, choices=catalog.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.ON)
    is_locked = models.BooleanField(
        "locked", default=False, help_text="Groups below can only be stricter than this rule."
    )
    model = models.ForeignKey(
        SelfHostedModel,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="rules",
        help_text="Empty: as above in the tree.",
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "feature rule"
        constraints = (
            models.UniqueConstraint(
                fields=["group", "feature"],
                name="one_rule_per_group_and_feature",
                violation_error_message="There is already a rule for this group and feature.",
            ),
            # Two, because equal NULLs are distinct to a database.
            models.UniqueConstraint(
                fields=["feature"],
                condition=models.Q(group=None),
                name="one_rule_per_instance_and_feature",
                violation_error_message=(
                    "There is already a rule for the whole instance and this feature."
                ),
            ),
        )

    def clean(self) -> None:
        """Refuse a model that could not serve the feature."""
        if self.model is None or self.feature not in catalog.FEATURES:
            return
        try:
            catalog.require_fit(self.feature, self.model.family)
        except UnfitModel as exc:
            raise ValidationError({"model": str(exc)}) from exc

    def __str__(self) -> str:
        group = f"group '{self.group}'" if self.group else "instance"
        return f"{group}: {self.get_feature_display()} {self.get_state_display().lower()}"


class VendorRoute(Configuration):
    """The switch of the vendor route: one row at most, and no row is off."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    is_on = models.BooleanField("on", default=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = verbose_name_plural = "vendor route"
        constraints = (
            models.CheckConstraint(condition=models.Q(id=1), name="one_vendor_route_at_most"),
        )

    def __str__(self) -> str:
        return f"Vendor route: {'on' if self.is_on else 'off'}"

    def clean(self) -> None:
        """Refuse to open a route that leads nowhere."""
        if self.is_on and not settings.GATEWAY_VENDOR_ROUTE_URL:
            raise ValidationError(
                {
                    "is_on": "GATEWAY_VENDOR_ROUTE_URL is not set. Ask whoever deploys Enclave to"
                    " set it, and to list its host in GATEWAY_EGRESS_ALLOW."
                }
            )


class ApiKey(Configuration):
    """A key of a client that is not GitLab, bound to a group (or to the instance).

    Only a digest is stored. The visible `prefix` finds the row; the digest decides.
    """

    name = models.CharField(max_length=255)
    prefix = models.CharField(max_length=20, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    group = models.ForeignKey(
        Group,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="api_keys",
        help_text="Empty: the whole instance.",
    )
    is_active = models.BooleanField("active", default=True)
    may_explain = models.BooleanField(
        "may ask why",
        default=False,
        help_text="GET /v1/explain: who may use what, and why, for everybody.",
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    UNRECORDED = ("digest",)

    class Meta:
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    # Factories

    @classmethod
    def issue(cls, **fields: Any) -> tuple[ApiKey, str]:
        """Return a saved key and its text, which is shown this once and kept nowhere."""
        key = cls(**fields)
        text = key.renew()
        key.save()
        return key, text

    # Mutators

    def renew(self) -> str:
        """Give an unsaved row its secret and return the key's text."""
        public, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        self.prefix = f"{KEY_PREFIX}{public}"
        self.digest = digest_key(f"{self.prefix}_{secret}")
        return f"{self.prefix}_{secret}"


def digest_key(text: str) -> str:
    """Return what is stored of an API key: HMAC-SHA256 under SECRET_KEY, in hex."""
    return hmac.new(settings.SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()
