"""Say why somebody may use a feature, or may not: the ladder that the request path walks."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from features import explaining
from features.errors import FeatureError
from features.explaining import Explanation


class Command(BaseCommand):
    """Answer one question."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add who, where, what and when."""
        parser.add_argument("--feature", required=True, help="the slug, such as duo_chat")
        parser.add_argument("--user", default="", help="GitLab's id of a user, or the user name")
        place = parser.add_mutually_exclusive_group()
        place.add_argument("--group", default="", help="path or GitLab id of a group")
        place.add_argument("--project", default="", help="path of a project")
        parser.add_argument("--at", default="", help="a past day or moment: 2026-03-31")
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the answer."""
        try:
            explanation = explaining.answer(
                explaining.Question(
                    feature=options["feature"],
                    user=options["user"],
                    place=options["project"] or options["group"],
                    at=explaining.moment(options["at"]),
                )
            )
        except FeatureError as exc:
            raise CommandError(str(exc)) from exc
        if options["json"]:
            self.stdout.write(json.dumps(explanation.as_dict(), indent=2))
        else:
            self.stdout.write("\n".join(lines(explanation)))


def lines(explanation: Explanation) -> Iterator[str]:
    """Yield the explanation as text."""
    verdict = "on" if explanation.is_allowed else "off"
    yield f"{explanation.label}: {verdict} ({explanation.reason})"
    if explanation.model:
        yield f"  model: {explanation.model}"
    if explanation.trouble:
        yield f"  refused all the same: {explanation.trouble}"
    for note in explanation.notes:
        yield f"  note: {note}"
    for ladder in explanation.ladders:
        yield f"  {ladder.path or 'no group'}:"
        for rung in ladder.rungs:
            author = f"   [{rung.author}]" if rung.author else ""
            yield f"    {rung.level}: {rung.rule} → {rung.effect}{author}"
