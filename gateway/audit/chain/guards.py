"""What the database itself refuses: changing or deleting what is chained.

Triggers on both databases stop mistakes, stray SQL and our own bugs. They do not stop the owner of
the tables, who can drop them: on SQLite that is whoever can write the file. On PostgreSQL the
processes can run under a role that does not own the tables (`roles_sql`), and then it can neither
delete a record, nor change a closed one, nor lift the guard.

A migration that makes SQLite build one of these tables anew drops its triggers: end it with
`install`, as one that adds a table here. A test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from gateway.audit.chain.lanes import CLAIM
from gateway.audit.models import (
    Checkpoint,
    Event,
    InferenceContent,
    InferenceRecord,
    Lane,
    Link,
)
from gateway.audit.store import CLOSE_COLUMNS, OPEN

APPEND_ONLY = (InferenceContent, Lane, Link, Checkpoint, Event)
GUARDED = (InferenceRecord, *APPEND_ONLY)
MESSAGE = "the audit log is append-only"
LIFT = "enclave.retention"

_FUNCTION = f"""
CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF current_setting('{LIFT}', true) = 'on' AND pg_has_role(
        current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER'
    ) THEN
        RETURN COALESCE(NEW, OLD);
    END IF;
    RAISE EXCEPTION '{MESSAGE}: % of %', lower(TG_OP), TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$
"""  # noqa: S608  # our own names


def install(*_: Any) -> None:
    """Make the database refuse; safe to repeat."""
    remove()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_FUNCTION)
        # An early migration runs before later tables are there.
        there = connection.introspection.table_names(cursor)
        for (_name, table), statement in _triggers().items():
            if table in there:
                cursor.execute(statement)


def remove(*_: Any) -> None:
    """Take the triggers away."""
    with connection.cursor() as cursor:
        for name, table in _triggers():
            on_table = f" ON {table}" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}{on_table}")


@contextmanager
def lifted() -> Iterator[None]:
    """Let this transaction change and delete; for retention, which has put an event on record.

    On PostgreSQL it takes the role that owns the tables.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config(%s, 'on', true)", [LIFT])
            yield
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config(%s, '', true)", [LIFT])
        else:
            remove()
            yield
            install()


def _triggers() -> dict[tuple[str, str], str]:
    """Return the statements that make the triggers, by name and table."""
    make = _postgresql if connection.vendor == "postgresql" else _sqlite
    found: dict[tuple[str, str], str] = {}
    for model in GUARDED:
        table = model._meta.db_table
        # A record is open until it is closed, once.
        condition = f"NOT OLD.{OPEN}" if model is InferenceRecord else ""
        found[f"{table}_stays", table] = make(f"{table}_stays", "UPDATE", table, condition)
        found[f"{table}_remains", table] = make(f"{table}_remains", "DELETE", table, "")
        if connection.vendor == "postgresql":
            name = f"{table}_is_not_emptied"
            found[name, table] = (
                f"CREATE TRIGGER {name} BEFORE TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
            )
    return found


def _sqlite(name: str, operation: str, table: str, condition: str) -> str:
    when = f"WHEN {condition} " if condition else ""
    return (
        f"CREATE TRIGGER {name} BEFORE {operation} ON {table} {when}"
        f"BEGIN SELECT RAISE(ABORT, '{MESSAGE}: {operation.lower()} of {table}'); END"
    )


def _postgresql(name: str, operation: str, table: str, condition: str) -> str:
    when = f"WHEN ({condition}) " if condition else ""
    return (
        f"CREATE TRIGGER {name} BEFORE {operation} ON {table} "
        f"FOR EACH ROW {when}EXECUTE FUNCTION audit_refuse()"
    )


def installed() -> set[str]:
    """Return the names of the triggers that the database has, of ours."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")
        else:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        return {name for (name,) in cursor.fetchall()} & {name for name, _ in _triggers()}


def is_whole() -> bool:
    """Test whether every trigger is there."""
    return len(installed()) == len(_triggers())


# Roles on PostgreSQL


def roles_sql(role: str) -> list[str]:
    """Return the statements that let a role run the processes, and no more; safe to repeat.

    The tables stay with the role that ran the migrations, which is who should run these.
    """
    quoted = connection.ops.quote_name(role)
    literal = role.replace("'", "''")
    guarded = ", ".join(model._meta.db_table for model in GUARDED)
    # The trigger lets nobody use it on a closed record.
    columns = ", ".join((*CLOSE_COLUMNS, *CLAIM))
    return [
        "BEGIN",
        f"DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{literal}') "  # noqa: S608
        f"THEN CREATE ROLE {quoted} LOGIN; END IF; END $$",
        f"GRANT USAGE ON SCHEMA public TO {quoted}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {quoted}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {quoted}",
        f"REVOKE ALL ON {guarded}, django_migrations FROM {quoted}",
        f"GRANT SELECT, INSERT ON {guarded} TO {quoted}",
        f"GRANT UPDATE ({columns}) ON {InferenceRecord._meta.db_table} TO {quoted}",
        f"GRANT SELECT ON django_migrations TO {quoted}",
        "COMMIT",
    ]
