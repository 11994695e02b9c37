"""Configuration as code: write it to a file, compare a file with what is live, apply a file."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from features.config import applying, document, live, plan
from features.config.document import Document
from features.config.plan import Difference
from features.errors import BadConfigFile
from features.proposal import FeatureImpact
from models_registry import changes

HAS_DIFFERENCES = 2
VERBS = {"lose": "lose", "gain": "gain", "move": "get another model for"}


class Command(BaseCommand):
    """`config export [FILE]`, `config plan FILE`, `config apply FILE`."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add what to do, and with which file."""
        parser.add_argument("what", choices=("export", "plan", "apply"))
        parser.add_argument(
            "file", nargs="?", type=Path, help="YAML; - or nothing for standard input or output"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it; `plan` ends with status 2 where something differs."""
        path: Path | None = options["file"] if str(options["file"]) != "-" else None
        if options["what"] == "export":
            self.export(path)
            return
        try:
            wanted = document.read(self.text(path))
            if options["what"] == "plan":
                self.plan(wanted)
            else:
                self.apply(wanted, name=path.name if path else "standard input")
        except BadConfigFile as exc:
            raise CommandError(f"{path or 'The file'}: nothing was changed.\n{exc}") from exc

    def export(self, path: Path | None) -> None:
        """Write the live configuration."""
        text = document.write(live.export())
        if path is None:
            self.stdout.write(text, ending="")
            return
        try:
            path.write_text(text)
        except OSError as exc:
            raise CommandError(f"{path} cannot be written: {exc.strerror}") from exc

    def plan(self, wanted: Document) -> None:
        """Say what applying would do, and to whom."""
        found = plan.differences(wanted)
        for line in (*lines(found), *impact_lines(plan.impact(found))):
            self.stdout.write(line)
        if found:
            sys.exit(HAS_DIFFERENCES)

    def apply(self, wanted: Document, *, name: str) -> None:
        """Apply, and say what was done."""
        with changes.made_by(f"{getpass.getuser()} (config apply)"):
            found = applying.apply(wanted, name=name)
        for line in lines(found):
            self.stdout.write(line)

    def text(self, path: Path | None) -> str:
        """Return what the file holds."""
        try:
            return sys.stdin.read() if path is None else path.read_text()
        except (OSError, UnicodeDecodeError) as exc:
            raise CommandError(f"{path} cannot be read: {exc}") from exc


def lines(found: list[Difference]) -> Iterator[str]:
    """Yield the differences, and how many there are."""
    for one in found:
        yield f"{one.sign} {one.subject}: {one.happened}".rstrip(": ")
    if not found:
        yield "Nothing differs."
        return
    count = {sign: sum(one.sign == sign for one in found) for sign in "+~-"}
    yield f"{count['+']} to add, {count['~']} to change, {count['-']} to remove."


def impact_lines(impacts: Iterable[FeatureImpact]) -> Iterator[str]:
    """Yield who would gain or lose what."""
    for one in impacts:
        for what, verb in VERBS.items():
            users, keys = len(one.users.get(what, ())), len(one.keys.get(what, ()))
            if users or keys:
                yield f"  {users} users and {keys} API keys {verb} {one.label}"
            if one.callers_without_group == what:
                yield f"  callers without a known group {verb} {one.label}"
