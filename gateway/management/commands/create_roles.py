"""Create the ready-made roles; safe to repeat."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.core.management.base import BaseCommand

AUDITORS = "Auditors"
MODEL_ADMINISTRATORS = "Model administrators"

# Role -> (app, code name) of its permissions. Auditors read records and change nothing.
ROLES = {
    AUDITORS: (
        ("audit", "view_inferencerecord"),
        ("audit", "read_content"),
    ),
    MODEL_ADMINISTRATORS: tuple(
        (app, f"{action}_{model}")
        for app, model in (
            ("models_registry", "selfhostedmodel"),
            ("features", "group"),
            ("features", "membership"),
            ("features", "featurerule"),
            ("features", "apikey"),
        )
        for action in ("view", "add", "change", "delete")
    ),
}


class Command(BaseCommand):
    help = "Create the roles Auditors and Model administrators, or bring them up to date."

    def handle(self, *args: Any, **options: Any) -> None:
        """Create each role with exactly its permissions."""
        for name, permissions in ROLES.items():
            role, _ = Group.objects.get_or_create(name=name)
            role.permissions.set(
                Permission.objects.get(content_type__app_label=app, codename=codename)
                for app, codename in permissions
            )
            self.stdout.write(f"{name}: {len(permissions)} permissions")
