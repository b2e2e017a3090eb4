"""Reviews: what a person decided about a record, and the queue of what waits for one. Auditors bound to tenants.

Revision 0006, after 0005. docs/schema.md explains the choices.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from alembic.util.exc import CommandError
from railscribe.audit.migrations.reviews_0006 import decisions, queue

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_KEY = ("checked_at", "record_id", "number")
_VIEWS = ("v_review_decisions", "v_review_queue")


def upgrade() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    _create_reviews()
    _create_tenant_auditors()
    for view, select in zip(
        _VIEWS, (decisions(on_sqlite=on_sqlite), queue(on_sqlite=on_sqlite)), strict=True
    ):
        # Past SQLAlchemy's text(), which would take a colon for a parameter.
        op.get_bind().execution_options(no_parameters=True).exec_driver_sql(f"CREATE VIEW {view} AS {select}")
    for statement in _sqlite_triggers() if on_sqlite else _postgresql_triggers():
        op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statement)


def downgrade() -> None:
    """Undo upgrade; refuse where that would drop evidence."""
    bind = op.get_bind()
    count = bind.execute(sa.text("SELECT count(*) FROM reviews")).scalar_one()
    if count:
        raise CommandError(f"this would drop {count} reviews, and evidence is not dropped by a downgrade")
    for view in reversed(_VIEWS):
        op.execute(sa.text(f"DROP VIEW {view}"))
    op.drop_table("tenant_auditors")
    op.drop_table("reviews")  # and its triggers with it
    if bind.dialect.name == "postgresql":
        op.execute(sa.text("DROP FUNCTION railscribe_refuse_review()"))


def _create_reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        # No foreign key: a review outlives its record, which may be pruned. A trigger wants the record to be there.
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reviewed_by", sa.Text(), nullable=False),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=True),
        sa.Column("railscribe_version", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(*_KEY, name="pk_reviews"),
        sa.CheckConstraint("reviewed_by <> ''", name="ck_reviews_has_reviewer"),
        sa.CheckConstraint("reason <> ''", name="ck_reviews_has_reason"),
        sa.CheckConstraint("(number = 1) = (answers IS NULL)", name="ck_reviews_first_answers_none"),
        sa.CheckConstraint("number >= 1 AND answers < number", name="ck_reviews_answers_an_earlier"),
        # Without a rowid there is no second key by which INSERT OR REPLACE could push out evidence.
        sqlite_with_rowid=False,
    )
    op.create_index("ix_reviews_tenant_reviewed_at", "reviews", ["tenant", "reviewed_at"])
    op.create_index("ix_reviews_record_id_number", "reviews", ["record_id", "number"])


def _create_tenant_auditors() -> None:
    """How things are, and not how they were: no evidence, and no triggers."""
    op.create_table(
        "tenant_auditors",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("bound_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("bound_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("role", "tenant", name="pk_tenant_auditors"),
    )


def _sqlite_triggers() -> list[str]:
    refusal = "RAISE(ABORT, 'railscribe: append-only')"
    statements = [
        f"CREATE TRIGGER reviews_no_{what} BEFORE {what.upper()} ON reviews BEGIN SELECT {refusal}; END"
        for what in ("update", "delete")
    ]
    # INSERT OR REPLACE deletes the old row without asking the trigger above.
    same = " AND ".join(f"{column} = NEW.{column}" for column in _KEY)
    statements.append(
        "CREATE TRIGGER reviews_no_replace BEFORE INSERT ON reviews "
        f"WHEN EXISTS (SELECT 1 FROM reviews WHERE {same}) BEGIN SELECT {refusal}; END"
    )

    def bare(name: str) -> str:
        for code in (32, 9, 10, 13):
            name = f"replace({name}, char({code}), '')"
        return f"lower({name})"

    fits = "r.checked_at = NEW.checked_at AND r.id = NEW.record_id"
    fits += " AND r.tenant = NEW.tenant AND r.outcome = NEW.outcome"
    another = f"{bare('NEW.reviewed_by')} NOT IN ('', coalesce({bare('r.subject')}, ''))"
    statements.append(
        "CREATE TRIGGER reviews_by_another BEFORE INSERT ON reviews "
        f"WHEN NOT EXISTS (SELECT 1 FROM records r WHERE {fits} AND {another}) "
        "BEGIN SELECT RAISE(ABORT, 'railscribe: a review of another''s record'); END"
    )
    return statements


def _postgresql_triggers() -> list[str]:
    row, whole = (
        "FOR EACH ROW EXECUTE FUNCTION railscribe_refuse()",
        "FOR EACH STATEMENT EXECUTE FUNCTION railscribe_refuse()",
    )
    each = "FOR EACH ROW EXECUTE FUNCTION railscribe_refuse_review()"
    schema = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    return [
        f"CREATE TRIGGER reviews_no_update BEFORE UPDATE ON reviews {row}",
        f"CREATE TRIGGER reviews_no_delete BEFORE DELETE ON reviews {row}",
        f"CREATE TRIGGER reviews_no_truncate BEFORE TRUNCATE ON reviews {whole}",
        # As its owner, because who appends may not read whom records are about. Its search_path is pinned, so
        # that no schema of the caller's comes before this one.
        f"""
        CREATE FUNCTION railscribe_refuse_review() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, {schema}, pg_temp AS $$
        BEGIN
            IF NOT EXISTS (
                SELECT 1 FROM records r WHERE r.checked_at = NEW.checked_at AND r.id = NEW.record_id
                AND r.tenant = NEW.tenant AND r.outcome = NEW.outcome
                AND lower(regexp_replace(NEW.reviewed_by, '\\s', '', 'g'))
                    NOT IN ('', lower(regexp_replace(coalesce(r.subject, ''), '\\s', '', 'g')))
            ) THEN
                RAISE EXCEPTION 'railscribe: a review of another''s record' USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$
        """,
        f"CREATE TRIGGER reviews_by_another BEFORE INSERT ON reviews {each}",
    ]
