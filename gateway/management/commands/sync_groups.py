"""Take over groups and members from GitLab, or from a file."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from features.errors import SyncError
from features.models import Source
from features.sync import file, run, swap
from features.sync.state import GitLabAccess, Progress, RunState, SyncRun
from models_registry import changes
from models_registry.references import FORMS, BadReference, resolve


class Command(BaseCommand):
    """Sync once, here and now, and say how far it is."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add where from, and what to store."""
        parser.add_argument("--file", type=Path, help="a YAML file instead of GitLab's API")
        parser.add_argument(
            "--accept-loss", action="store_true", help="believe it if most groups are gone"
        )
        parser.add_argument("--token", metavar="REFERENCE", help=f"store the token first: {FORMS}")
        parser.add_argument(
            "--every", type=int, metavar="MINUTES", help="store how often to sync; 0 for never"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Store what was given, then take over."""
        person = getpass.getuser()
        with changes.made_by(f"{person} (command line)"):
            self.store(options["token"], options["every"])
            if options["file"]:
                result = self.from_file(options["file"], accepts_loss=options["accept_loss"])
            else:
                result = self.from_gitlab(person, accepts_loss=options["accept_loss"])
        self.stdout.write(f"Taken over: {swap.in_words(result)}.")

    def store(self, token: str | None, every: int | None) -> None:
        """Store token and interval, as far as they were given."""
        access = GitLabAccess.get()
        if token is None and every is None:
            return
        try:
            secret = None if token is None else resolve(token)
        except BadReference as exc:
            raise CommandError(f"--token {exc}") from exc
        access.decide(
            token=secret, every_minutes=access.every_minutes if every is None else every or None
        )

    def from_file(self, path: Path, *, accepts_loss: bool) -> dict[str, int]:
        """Return what was taken over from a file."""
        try:
            directory = file.read(path.read_text())
            return swap.take_over(
                directory, source=Source.FILE, accepts_loss=accepts_loss
            ).as_dict()
        except (OSError, UnicodeDecodeError) as exc:
            raise CommandError(f"{path} cannot be read: {exc}") from exc
        except SyncError as exc:
            raise CommandError(f"{path}: nothing was changed.\n{exc}") from exc

    def from_gitlab(self, person: str, *, accepts_loss: bool) -> dict[str, int]:
        """Return what was taken over from GitLab."""
        asked = SyncRun.ask(by=person, accepts_loss=accepts_loss)
        done = run.perform(now=timezone.now(), tell=self.tell)
        if done is None:
            raise CommandError(f"A sync that {asked.asked_by} asked for is under way.")
        done.refresh_from_db()
        if done.state != RunState.SUCCEEDED:
            raise CommandError(f"Nothing was changed. {done.error_detail or done.state}")
        return dict(done.result)

    def tell(self, progress: Progress) -> None:
        """Say how far it is, about every hundredth group."""
        if progress.groups_read % 100 == 0:
            of = f" of {progress.groups_total}" if progress.groups_total else ""
            self.stdout.write(
                f"{progress.stage}: {progress.groups_read or progress.groups_found}{of} groups,"
                f" {progress.members_found} members"
            )
