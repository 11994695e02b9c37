"""Promises of gateway/audit/chain/verbs.py: `manage.py audit verify | proof | key | roles`."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from gateway import data_dir
from gateway.audit.chain import checkpoints, guards, keys, verbs
from gateway.audit.models import ContentReading, InferenceRecord
from tests.gateway.audit.chain.tampering import Log, sign
from tests.gateway.audit.chain.test_verify import serve
from tests.gateway.audit.test_store import Chained

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def rows(transactional_db):
    return Chained()


def run(*arguments):
    """Run the command; return its exit status."""
    try:
        call_command("audit", *map(str, arguments))
    except SystemExit as end:
        return end.code
    except CommandError as error:
        return error.returncode
    return 0


class TestVerify:
    def test_says_what_covers_the_records(self, rows, tmp_path, capsys):
        log = Log()
        serve(rows)
        sign(log)
        serve(rows)
        checkpoints.write(now=timezone.now())
        serve(rows)
        (tmp_path / "outside.log").write_text("".join(log.outside))

        assert run("verify", "--checkpoints", tmp_path / "outside.log") == 0

        said = capsys.readouterr().out
        assert "3 records, in 1 lanes of 6 links" in said
        assert "1 anchored: covered by a checkpoint that is kept outside (up to number 1)" in said
        assert "1 signed: covered by a checkpoint in the database only (up to number 2)" in said
        assert "1 not yet anchored" in said
        assert "No sign of tampering." in said

    def test_reads_the_files_that_the_settings_name(self, rows, settings, tmp_path, capsys):
        log = Log()
        serve(rows)
        sign(log)
        (tmp_path / "outside.log").write_text("".join(log.outside))
        settings.GATEWAY_AUDIT_ANCHORS = [
            f"file://{tmp_path}/outside.log",
            "https://log.example.com/",
        ]

        assert run("verify") == 0

        assert "1 anchored" in capsys.readouterr().out

    def test_ends_with_1_and_names_the_first_bad_record(self, rows, capsys):
        record, other = serve(rows), serve(rows)
        checkpoints.write(now=timezone.now())
        with guards.lifted():
            InferenceRecord.objects.filter(pk=record.pk).update(user_id="somebody else")
            InferenceRecord.objects.filter(pk=other.pk).update(state="failed")

        assert run("verify") == verbs.TAMPERED

        said = capsys.readouterr().out
        first = f"record_changed: the record is not as it was opened (record {record.pk.hex}, link"
        second = f"outcome_changed: the outcome is not as it was written (record {other.pk.hex}, li"
        assert f"TAMPERED WITH, 2 signs. The first: {first}" in said
        assert f"\n- {second}" in said

    def test_shows_some_of_many(self, rows, capsys, monkeypatch):
        monkeypatch.setattr(verbs, "SHOWN_MAX", 2)
        for _ in range(3):
            serve(rows)
        with guards.lifted():
            InferenceRecord.objects.update(user_id="x")

        assert run("verify") == verbs.TAMPERED

        assert "… and 1 more." in capsys.readouterr().out

    def test_ends_with_3_where_nothing_is_covered(self, rows, capsys):
        serve(rows)

        assert run("verify") == verbs.NOT_ANCHORED

        assert "1 not yet anchored" in capsys.readouterr().out

    def test_ends_with_0_for_an_empty_log(self, transactional_db):
        assert run("verify") == 0

    @pytest.mark.parametrize("option", ["--public-key", "--auditor-key", "--checkpoints"])
    def test_ends_with_2_for_a_file_that_is_not_there(self, rows, option):
        assert run("verify", option, "/no/such/file") == verbs.UNUSABLE

    def test_trusts_the_keys_that_it_is_given(self, rows, tmp_path, capsys):
        serve(rows)
        checkpoints.write(now=timezone.now())
        call_command("audit", "key")
        (tmp_path / "public.pem").write_text(capsys.readouterr().out)

        assert run("verify", "--public-key", tmp_path / "public.pem") == 0

    def test_does_without_the_auditors_key_and_says_so(self, rows, settings, tmp_path, capsys):
        serve(rows)
        checkpoints.write(now=timezone.now())
        keys.require()
        kept = Path(settings.GATEWAY_DATA_DIR) / data_dir.AUDITOR_KEY
        kept.rename(tmp_path / "moved.pem")
        try:
            assert run("verify") == 0
            without = capsys.readouterr().out
            assert run("verify", "--auditor-key", tmp_path / "moved.pem") == 0
        finally:
            (tmp_path / "moved.pem").rename(kept)

        assert "Without the auditors' key" in without
        assert "Without the auditors' key" not in capsys.readouterr().out

    def test_takes_a_period(self, rows, capsys):
        serve(rows, opened_at=timezone.now() - timedelta(days=2))
        tomorrow = (timezone.now() + timedelta(days=1)).date()

        assert run("verify", "--from", tomorrow) == 0

        assert "0 records, in 0 lanes" in capsys.readouterr().out

    def test_takes_a_date_for_its_beginning_in_utc(self):
        assert verbs.day("2026-11-23") == datetime(2026, 11, 23, tzinfo=UTC)
        assert verbs.day("2026-11-23T10:00+02:00") == datetime(2026, 11, 23, 8, tzinfo=UTC)

    def test_refuses_what_is_no_date(self):
        with pytest.raises(CommandError, match="--from: invalid day value"):
            call_command("audit", "verify", "--from", "yesterday")


class TestProof:
    def test_is_verified_by_the_file_that_needs_no_packages(self, rows, tmp_path, capsys):
        log = Log()
        serve(rows)
        sign(log)
        (tmp_path / "outside.log").write_text("".join(log.outside))
        call_command("audit", "key")
        (tmp_path / "public.pem").write_text(capsys.readouterr().out)

        assert run("proof", "--content", "--reason", "case 7", tmp_path / "proof.jsonl") == 0

        done = subprocess.run(
            [
                *(sys.executable, "-I", "-S", ROOT / "scripts/verify_audit_log.py"),
                *(tmp_path / "proof.jsonl", "--public-key", tmp_path / "public.pem"),
                *("--checkpoints", tmp_path / "outside.log"),
                *("--auditor-key", Path(settings.GATEWAY_DATA_DIR) / data_dir.AUDITOR_KEY),
            ],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "1 anchored" in done.stdout
        assert "No sign of tampering." in done.stdout

    def test_leaves_contents_out_unless_asked(self, rows, tmp_path):
        serve(rows)

        assert run("proof", tmp_path / "proof.jsonl") == 0

        assert "done" not in (tmp_path / "proof.jsonl").read_text()

    def test_needs_a_reason_for_contents_and_notes_who_took_them(self, rows, tmp_path):
        serve(rows)
        with pytest.raises(CommandError, match="need a --reason"):
            call_command("audit", "proof", "--content", str(tmp_path / "proof.jsonl"))

        run("proof", "--content", "--reason", "case 7", tmp_path / "proof.jsonl")

        reading = ContentReading.objects.get()
        assert (reading.kind, reading.reason, reading.count) == ("export", "case 7", 1)
        assert reading.has_content

    def test_overwrites_no_file(self, rows, tmp_path):
        (tmp_path / "proof.jsonl").touch()

        with pytest.raises(CommandError, match="cannot be written: File exists"):
            call_command("audit", "proof", str(tmp_path / "proof.jsonl"))


@pytest.fixture(scope="module")
def database(postgres_cluster):
    """A migrated database: its address, and a function that runs `manage.py` on it."""
    url = postgres_cluster.url(postgres_cluster.create_database())

    def manage(*arguments, database_url=url):
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "gateway.settings.test",
                "DATABASE_URL": database_url,
            },
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    manage("migrate", "--verbosity", "0")
    return url, manage


@pytest.fixture(scope="module")
def role_url(database):
    """The address under which the role logs in that the printed SQL made, twice over."""
    url, manage = database
    statements = manage("audit", "roles", "enclave's app")
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(statements)
        owner.execute(statements)
    return url.replace("enclave@", "enclave%27s%20app@")


class TestRoles:
    """The rights of a role on a real PostgreSQL; the promise of docs/operations.md."""

    @pytest.fixture
    def role(self, database, role_url):
        """A connection of the role, to a log with an answered and an open record."""
        url, manage = database
        with psycopg.connect(url) as owner:
            owner.execute("SET LOCAL enclave.retention = 'on'")
            owner.execute("TRUNCATE audit_inferencerecord, audit_inferencecontent")
        manage("shell", "--verbosity", "0", "--command", WRITE)
        with psycopg.connect(role_url, autocommit=True) as connection:
            yield connection

    @pytest.mark.parametrize("lift", ["SELECT 1", "SET enclave.retention = 'on'"])
    def test_cannot_undo_what_was_written(self, role, lift):
        role.execute(lift)

        for statement in FORBIDDEN:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                role.execute(statement)

        assert states(role) == ["answered", "queued"]

    @pytest.mark.parametrize("lift", ["SELECT 1", "SET enclave.retention = 'on'"])
    def test_can_close_a_record_once(self, role, lift):
        role.execute(lift)
        close = "UPDATE audit_inferencerecord SET state = 'failed' WHERE state = "

        role.execute(f"{close}'queued'")

        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            role.execute(f"{close}'failed'")
        assert states(role) == ["answered", "failed"]

    def test_can_run_the_processes(self, role, database, role_url):
        database[1]("shell", "--verbosity", "0", "--command", WRITE, database_url=role_url)

        assert states(role) == ["answered", "answered", "queued", "queued"]

    def test_may_use_every_other_table(self, role):
        """Also those that no model stands for."""
        tables = role.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        guarded = {model._meta.db_table for model in guards.GUARDED}
        others = {name for (name,) in tables.fetchall()} - guarded - {"django_migrations"}

        assert "audit_contentindex" in others
        for table in others:
            role.execute(f"DELETE FROM {table} WHERE false")  # noqa: S608

    def test_leave_purging_to_the_owner(self, role, database):
        with psycopg.connect(database[0]) as owner:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                owner.execute("DELETE FROM audit_inferencerecord")
            owner.rollback()
            owner.execute("SET LOCAL enclave.retention = 'on'")
            owner.execute("DELETE FROM audit_inferencerecord")

        assert states(role) == []

    def test_are_postgresql_s_alone(self, transactional_db):
        is_postgresql = connection.vendor == "postgresql"

        assert run("roles", "enclave_app") == (0 if is_postgresql else verbs.UNUSABLE)


def states(role):
    rows = role.execute("SELECT state FROM audit_inferencerecord ORDER BY state").fetchall()
    return [state for (state,) in rows]


FORBIDDEN = (
    "DELETE FROM audit_inferencerecord",
    "UPDATE audit_inferencerecord SET user_id = 'x'",
    "UPDATE audit_inferencerecord SET opened_link = 1",
    "TRUNCATE audit_inferencerecord",
    "DROP TABLE audit_inferencerecord",
    "ALTER TABLE audit_inferencerecord DISABLE TRIGGER ALL",
    "DROP TRIGGER audit_inferencerecord_stays ON audit_inferencerecord",
    "UPDATE django_migrations SET name = name",
    "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE sql AS ''",
    *(
        statement.format(model._meta.db_table, model._meta.concrete_fields[0].column)
        for model in guards.APPEND_ONLY
        for statement in ("DELETE FROM {}", "TRUNCATE {}", "UPDATE {0} SET {1} = {1}")
    ),
)
# What the processes write: an answered and a queued record, a lease, a checkpoint.
WRITE = """
from django.utils import timezone
from gateway import maintenance
from gateway.audit import store
from gateway.audit.chain import checkpoints, lanes
from gateway.audit.models import ProcessKind
from gateway.audit.records import Outcome, closing
from tests.gateway.audit.test_store import opening

rows, lane = store.for_connection(), lanes.begin("web")
opened = [opening(), opening()]
rows.open(opened, lane.opened(opened))
(claim,) = rows.claim([opened[0]["id"]], worker="v", now=timezone.now())
closed = [closing(claim.id, Outcome(state="answered", answer="x"), worker="v",
                  claimed_at=claim.claimed_at)]
assert rows.close(closed, lane.closed(closed)) == {claim.id}
maintenance.renew_lease("p", ProcessKind.WEB, now=timezone.now())
checkpoints.write(now=timezone.now())
"""
