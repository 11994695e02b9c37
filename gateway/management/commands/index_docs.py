"""Build the index behind documentation search from a folder of GitLab's Markdown pages."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from gateway import data_dir
from gateway.documentation import folder, index
from gateway.documentation.folder import Folder, FolderRefused, PageRefused
from gateway.documentation.index import About, BuildRefused
from gateway.errors import DocumentationUnavailable

PROGRESS_EVERY = 500


class Command(BaseCommand):
    """Build it while the service runs; without a folder, say what the index holds."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the folder, and the version where the folder does not say it."""
        parser.add_argument(
            "folder",
            nargs="?",
            type=Path,
            help="a checkout of GitLab in the version that you run, or its folder doc",
        )
        parser.add_argument(
            "--gitlab-version", help="if the file VERSION beside the folder doc does not say it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Build, or tell."""
        try:
            if options["folder"] is None:
                self.stdout.write(described(index.about()))
                return
            data_dir.prepare(settings.GATEWAY_DATA_DIR)
            found = folder.look_into(options["folder"])
            self.build(found, version=options["gitlab_version"] or found.version)
        except (
            FolderRefused,
            BuildRefused,
            DocumentationUnavailable,
            data_dir.DataDirRefused,
        ) as refusal:
            raise CommandError(str(refusal)) from refusal

    def build(self, found: Folder, *, version: str) -> None:
        """Read every page, name those that cannot be read, and put the index in its place."""
        started_at, redirects = time.monotonic(), 0
        refused = list(found.refused)
        with index.building() as draft:
            for number, page in enumerate(found.pages):
                if number and number % PROGRESS_EVERY == 0:
                    self.stdout.write(f"{number:,} of {len(found.pages):,} files …")
                try:
                    redirects += not draft.add(page, found.read(page))
                except PageRefused as refusal:
                    refused.append((page, str(refusal)))
            about = draft.finish(version=version, now=timezone.now())
        for page, reason in refused:
            self.stderr.write(f"Left out: {page} {reason}.")
        self.stdout.write(described(about))
        self.stdout.write(
            f"Left out: {redirects:,} pages without text, {len(refused):,} files that are no pages."
            f" It took {time.monotonic() - started_at:.1f} s. Searches use it from now on."
        )


def described(about: About | None) -> str:
    """Return what an index holds, in one sentence."""
    if about is None:
        return "There is no index of the documentation: manage.py index_docs FOLDER builds it."
    version = f"GitLab {about.version}" if about.version else "an unknown version of GitLab"
    return (
        f"{index.path()}: {about.pages:,} pages in {about.sections:,} sections, of {version},"
        f" built {about.built_at:%Y-%m-%d %H:%M} UTC."
    )
