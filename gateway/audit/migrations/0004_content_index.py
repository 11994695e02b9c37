"""The index that finds words in content; why it is two tables of two kinds: docs/adr/0017."""

from django.db import migrations

SQLITE = (
    "CREATE VIRTUAL TABLE audit_contentindex USING fts5(words, record_id UNINDEXED)",
)
POSTGRESQL = (
    "CREATE TABLE audit_contentindex "
    "(key bigint PRIMARY KEY, record_id uuid NOT NULL, words tsvector NOT NULL)",
    # Rows come in batches, away from the calls: a list of what is still to be sorted in would only
    # slow searches down.
    "CREATE INDEX audit_contentindex_words ON audit_contentindex USING gin (words) "
    "WITH (fastupdate = off)",
)


def create(apps, schema_editor):
    statements = SQLITE if schema_editor.connection.vendor == "sqlite" else POSTGRESQL
    for statement in statements:
        schema_editor.execute(statement)


def drop(apps, schema_editor):
    schema_editor.execute("DROP TABLE audit_contentindex")


class Migration(migrations.Migration):
    dependencies = [("audit", "0003_reading_the_log")]
    operations = [migrations.RunPython(create, drop)]
