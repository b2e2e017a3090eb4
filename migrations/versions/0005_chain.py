"""Entries in segments, signed checkpoints, keys, writers; gaps.

Revision 0005, after 0004. docs/schema.md explains the choices. Evidence that is there already is taken into segments
by the first writer, not here: sealing takes a key.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util.exc import CommandError

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_KEYS = {
    "entries": ["at", "kind", "id"],
    "signing_keys": ["id"],
    "writers": ["id"],
    "checkpoints": ["number"],
    "segments": ["id"],
    "gaps": ["at", "id"],
}


def upgrade() -> None:
    _create_entries()
    _create_chain()
    _create_gaps()
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _sqlite_triggers() if on_sqlite else _postgresql_triggers():
        op.execute(sa.text(statement))


def downgrade() -> None:
    """Undo upgrade; refuse where that would drop evidence."""
    bind = op.get_bind()
    for table in _KEYS:
        count = bind.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one()
        if count:
            raise CommandError(
                f"this would drop what {count} rows of {table} say, and evidence is not dropped by a downgrade"
            )
    on_sqlite = bind.dialect.name == "sqlite"
    op.execute(sa.text(f"DROP TRIGGER records_have_entry{'' if on_sqlite else ' ON records'}"))
    for table in reversed(_KEYS):
        op.drop_table(table)  # and its triggers with it
    if not on_sqlite:
        op.execute(sa.text("DROP FUNCTION railscribe_have_entry()"))
        op.execute(sa.text("DROP FUNCTION railscribe_not_sealed()"))


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def _points(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    key = _KEYS[to][0]
    return sa.ForeignKeyConstraint([column], [f"{to}.{key}"], name=f"fk_{table}_{column}_{to}")


def _create(table: str, *parts: sa.schema.SchemaItem) -> None:
    op.create_table(
        table,
        *parts,
        sa.PrimaryKeyConstraint(*_KEYS[table], name=f"pk_{table}"),
        # Without a rowid there is no second key by which INSERT OR REPLACE could push out evidence.
        sqlite_with_rowid=False,
    )


def _create_entries() -> None:
    """What is attested by which leaf, and where that lies. The time leads, so months can be partitions."""
    _create(
        "entries",
        _time("at"),
        _text("kind"),
        _text("id"),
        _text("segment_id"),
        _number("position"),
        _text("leaf"),
    )
    op.create_index("ix_entries_segment_id_position", "entries", ["segment_id", "position"])


def _create_chain() -> None:
    _create("signing_keys", _text("id"), _text("public_key"))
    _create(
        "writers",
        _text("id"),
        _time("opened_at"),
        _text("host"),
        _number("pid"),
        _number("quiet_s"),
        _text("railscribe_version"),
    )
    _create(
        "checkpoints",
        _number("number"),
        _time("at"),
        _text("writer"),
        _text("reason"),
        _text("ends", nullable=True),
        _text("key_id"),
        _text("hash"),
        _text("body"),
        _text("signature"),
        _points("checkpoints", "writer", "writers"),
        _points("checkpoints", "ends", "writers"),
        _points("checkpoints", "key_id", "signing_keys"),
    )
    op.create_index("ix_checkpoints_writer_number", "checkpoints", ["writer", "number"])
    given = sa.text("ends IS NOT NULL")
    op.create_index(
        "ix_checkpoints_ends", "checkpoints", ["ends"], sqlite_where=given, postgresql_where=given
    )
    _create(
        "segments",
        _text("id"),
        _text("writer"),
        _number("number"),
        _text("retention_class"),
        _text("month"),
        _number("entry_count"),
        _text("root"),
        _number("checkpoint_number"),
        _points("segments", "writer", "writers"),
        _points("segments", "checkpoint_number", "checkpoints"),
    )
    op.create_index("ix_segments_writer_number", "segments", ["writer", "number"])
    op.create_index("ix_segments_checkpoint_number", "segments", ["checkpoint_number"])


def _create_gaps() -> None:
    """What was not recorded."""
    _create(
        "gaps",
        _time("at"),
        _text("id"),
        _text("writer"),
        _number("count"),
        _time("since"),
        _time("until"),
        _text("cause"),
        _text("detail", nullable=True),
    )


# A sealed segment takes no more: an entry that came too late would be under no checkpoint.
_SEALED = "EXISTS (SELECT 1 FROM segments WHERE id = NEW.segment_id)"
# What is older than this revision, and was open when it came, does not write past the chain.
_UNTOLD = """NOT EXISTS (SELECT 1 FROM entries
             WHERE at = NEW.checked_at AND kind = 'record' AND id = NEW.id)"""


def _sqlite_triggers() -> list[str]:
    refusal = "RAISE(ABORT, 'railscribe: append-only')"
    refusing = (
        "CREATE TRIGGER {} BEFORE INSERT ON {} WHEN {} BEGIN SELECT RAISE(ABORT, 'railscribe: {}'); END"
    )
    statements = [
        refusing.format("entries_not_sealed", "entries", _SEALED, "sealed"),
        refusing.format("records_have_entry", "records", _UNTOLD, "no entry"),
    ]
    for table, key in _KEYS.items():
        for what in ("update", "delete"):
            statements.append(
                f"CREATE TRIGGER {table}_no_{what} BEFORE {what.upper()} ON {table} BEGIN SELECT {refusal}; END"
            )
        # INSERT OR REPLACE deletes the old row without asking the trigger above.
        same = " AND ".join(f"{column} = NEW.{column}" for column in key)
        statements.append(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) BEGIN SELECT {refusal}; END"
        )
    return statements


def _postgresql_triggers() -> list[str]:
    # Row triggers, because those of a partitioned table are also its partitions'.
    row, whole = (
        "FOR EACH ROW EXECUTE FUNCTION railscribe_refuse()",
        "FOR EACH STATEMENT EXECUTE FUNCTION railscribe_refuse()",
    )
    statements = [
        _refusing("railscribe_not_sealed", _SEALED, "sealed"),
        _refusing("railscribe_have_entry", _UNTOLD, "no entry"),
        f"CREATE TRIGGER entries_not_sealed BEFORE INSERT ON entries {row.replace('refuse', 'not_sealed')}",
        f"CREATE TRIGGER records_have_entry BEFORE INSERT ON records {row.replace('refuse', 'have_entry')}",
    ]
    for table in _KEYS:
        statements.append(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {row}")
        statements.append(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {row}")
        statements.append(f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} {whole}")
    return statements


def _refusing(name: str, condition: str, why: str) -> str:
    """A trigger's function that refuses a new row where *condition* holds."""
    return f"""
        CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF {condition} THEN
                RAISE EXCEPTION 'railscribe: {why}' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$
        """
