"""Test the connection to models, step by step; exit with 1 if one of them fails."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from models_registry import egress_report
from models_registry.connection_test import Step
from models_registry.errors import ModelMisconfigured
from models_registry.model_checks import Check
from models_registry.models import ModelCheck, SelfHostedModel

SIGNS = {"ok": "✓", "failed": "✗", "skipped": "–"}


class Command(BaseCommand):
    """Print what each step found, and the fix where one fails."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add which models."""
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("name", nargs="?", help="the model's name in Enclave")
        which.add_argument("--all", action="store_true", help="every model that is not disabled")

    def handle(self, *args: Any, **options: Any) -> None:
        """Test, and count the failures."""
        models = _models(options["name"])
        failed = [model.name for model in models if not self._passes(model)]
        egress_report.flush()
        if failed:
            raise CommandError(f"{len(failed)} of {len(models)} failed: {', '.join(failed)}")

    def _passes(self, model: SelfHostedModel) -> bool:
        self.stdout.write(f"{model.name}")
        endpoint = model.endpoint
        try:
            check = Check(model, by="manage.py check_model", now=timezone.now())
        except ModelMisconfigured as exc:
            self.stdout.write(f"  {SIGNS['failed']} {exc}")
            return False
        for step in check.steps():
            self._write(step)
        if model.endpoint != endpoint:
            model.save()
            self.stdout.write(f"    The endpoint was changed to {model.endpoint}")
        return check.row.state == ModelCheck.State.PASSED

    def _write(self, step: Step) -> None:
        self.stdout.write(f"  {SIGNS[step.state]} {step.name:<18} {step.ms:>6} ms  {step.found}")
        for certificate in step.chain:
            self.stdout.write(
                f"      {certificate.subject}, signed by {certificate.issuer},"
                f" valid until {certificate.not_after}"
            )
        if step.fix:
            self.stdout.write(f"    Fix: {step.fix}")
        if step.state == "failed" and step.choices:
            self.stdout.write(f"    Listed: {', '.join(step.choices)}")


def _models(name: str | None) -> list[SelfHostedModel]:
    if name is None:
        return list(SelfHostedModel.objects.exclude(state="disabled").order_by("name"))
    try:
        return [SelfHostedModel.objects.get(name=name)]
    except SelfHostedModel.DoesNotExist:
        known = ", ".join(SelfHostedModel.objects.order_by("name").values_list("name", flat=True))
        raise CommandError(f"There is no model '{name}'. Registered: {known or 'none'}.") from None
