"""Report what Enclave may reach, what it reached, and what it was refused."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from models_registry import egress_report


class Command(BaseCommand):
    """Print the egress report, as every process wrote it down."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the format."""
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print it."""
        if options["json"]:
            self.stdout.write(json.dumps(egress_report.as_json(), indent=2))
            return
        for line in egress_report.as_lines():
            self.stdout.write(line)
