"""The rule that won, by record; the score of each category that a record names; the registry of policies.

Revision 0004, after 0003. docs/schema.md explains the choices.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util.exc import CommandError

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NEW: dict[str, tuple[str, type[sa.types.TypeEngine[Any]]]] = {
    "records": ("rule", sa.Text),
    "record_categories": ("score", sa.Double),
}
_KEYS = {
    "policy_registrations": ["digest"],
    "policy_sources": ["registration_digest", "position"],
    "policy_clauses": ["registration_digest", "position"],
    "policy_diagnostics": ["registration_digest", "position"],
    "policy_allowances": ["registration_digest", "position"],
    "policy_moves": ["name", "tag", "tenant", "number"],
}
_VIEWS = ("v_policy_tags", "v_policy_timeline")


def upgrade() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, (name, kind) in _NEW.items():
        op.add_column(table, sa.Column(name, kind(), nullable=True))
    _create_registrations()
    _create_moves()
    op.execute(sa.text("DROP VIEW v_checks"))
    _create_checks(on_sqlite=on_sqlite, more=",\n               r.rule")
    _create_views(on_sqlite=on_sqlite)
    for statement in _sqlite_triggers() if on_sqlite else _postgresql_triggers():
        op.execute(sa.text(statement))


def downgrade() -> None:
    """Undo upgrade; refuse where that would drop evidence."""
    bind = op.get_bind()
    for table, (name, _) in _NEW.items():
        _refuse(
            bind.execute(sa.text(f"SELECT count(*) FROM {table} WHERE {name} IS NOT NULL")).scalar_one(),
            table,
        )
    for table in _KEYS:
        _refuse(bind.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one(), table)
    for view in (*reversed(_VIEWS), "v_checks"):
        op.execute(sa.text(f"DROP VIEW {view}"))
    for table in reversed(_KEYS):
        op.drop_table(table)  # and its triggers with it
    for table, (name, _) in reversed(_NEW.items()):
        op.drop_column(table, name)
    _create_checks(on_sqlite=bind.dialect.name == "sqlite", more="")


def _refuse(count: int, table: str) -> None:
    if count:
        raise CommandError(
            f"this would drop what {count} rows of {table} say, and evidence is not dropped by a downgrade"
        )


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def _points(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.digest"], name=f"fk_{table}_{column}_{to}")


def _create(table: str, *parts: sa.schema.SchemaItem) -> None:
    op.create_table(
        table,
        *parts,
        sa.PrimaryKeyConstraint(*_KEYS[table], name=f"pk_{table}"),
        # Without a rowid there is no second key by which INSERT OR REPLACE could push out evidence.
        sqlite_with_rowid=False,
    )


def _create_registrations() -> None:
    """What a policy was compiled from, by what, with what was said of it."""
    _create(
        "policy_registrations",
        _text("digest"),
        _text("policy_digest"),
        _text("policy_text_digest"),
        _text("policy_mode"),
        _time("registered_at"),
        _text("registered_by"),
        _text("reason", nullable=True),
        _text("compiler"),
        _text("railscribe_version"),
        _points("policy_registrations", "policy_digest", "policies"),
        _points("policy_registrations", "policy_text_digest", "policy_texts"),
    )
    op.create_index(
        "ix_policy_registrations_policy_digest_registered_at",
        "policy_registrations",
        ["policy_digest", "registered_at"],
    )
    _create_child("policy_sources", _text("file"), _text("digest"), _text("body"))
    _create_child(
        "policy_clauses",
        _text("kind"),
        _text("text"),
        _text("file", nullable=True),
        _number("line", nullable=True),
        _text("construct", nullable=True),
    )
    _create_child(
        "policy_diagnostics",
        _text("code"),
        _text("severity"),
        _text("message"),
        _text("file", nullable=True),
        _number("line", nullable=True),
        _text("hint", nullable=True),
    )
    _create_child("policy_allowances", _text("allowance"))


def _create_child(table: str, *parts: sa.schema.SchemaItem) -> None:
    _create(
        table,
        _text("registration_digest"),
        _number("position"),
        *parts,
        _points(table, "registration_digest", "policy_registrations"),
    )


def _create_moves() -> None:
    """Every move of every tag."""
    _create(
        "policy_moves",
        _text("name"),
        _text("tag"),
        _text("tenant"),
        _number("number"),
        _text("policy_digest"),
        _text("previous_digest", nullable=True),
        _time("moved_at"),
        _text("moved_by"),
        _text("reason", nullable=True),
        _text("railscribe_version"),
        _points("policy_moves", "policy_digest", "policies"),
        _points("policy_moves", "previous_digest", "policies"),
    )
    op.create_index("ix_policy_moves_policy_digest_moved_at", "policy_moves", ["policy_digest", "moved_at"])


def _create_views(*, on_sqlite: bool) -> None:
    later = "l.name = m.name AND l.tag = m.tag AND l.tenant = m.tenant"
    op.execute(
        sa.text(f"""
        CREATE VIEW v_policy_tags AS
        SELECT m.name AS policy, m.tag, nullif(m.tenant, '') AS tenant, m.policy_digest,
               p.version AS policy_version, m.moved_at, m.moved_by, m.reason, m.previous_digest,
               m.number AS moves
        FROM policy_moves m
        JOIN policies p ON p.digest = m.policy_digest
        WHERE NOT EXISTS (SELECT 1 FROM policy_moves l WHERE {later} AND l.number > m.number)
        """)
    )

    def day(time: str) -> str:
        if on_sqlite:
            return f"substr({time}, 1, 10)"
        return f"to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"

    op.execute(
        sa.text(f"""
        CREATE VIEW v_policy_timeline AS
        SELECT m.moved_at AS happened_at, {day("m.moved_at")} AS day, 'moved' AS event, m.name AS policy, m.tag,
               nullif(m.tenant, '') AS tenant, m.policy_digest, p.version AS policy_version, m.previous_digest,
               m.moved_by AS by_whom, m.reason,
               (SELECT l.moved_at FROM policy_moves l WHERE {later} AND l.number = m.number + 1) AS until
        FROM policy_moves m
        JOIN policies p ON p.digest = m.policy_digest
        UNION ALL
        SELECT g.registered_at, {day("g.registered_at")}, 'registered', p.name, NULL, NULL, g.policy_digest,
               p.version, NULL, g.registered_by, g.reason, NULL
        FROM policy_registrations g
        JOIN policies p ON p.digest = g.policy_digest
        """)
    )


def _all_texts(*, on_sqlite: bool) -> str:
    """The words read in all pictures of a record, in the pictures' order."""
    of_record = "c.checked_at = r.checked_at AND c.record_id = r.id AND c.kind = 'image_text'"
    if on_sqlite:  # group_concat knows no ORDER BY of its own before 3.44
        ordered = f"SELECT c.body FROM contents c WHERE {of_record} ORDER BY c.position"
        return f"(SELECT group_concat(body, char(10)) FROM ({ordered}))"
    return f"(SELECT string_agg(c.body, chr(10) ORDER BY c.position) FROM contents c WHERE {of_record})"


