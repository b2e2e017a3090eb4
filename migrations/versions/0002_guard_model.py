"""What a guard model adds: engine calls in pieces, late traces, probes of engines; two views.

Revision 0002, after 0001. docs/schema.md explains the choices.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util.exc import CommandError
from railscribe.audit.migrations.reviews_0006 import reviews

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_KEYS = {
    "record_pieces": ["checked_at", "record_id", "position"],
    "late_traces": ["checked_at", "record_id"],
    "engine_probes": ["probed_at", "engine_digest", "probe"],
}
_OF_ENGINES = ("adapter", "decoding")


def upgrade() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for column in _OF_ENGINES:
        op.add_column("engines", _text(column, nullable=True))
    _create_pieces()
    _create_late_traces()
    _create_probes()
    op.execute(sa.text("DROP VIEW v_checks"))
    _create_checks(on_sqlite=on_sqlite, more=_MORE_CHECKS)
    _create_views(on_sqlite=on_sqlite)
    for statement in _sqlite_triggers() if on_sqlite else _postgresql_triggers():
        op.execute(sa.text(statement))


def downgrade() -> None:
    """Undo upgrade; refuse where that would drop evidence."""
    bind = op.get_bind()
    for table in _KEYS:
        _refuse(bind.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one(), table)
    told = " OR ".join(f"{column} IS NOT NULL" for column in _OF_ENGINES)
    _refuse(bind.execute(sa.text(f"SELECT count(*) FROM engines WHERE {told}")).scalar_one(), "engines")
    for view in ("v_late_traces", "v_reviews", "v_checks"):
        op.execute(sa.text(f"DROP VIEW {view}"))
    for table in reversed(_KEYS):
        op.drop_table(table)  # and its triggers with it
    for column in reversed(_OF_ENGINES):
        op.drop_column("engines", column)
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


def _real(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double(), nullable=True)


def _flag(name: str, *, nullable: bool = False) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=nullable)


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def _said() -> list[sa.Column[Any]]:
    return [
        _text("user_label", nullable=True),
        _real("user_score"),
        _text("user_cause", nullable=True),
        _text("response_label", nullable=True),
        _real("response_score"),
        _text("response_cause", nullable=True),
    ]


def _ended() -> list[sa.Column[Any]]:
    return [
        _text("finish_reason", nullable=True),
        _number("prompt_tokens", nullable=True),
        _number("completion_tokens", nullable=True),
        _real("engine_ms"),
    ]


def _create_pieces() -> None:
    """The engine calls of a record that took more than one."""
    _create_child(
        "record_pieces",
        _number("position"),
        _number("user_from", nullable=True),
        _number("user_to", nullable=True),
        _number("response_from", nullable=True),
        _number("response_to", nullable=True),
        _number("image_position", nullable=True),
        _flag("trace_requested"),
        *_said(),
        *_ended(),
        _flag("deciding"),
        _number("reply_chars", nullable=True),
        _text("reply_commitment", nullable=True),
    )


def _create_late_traces() -> None:
    """What became of reasoning that was deferred: a row a record, appended when it came or was lost."""
    _create_child(
        "late_traces",
        _time("requested_at"),
        _time("ended_at"),
        _text("state"),
        _text("cause", nullable=True),
        *_said(),
        _flag("disagrees", nullable=True),
        _flag("contradicts", nullable=True),
        *_ended(),
        _number("trace_chars", nullable=True),
        _text("trace_commitment", nullable=True),
        _number("reply_chars", nullable=True),
        _text("reply_commitment", nullable=True),
        sa.CheckConstraint("state IN ('received', 'failed', 'lost')", name="ck_late_traces_state_known"),
        sa.CheckConstraint(
            "state = 'received' OR cause IS NOT NULL", name="ck_late_traces_cause_unless_received"
        ),
    )


def _create_probes() -> None:
    """What the doctor found out about an engine."""
    op.create_table(
        "engine_probes",
        _time("probed_at"),
        _text("engine_digest"),
        _text("probe"),
        _text("address", nullable=True),
        _text("result"),
        _text("detail"),
        _text("railscribe_version"),
        sa.PrimaryKeyConstraint(*_KEYS["engine_probes"], name="pk_engine_probes"),
        sa.ForeignKeyConstraint(
            ["engine_digest"], ["engines.digest"], name="fk_engine_probes_engine_digest_engines"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_engine_probes_engine_digest_probed_at", "engine_probes", ["engine_digest", "probed_at"]
    )


def _create_child(table: str, *parts: sa.schema.SchemaItem) -> None:
    op.create_table(
        table,
        _time("checked_at"),
        _text("record_id"),
        *parts,
        sa.PrimaryKeyConstraint(*_KEYS[table], name=f"pk_{table}"),
        sa.ForeignKeyConstraint(
            ["checked_at", "record_id"],
            ["records.checked_at", "records.id"],
            name=f"fk_{table}_checked_at_record_id_records",
        ),
        # Without a rowid there is no second key by which INSERT OR REPLACE could push out evidence.
        sqlite_with_rowid=False,
    )


# Appended to the columns of 0001, which stay where they were.
_MORE_CHECKS = """,
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
    """v_checks as 0001 made it, and *more* columns after it."""

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
               {_content("image_text")} AS image_text, {_content("trace")} AS trace,
               {_content("reply")} AS reply{more}
        FROM records r
        JOIN policies p ON p.digest = r.policy_digest
        JOIN engines e ON e.digest = r.engine_digest
        """)
    )


def _create_views(*, on_sqlite: bool) -> None:
    day = _day(on_sqlite=on_sqlite)
    op.execute(sa.text(f"CREATE VIEW v_reviews AS {reviews(on_sqlite=on_sqlite)}"))
    of_record = "r.checked_at = n.checked_at AND r.id = n.record_id"
    of_late = "l.checked_at = n.checked_at AND l.record_id = n.record_id"
    shown = "r.id" if on_sqlite else "n.record_id AS id"
    record, late_trace = f"JOIN records r ON {of_record}", f"LEFT JOIN late_traces l ON {of_late}"
    if not on_sqlite:  # one by one: PostgreSQL takes two columns that are alike for next to never alike
        record = f"CROSS JOIN LATERAL (SELECT * FROM records r WHERE {of_record} OFFSET 0) r"
        late_trace = f"LEFT JOIN LATERAL (SELECT * FROM late_traces l WHERE {of_late} OFFSET 0) l ON true"
    op.execute(
        sa.text(f"""
        CREATE VIEW v_late_traces AS
        SELECT {shown}, n.checked_at, {day} AS day, r.tenant, r.direction, r.rail, p.name AS policy, r.outcome,
               r.user_label, r.user_score, r.response_label, r.response_score,
               coalesce(l.state, 'awaited') AS state, l.cause, l.requested_at, l.ended_at,
               l.user_label AS late_user_label, l.user_score AS late_user_score,
               l.response_label AS late_response_label, l.response_score AS late_response_score,
               l.disagrees, l.contradicts, l.finish_reason, l.prompt_tokens, l.completion_tokens, l.engine_ms,
               l.trace_chars, {_content("late_trace")} AS late_trace, {_content("late_reply")} AS late_reply
        FROM record_notes n
        {record}
        JOIN policies p ON p.digest = r.policy_digest
        {late_trace}
        WHERE n.kind = 'reasoning' AND n.name = 'deferred'
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
