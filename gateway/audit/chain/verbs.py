"""What `manage.py audit` can do with the chain: verify | proof | key | roles.

Each verb has two functions, what it takes and what it does; the first are listed in VERBS.
"""

from __future__ import annotations

import gc
import getpass
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from gateway import data_dir
from gateway.audit import readings
from gateway.audit.chain import guards, keys, proof
from gateway.audit.chain.verify import Period, Report, verify
from gateway.audit.criteria import Criteria
from gateway.audit.models import InferenceRecord, ReadingKind

Verbs = Any  # argparse names its type privately

TAMPERED = 1
UNUSABLE = 2
NOT_ANCHORED = 3
SHOWN_MAX = 50


# verify


def _add_verify(verbs: Verbs) -> None:
    parser = verbs.add_parser("verify", help="compare the log with its chain; status 1: tampered")
    parser.add_argument("--from", dest="start", type=day, help="a date, or a time in UTC")
    parser.add_argument("--to", dest="end", type=day, help="the same; not included")
    file: dict[str, Any] = {"type": Path, "metavar": "FILE"}
    files: dict[str, Any] = {**file, "action": "append", "default": []}
    parser.add_argument(
        "--checkpoints",
        **files,
        help="lines kept outside; without it, the files of GATEWAY_AUDIT_ANCHORS",
    )
    parser.add_argument(
        "--public-key",
        **files,
        help="a key that may have signed; without it, that of this installation",
    )
    parser.add_argument(
        "--auditor-key",
        **file,
        help="the auditors' private key; without it, that in the data directory, if any",
    )
    parser.set_defaults(run=_verify)


def _verify(command: BaseCommand, options: dict[str, Any]) -> None:
    """Say what was found; the exit status says it too."""
    auditor = options["auditor_key"] or _kept(data_dir.AUDITOR_KEY)
    gc.freeze()  # what was imported stays: looking through it again and again takes a tenth
    try:
        trusted = {keys.trusted_key(file) for file in options["public_key"]}
        with ExitStack() as files:
            report = verify(
                trusted=trusted or {keys.public_text(keys.signing_key())},
                auditor=keys.auditor_key(auditor) if auditor else None,
                outside=_lines(options["checkpoints"] or _anchor_files(), files),
                period=Period(start=options["start"], end=options["end"]),
            )
    except (keys.KeyUnusable, OSError) as exc:
        raise CommandError(str(exc), returncode=UNUSABLE) from exc
    command.stdout.write("\n".join(summary(report)))
    if report.found:
        sys.exit(TAMPERED)
    if report.closed and not report.anchored + report.signed:
        sys.exit(NOT_ANCHORED)


def summary(report: Report) -> list[str]:
    """Return what a report says, line by line."""
    said = [
        f"{report.records:,} records, in {report.lanes:,} lanes of {report.links:,} links",
        f"{report.anchored:>12,} anchored: covered by a checkpoint that is kept outside"
        f" (up to number {report.newest_outside})",
        f"{report.signed:>12,} signed: covered by a checkpoint in the database only"
        f" (up to number {report.newest_checkpoint})",
        f"{report.pending:>12,} not yet anchored",
        f"{report.open:>12,} still open",
    ]
    if report.purged or report.erased:
        said.append(f"Lawfully gone: {report.purged:,} records, {report.erased:,} texts.")
    if report.unreadable_lines:
        said.append(f"{report.unreadable_lines:,} lines from outside hold no checkpoint.")
    if not report.are_tags_checked:
        said.append(
            "Without the auditors' key, what was computed anew shows only where it contradicts a"
            " checkpoint."
        )
    first = report.first()
    if first is None:
        return [*said, "No sign of tampering."]
    said.append(f"TAMPERED WITH, {report.found:,} signs. The first: {first}")
    said += [f"- {finding}" for finding in report.findings[:SHOWN_MAX]]
    if report.found > SHOWN_MAX:
        said.append(f"… and {report.found - SHOWN_MAX:,} more.")
    return said


def day(text: str) -> datetime:
    """Return a date or a time of the command line, in UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _kept(name: str) -> Path | None:
    file = Path(settings.GATEWAY_DATA_DIR) / name
    return file if file.exists() else None


def _anchor_files() -> list[Path]:
    parts = [urlsplit(address) for address in settings.GATEWAY_AUDIT_ANCHORS]
    files = [Path(unquote(part.path)) for part in parts if part.scheme == "file"]
    return [file for file in files if file.exists()]


def _lines(paths: Iterable[Path], files: ExitStack) -> Iterator[str]:
    for path in paths:
        yield from files.enter_context(path.open(encoding="utf-8", errors="replace"))


# proof


def _add_proof(verbs: Verbs) -> None:
    parser = verbs.add_parser("proof", help="write the log with its chain for another verifier")
    parser.add_argument("file", help="the file to write; - for standard output")
    parser.add_argument("--content", action="store_true", help="with prompts and answers")
    parser.add_argument("--reason", default="", help="why; needed with --content")
    parser.set_defaults(run=_proof)


def _proof(command: BaseCommand, options: dict[str, Any]) -> None:
    """Write what scripts/verify_audit_log.py reads; who took it is noted as for an export."""
    if options["content"] and len(options["reason"].strip()) < 3:
        raise CommandError("Prompts and answers need a --reason, such as a case number.")
    readings.note(
        f"{getpass.getuser()} (console)",
        kind=ReadingKind.EXPORT,
        reason=options["reason"],
        criteria=Criteria(),
        has_content=options["content"],
        count=InferenceRecord.objects.count(),
    )
    with ExitStack() as files:
        try:
            is_file = options["file"] != "-"
            out = (
                files.enter_context(Path(options["file"]).open("xb"))
                if is_file
                else sys.stdout.buffer
            )
            for line in proof.lines(with_content=options["content"]):
                out.write(line)
        except OSError as exc:
            raise CommandError(f"{options['file']} cannot be written: {exc.strerror}.") from exc


# key


def _add_key(verbs: Verbs) -> None:
    parser = verbs.add_parser("key", help="print the public key that a verifier has to trust")
    parser.set_defaults(run=_key)


def _key(command: BaseCommand, options: dict[str, Any]) -> None:
    public = keys.signing_key().public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    command.stdout.write(pem.decode(), ending="")


# roles


def _add_roles(verbs: Verbs) -> None:
    parser = verbs.add_parser("roles", help="print SQL for a role that can add and not change")
    parser.add_argument("role", help="what the processes log in to PostgreSQL as")
    parser.set_defaults(run=_roles)


def _roles(command: BaseCommand, options: dict[str, Any]) -> None:
    """Print the statements, for psql as the role that owns the tables."""
    if connection.vendor != "postgresql":
        raise CommandError("Only PostgreSQL has roles.", returncode=UNUSABLE)
    command.stdout.write(";\n".join(guards.roles_sql(options["role"])) + ";")


VERBS: tuple[Callable[[Verbs], None], ...] = (_add_verify, _add_proof, _add_key, _add_roles)