_OF_0002 = """,
               e.adapter, e.decoding,
               (SELECT count(*) FROM record_pieces x WHERE x.checked_at = r.checked_at AND x.record_id = r.id)
                   AS piece_count,
               coalesce((SELECT x.name FROM record_notes x WHERE x.checked_at = r.checked_at
                         AND x.record_id = r.id AND x.kind = 'reasoning' AND x.position = 0), 'off') AS reasoning"""


def _day(*, on_sqlite: bool) -> str:
    if on_sqlite:
        return "substr(r.checked_at, 1, 10)"
    return "to_char(r.checked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


def _content(kind: str) -> str:
    of_record = "c.checked_at = r.checked_at AND c.record_id = r.id"
    return f"(SELECT c.body FROM contents c WHERE {of_record} AND c.kind = '{kind}' AND c.position = 0)"


def _create_checks(*, on_sqlite: bool, more: str) -> None:
    """v_checks as 0003 made it, and *more* columns after it."""

    def joined(table: str, condition: str = "true") -> str:
        of_record = f"x.checked_at = r.checked_at AND x.record_id = r.id AND {condition}"
        if on_sqlite:
            ordered = f"SELECT x.name FROM {table} x WHERE {of_record} ORDER BY x.position"
            return f"(SELECT group_concat(name, ', ') FROM ({ordered}))"
        return f"(SELECT string_agg(x.name, ', ' ORDER BY x.position) FROM {table} x WHERE {of_record})"

    op.execute(
        sa.text(f"""
        CREATE VIEW v_checks AS
        SELECT r.id, r.checked_at, {_day(on_sqlite=on_sqlite)} AS day, r.tenant, r.session, r.request, r.subject,
               r.retention_class, r.content_mode, r.railscribe_version, r.direction, r.rail, r.host,
               r.outcome, r.cause, r.decided_on, r.enforcement,
               {joined("record_categories")} AS categories,
               {joined("record_categories", "x.deciding")} AS deciding_categories,
               r.user_label, r.user_score, r.user_cause, r.response_label, r.response_score, r.response_cause,
               r.trace_requested, r.trace_received, r.categories_requested,
               {joined("record_notes", "x.kind = 'note'")} AS notes,
               {joined("record_notes", "x.kind = 'neutralised'")} AS neutralised,
               p.name AS policy, p.version AS policy_version, r.policy_digest, r.policy_mode,
               r.policy_text_digest,
               (SELECT t.text FROM policy_texts t WHERE t.digest = r.policy_text_digest) AS policy_text,
               e.name AS engine, e.model, e.revision AS model_revision, e.adapter_digest, e.template_digest,
               e.backend, e.backend_version, e.dtype, r.engine_digest, r.served_model,
               r.finish_reason, r.prompt_tokens, r.completion_tokens,
               r.image_count, r.image_use, r.image_reader,
               r.render_ms, r.engine_ms, r.decide_ms, r.total_ms,
               r.user_chars, r.response_chars,
               {_content("user")} AS user_text, {_content("response")} AS response_text,
               {_all_texts(on_sqlite=on_sqlite)} AS image_text, {_content("trace")} AS trace,
               {_content("reply")} AS reply{_OF_0002}{more}
        FROM records r
        JOIN policies p ON p.digest = r.policy_digest
        JOIN engines e ON e.digest = r.engine_digest
        """)
    )


def _sqlite_triggers() -> list[str]:
    refusal = "RAISE(ABORT, 'railscribe: append-only')"
    statements = []
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
    # Row triggers, because those of a partitioned table are also its partitions'. The function is 0001's.
    row, whole = (
        "FOR EACH ROW EXECUTE FUNCTION railscribe_refuse()",
        "FOR EACH STATEMENT EXECUTE FUNCTION railscribe_refuse()",
    )
    statements = []
    for table in _KEYS:
        statements.append(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {row}")
        statements.append(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {row}")
        statements.append(f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} {whole}")
    return statements
