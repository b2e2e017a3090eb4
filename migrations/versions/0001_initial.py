"""Records, their contents, policies and engines; three views; append-only evidence.

Revision 0001, after nothing. docs/schema.md explains the choices.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.util.exc import CommandError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SHARED = ("policies", "policy_texts", "engines")
_OF_RECORDS = ("record_categories", "record_notes", "record_images")
_EVIDENCE = (*_SHARED, "records", *_OF_RECORDS)
_VIEWS = ("v_checks", "v_blocked_by_category_day", "v_undecided")


def upgrade() -> None:
    _create_shared()
    _create_records()
    _create_children()
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    _create_views(on_sqlite=on_sqlite)
    for statement in _sqlite_triggers() if on_sqlite else _postgresql_triggers():
        op.execute(sa.text(statement))


def downgrade() -> None:
    """Undo upgrade; refuse where that would drop records."""
    count = op.get_bind().execute(sa.text("SELECT count(*) FROM records")).scalar_one()
    if count:
        raise CommandError(f"this would drop {count} records, and evidence is not dropped by a downgrade")
    for view in reversed(_VIEWS):
        op.execute(sa.text(f"DROP VIEW {view}"))
    for table in ("contents", *reversed(_EVIDENCE)):
        op.drop_table(table)  # and its triggers with it
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.text("DROP FUNCTION railscribe_refuse()"))


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def _real(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double(), nullable=True)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def _create_shared() -> None:
    """What many records have in common, kept once by digest."""
    own: dict[str, list[sa.Column[Any]]] = {
        "policies": [_text("name"), _text("version"), _text("document")],
        "policy_texts": [_text("text")],
        "engines": [
            _text("name"),
            _text("model"),
            _text("revision", nullable=True),
            _text("adapter_digest", nullable=True),
            _text("template_digest", nullable=True),
            _text("backend", nullable=True),
            _text("backend_version", nullable=True),
            _text("dtype", nullable=True),
        ],
    }
    for table in _SHARED:
        key = sa.PrimaryKeyConstraint("digest", name=f"pk_{table}")
        op.create_table(table, _text("digest"), *own[table], key, sqlite_with_rowid=False)


def _create_records() -> None:
    op.create_table("records", *_record_columns(), *_record_constraints(), sqlite_with_rowid=False)
    op.create_index("ix_records_id", "records", ["id"], postgresql_ops={"id": "text_pattern_ops"})
    for column in ("tenant", "outcome", "policy_digest"):
        op.create_index(f"ix_records_{column}_checked_at", "records", [column, "checked_at"])
    for column in ("subject", "session"):
        given = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_records_{column}_checked_at",
            "records",
            [column, "checked_at"],
            sqlite_where=given,
            postgresql_where=given,
        )


def _record_columns() -> list[sa.Column[Any]]:
    return [
        _time("checked_at"),
        _text("id"),
        _text("tenant"),
        _text("session", nullable=True),
        _text("request", nullable=True),
        _text("subject", nullable=True),
        _text("retention_class"),
        _text("content_mode"),
        _text("railscribe_version"),
        _text("direction"),
        _text("rail"),
        _text("host"),
        _number("user_chars"),
        _text("user_commitment"),
        _number("response_chars", nullable=True),
        _text("response_commitment", nullable=True),
        _number("image_count"),
        _text("image_use", nullable=True),
        _text("image_reader", nullable=True),
        _number("image_text_chars", nullable=True),
        _text("image_text_commitment", nullable=True),
        _text("policy_digest"),
        _text("policy_text_digest"),
        _text("policy_mode"),
        _text("engine_digest"),
        _text("served_model", nullable=True),
        _flag("categories_requested"),
        _flag("trace_requested"),
        _flag("trace_received"),
        _number("trace_chars", nullable=True),
        _text("trace_commitment", nullable=True),
        _number("reply_chars", nullable=True),
        _text("reply_commitment", nullable=True),
        _text("finish_reason", nullable=True),
        _number("prompt_tokens", nullable=True),
        _number("completion_tokens", nullable=True),
        _text("user_label"),
        _real("user_score"),
        _text("user_cause", nullable=True),
        _text("response_label", nullable=True),
        _real("response_score"),
        _text("response_cause", nullable=True),
        _text("outcome"),
        _text("cause", nullable=True),
        _text("decided_on"),
        _text("enforcement"),
        _real("render_ms"),
        _real("engine_ms"),
        _real("decide_ms"),
        _real("total_ms"),
    ]


def _record_constraints() -> list[sa.schema.Constraint]:
    checks = {
        "outcome_known": "outcome IN ('allow', 'flag', 'block', 'undecided')",
        "undecided_has_cause": "(outcome = 'undecided') = (cause IS NOT NULL)",
        "user_label_known": "user_label IN ('safe', 'unsafe', 'unreadable')",
        "response_label_known": "response_label IN ('safe', 'unsafe', 'unreadable')",
        "user_unreadable_has_cause": "(user_label = 'unreadable') = (user_cause IS NOT NULL)",
        "response_unreadable_has_cause": (
            "(coalesce(response_label, '') = 'unreadable') = (response_cause IS NOT NULL)"
        ),
        "trace_received_is_committed": "trace_received = (trace_commitment IS NOT NULL)",
    }
    parents = {"policy_digest": "policies", "policy_text_digest": "policy_texts", "engine_digest": "engines"}
    return [
        sa.PrimaryKeyConstraint("checked_at", "id", name="pk_records"),
        *(
            sa.ForeignKeyConstraint([column], [f"{parent}.digest"], name=f"fk_records_{column}_{parent}")
            for column, parent in parents.items()
        ),
        *(sa.CheckConstraint(rule, name=f"ck_records_{name}") for name, rule in checks.items()),
    ]


def _create_children() -> None:
    """Tables whose rows belong to one record and share its key."""
    _create_child(
        "record_categories",
        ["position"],
        _number("position"),
        _text("name"),
        _text("said"),
        _flag("known"),
        _flag("deciding"),
    )
    op.create_index("ix_record_categories_name_checked_at", "record_categories", ["name", "checked_at"])
    _create_child("record_notes", ["kind", "position"], _text("kind"), _number("position"), _text("name"))
    _create_child(
        "record_images",
        ["position"],
        _number("position"),
        _text("kind"),
        _text("media_type", nullable=True),
        _number("width", nullable=True),
        _number("height", nullable=True),
        _number("size_bytes", nullable=True),
        _text("commitment"),
    )
    _create_child(
        "contents",
        ["kind", "position"],
        _text("kind"),
        _number("position"),
        _text("salt"),
        _text("body"),
        _flag("truncated"),
    )


def _create_child(table: str, place: list[str], *columns: sa.Column[Any]) -> None:
    op.create_table(
        table,
        _time("checked_at"),
        _text("record_id"),
        *columns,
        sa.PrimaryKeyConstraint("checked_at", "record_id", *place, name=f"pk_{table}"),
        sa.ForeignKeyConstraint(
            ["checked_at", "record_id"],
            ["records.checked_at", "records.id"],
            name=f"fk_{table}_checked_at_record_id_records",
        ),
        # Without a rowid there is no second key by which INSERT OR REPLACE could push out evidence.
        sqlite_with_rowid=table == "contents",
    )


def _create_views(*, on_sqlite: bool) -> None:
    day = (
        "substr(r.checked_at, 1, 10)"
        if on_sqlite
        else "to_char(r.checked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
    )

    def joined(table: str, condition: str = "true") -> str:
        """The names in *table* for one record, in their order, as one text."""
        of_record = f"x.checked_at = r.checked_at AND x.record_id = r.id AND {condition}"
        if on_sqlite:  # group_concat knows no ORDER BY of its own before 3.44
            ordered = f"SELECT x.name FROM {table} x WHERE {of_record} ORDER BY x.position"
            return f"(SELECT group_concat(name, ', ') FROM ({ordered}))"
        return f"(SELECT string_agg(x.name, ', ' ORDER BY x.position) FROM {table} x WHERE {of_record})"

    def content(kind: str) -> str:
        of_record = "c.checked_at = r.checked_at AND c.record_id = r.id"
        return f"(SELECT c.body FROM contents c WHERE {of_record} AND c.kind = '{kind}' AND c.position = 0)"

    op.execute(
        sa.text(f"""
        CREATE VIEW v_checks AS
        SELECT r.id, r.checked_at, {day} AS day, r.tenant, r.session, r.request, r.subject, r.retention_class,
               r.content_mode, r.railscribe_version, r.direction, r.rail, r.host,
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
               {content("user")} AS user_text, {content("response")} AS response_text,
               {content("image_text")} AS image_text, {content("trace")} AS trace, {content("reply")} AS reply
        FROM records r
        JOIN policies p ON p.digest = r.policy_digest
        JOIN engines e ON e.digest = r.engine_digest
        """)
    )
    op.execute(
        sa.text(f"""
        CREATE VIEW v_blocked_by_category_day AS
        SELECT {day} AS day, r.tenant, p.name AS policy, coalesce(x.name, '(none named)') AS category,
               count(*) AS blocked
        FROM records r
        JOIN policies p ON p.digest = r.policy_digest
        LEFT JOIN record_categories x ON x.checked_at = r.checked_at AND x.record_id = r.id AND x.deciding
        WHERE r.outcome = 'block'
        GROUP BY {day}, r.tenant, p.name, coalesce(x.name, '(none named)')
        """)
    )
    op.execute(
        sa.text(f"""
        CREATE VIEW v_undecided AS
        SELECT r.id, r.checked_at, {day} AS day, r.tenant, r.direction, r.rail, r.cause, r.user_cause,
               r.response_cause, r.enforcement, p.name AS policy, e.name AS engine, e.model, r.finish_reason,
               r.image_use, r.engine_ms
        FROM records r
        JOIN policies p ON p.digest = r.policy_digest
        JOIN engines e ON e.digest = r.engine_digest
        WHERE r.outcome = 'undecided'
        """)
    )


def _sqlite_triggers() -> list[str]:
    refusal = "RAISE(ABORT, 'railscribe: append-only')"
    statements = []
    for table in (*_EVIDENCE, "contents"):
        statements.append(
            f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} BEGIN SELECT {refusal}; END"
        )
    for table in _EVIDENCE:
        statements.append(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} BEGIN SELECT {refusal}; END"
        )
        # INSERT OR REPLACE deletes the old row without asking the trigger above. A shared row that is there
        # already is left as it is, which also is what INSERT ... ON CONFLICT DO NOTHING wants.
        key = {
            "records": ["checked_at", "id"],
            "record_notes": ["checked_at", "record_id", "kind", "position"],
        }.get(table, ["digest"] if table in _SHARED else ["checked_at", "record_id", "position"])
        same = " AND ".join(f"{column} = NEW.{column}" for column in key)
        answer = "RAISE(IGNORE)" if table in _SHARED else refusal
        statements.append(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) BEGIN SELECT {answer}; END"
        )
    return statements


def _postgresql_triggers() -> list[str]:
    statements = [
        """
        CREATE FUNCTION railscribe_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'railscribe: append-only' USING ERRCODE = 'restrict_violation';
        END $$
        """
    ]
    # Row triggers, because those of a partitioned table are also its partitions'.
    row, whole = (
        "FOR EACH ROW EXECUTE FUNCTION railscribe_refuse()",
        "FOR EACH STATEMENT EXECUTE FUNCTION railscribe_refuse()",
    )
    for table in (*_EVIDENCE, "contents"):
        statements.append(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {row}")
    for table in _EVIDENCE:
        statements.append(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {row}")
        statements.append(f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} {whole}")
    return statements
