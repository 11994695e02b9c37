"""The log on the command line: `manage.py audit verify | proof | key | roles`."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand

from gateway.audit.chain.verbs import VERBS


class Command(BaseCommand):
    """Verify the log, and prepare what protects it."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add what each verb takes."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        for add in VERBS:
            add(verbs)

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what the verb says."""
        run: Callable[[BaseCommand, dict[str, Any]], None] = options["run"]
        run(self, options)
