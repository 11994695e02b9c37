"""Make a first look possible: a login, the echo model, features switched on, an API key."""

from __future__ import annotations

import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import transaction
from django.urls import reverse

from features import catalog
from features.models import ApiKey, FeatureRule, State
from gateway.data_dir import write_private
from gateway.management.commands.create_roles import AUDITORS, create_roles
from models_registry.families import EMBEDDING, GENERAL
from models_registry.models import SelfHostedModel

FILE = "first-run.env"


class Command(BaseCommand):
    """Prepare a demonstration once; say again later what it made."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add where the web process is reached."""
        parser.add_argument("--url", default="http://127.0.0.1:5052", help="base URL of the admin")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare and print what the file holds."""
        facts = prepare(base_url=options["url"], data_dir=settings.GATEWAY_DATA_DIR)
        self.stdout.write(as_lines(facts))


def prepare(*, base_url: str, data_dir: Path) -> dict[str, str]:
    """Make what a first look needs, unless there is an administrator already.

    Shape: ADMIN_URL, and what `first-run.env` holds beside it: ADMIN_USER, ADMIN_PASSWORD, API_KEY.
    An operator may delete the file: then only the URL is left to tell.
    """
    file, admin_url = data_dir / FILE, base_url + reverse("admin:index")
    with transaction.atomic():
        if get_user_model().objects.filter(is_superuser=True).exists():
            facts = {**read(file), "ADMIN_URL": admin_url}
            is_told = file.exists()
        else:
            facts = {"ADMIN_URL": admin_url, **make_administrator(), **switch_on()}
            is_told = True
        if is_told:
            # Before the commit: a password that nobody was told is worse than a useless one.
            write_private(file, as_lines(facts))
    return facts


def read(file: Path) -> dict[str, str]:
    """Return what the file holds; nothing if it was deleted."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)


def as_lines(facts: dict[str, str]) -> str:
    """Return the facts in the format of an environment file."""
    return "".join(f"{name}={value}\n" for name, value in facts.items())


def make_administrator() -> dict[str, str]:
    """Return the login of a new administrator, who is an auditor too.

    The superuser flag shows no content, and a first look ends with reading one's own record.
    """
    password = secrets.token_urlsafe(12)
    user = get_user_model().objects.create_superuser("admin", email="", password=password)
    user.groups.set(role for role in create_roles() if role.name == AUDITORS)
    return {"ADMIN_USER": "admin", "ADMIN_PASSWORD": password}


def switch_on() -> dict[str, str]:
    """Let everyone use every feature on an echo model; return a key for a client."""
    echo, echo_embedding = _echo("echo", GENERAL), _echo("echo-embedding", EMBEDDING)
    for feature, _label in catalog.choices():
        model = echo if catalog.fits(feature, GENERAL) else echo_embedding
        FeatureRule.objects.get_or_create(
            group=None, feature=feature, defaults={"state": State.ON, "model": model}
        )
    _, key = ApiKey.issue(name="First look")
    return {"API_KEY": key}


def _echo(name: str, family: str) -> SelfHostedModel:
    """Return a model without a backend."""
    model: SelfHostedModel
    model, _ = SelfHostedModel.objects.get_or_create(
        name=name, defaults={"family": family, "provider": "echo"}
    )
    return model
