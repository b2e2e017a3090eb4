"""Alembic's way in. ``railscribe.audit.schema`` hands over a connection, in a transaction, under a lock."""

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError(
        "Migrations run through railscribe.audit.schema (railscribe db upgrade), not by themselves."
    )

context.configure(connection=connection, version_table="railscribe_alembic_version")
with context.begin_transaction():
    context.run_migrations()
