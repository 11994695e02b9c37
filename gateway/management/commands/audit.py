"""The log on the command line: `manage.py audit verify | export | proof | index | …`.

To add a verb, write its two functions, what it takes and what it does, and list the first in VERBS.
Those of the chain are in `gateway/audit/chain/verbs.py`.
"""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from gateway.audit import chores, export, indexing, readings, specimens
from gateway.audit.chain import verbs as chain_verbs
from gateway.audit.chores import Chore
from gateway.audit.criteria import Criteria, UnreadableCriteria
from gateway.audit.models import ReadingKind

Verbs = Any  # argparse names its type privately
INDEX_BATCH = 500


class Command(BaseCommand):
    """Verify or export the log, bring its index of words up to date, or make records up."""

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


# export


def _add_export(verbs: Verbs) -> None:
    parser = verbs.add_parser("export", help="write records to a file, oldest first")
    parser.add_argument("file", help="the file to write; - for standard output")
    parser.add_argument("--format", choices=list(export.MEDIA_TYPES), default=export.JSONL)
    parser.add_argument("--from", dest="since", help="opened from: 2026-11-23, or with a time")
    parser.add_argument("--to", dest="until", help="opened until; a date is the whole day")
    for name in ("state", "cause", "feature", "group", "user", "key", "model"):
        parser.add_argument(f"--{name}", default="", help="only records with this")
    parser.add_argument("--content", action="store_true", help="with prompts and answers")
    parser.add_argument("--reason", default="", help="why; needed with --content")
    parser.set_defaults(run=_export)


def _export(command: BaseCommand, options: dict[str, Any]) -> None:
    if options["content"] and len(options["reason"].strip()) < 3:
        raise CommandError("Prompts and answers need a --reason, such as a case number.")
    criteria = _criteria(options)
    reading = readings.note(
        f"{getpass.getuser()} (console)",
        kind=ReadingKind.EXPORT,
        reason=options["reason"],
        criteria=criteria,
        has_content=options["content"],
    )
    about = export.About.of(reading, criteria)
    tally = export.Tally()
    try:
        _write(options["file"], export.pieces(options["format"], about, tally=tally))
    finally:
        readings.finish(reading, tally.count)
    command.stderr.write(f"{tally.count:,} records")


def _write(file: str, pieces: Any) -> None:
    if file == "-":
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    try:
        with Path(file).open("xb") as out:
            for piece in pieces:
                out.write(piece)
    except OSError as exc:
        raise CommandError(f"{file} cannot be written: {exc.strerror}.") from exc


def _criteria(options: dict[str, Any]) -> Criteria:
    names = ("state", "cause", "feature", "group", "user", "key", "model")
    try:
        found = Criteria.from_query({name: options[name] for name in names})
    except UnreadableCriteria as exc:
        raise CommandError(str(exc)) from exc
    return replace(
        found,
        since=_moment(options["since"], is_end=False),
        until=_moment(options["until"], is_end=True),
    )


def _moment(text: str | None, *, is_end: bool) -> datetime | None:
    """Return a time that was typed; a date stands for the whole day."""
    if not text:
        return None
    try:
        day, moment = parse_date(text), parse_datetime(text)
    except ValueError:
        day = moment = None
    if len(text) == len("2026-11-23") and day is not None:
        whole = datetime.max.time() if is_end else datetime.min.time()
        moment = datetime.combine(day, whole)
    if moment is None:
        raise CommandError(f"'{text}' is no time. Write 2026-11-23, or 2026-11-23T14:00.")
    return moment if moment.tzinfo else timezone.make_aware(moment)


# index


def _add_index(verbs: Verbs) -> None:
    parser = verbs.add_parser("index", help="bring the index of words up to date, at full speed")
    parser.set_defaults(run=_index)


def _index(command: BaseCommand, options: dict[str, Any]) -> None:
    chore = Chore(
        name=indexing.NAME,
        step=lambda reached, now: indexing.step(reached, now=now, batch=INDEX_BATCH),
    )
    while chores.do_some(chore, "console", now=timezone.now()):
        pass
    state = chores.state_of(indexing.NAME)
    if state is None or state.holder != "console":
        raise CommandError(
            "A running process is at it. Stop Enclave for a while, or let it finish."
        )
    chores.let_go(indexing.NAME, "console")
    command.stdout.write(f"Everything closed before {state.looked_at:%Y-%m-%d %H:%M:%S} is in it.")


# generate


def _add_generate(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "generate", help="make records up, for experiments; not in production"
    )
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--days", type=int, default=90, help="over how many days, until now")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same texts")
    parser.set_defaults(run=_generate)


def _generate(command: BaseCommand, options: dict[str, Any]) -> None:
    if not settings.GATEWAY_TAKES_SPECIMENS:
        raise CommandError("These settings take no made-up records: this may be a real log.")
    for done in specimens.generate(
        records=options["records"],
        until=timezone.now(),
        over=timedelta(days=options["days"]),
        seed=options["seed"],
    ):
        if done % 50_000 == 0:
            command.stderr.write(f"{done:,}")
    command.stdout.write(f"{options['records']:,} records made up; `audit index` makes them found.")


VERBS: tuple[Callable[[Verbs], None], ...] = (
    _add_export,
    _add_index,
    _add_generate,
    *chain_verbs.VERBS,
)
