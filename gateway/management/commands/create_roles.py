"""Create the ready-made roles; safe to repeat."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.core.management.base import BaseCommand
from django.db import transaction

AUDITORS = "Auditors"
MODEL_ADMINISTRATORS = "Model administrators"

# Role -> (app, code name) of its permissions. Auditors read records with their content and change
# nothing; model administrators change what serves whom, and see of a record all but its content.
ROLES = {
    AUDITORS: (
        ("audit", "view_inferencerecord"),
        ("audit", "read_content"),
        ("audit", "export_records"),
        ("audit", "view_contentreading"),
    ),
    MODEL_ADMINISTRATORS: (
        ("audit", "view_inferencerecord"),
        ("audit", "view_process"),
        ("models_registry", "view_egressdestination"),
        ("models_registry", "view_configchange"),
        ("audit", "view_chore"),
        *(
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
    ),
}


class Command(BaseCommand):
    """Create the roles Auditors and Model administrators, or bring them up to date."""

    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        """Create the roles and say what each may."""
        for role in create_roles():
            self.stdout.write(f"{role.name}: {role.permissions.count()} permissions")


def create_roles() -> list[Group]:
    """Return the roles, each with exactly its permissions; its members stay."""
    with transaction.atomic():
        return [_role(name, permissions) for name, permissions in ROLES.items()]


def _role(name: str, permissions: tuple[tuple[str, str], ...]) -> Group:
    role, _ = Group.objects.get_or_create(name=name)
    role.permissions.set(
        [
            Permission.objects.get(content_type__app_label=app, codename=codename)
            for app, codename in permissions
        ]
    )
    return role
