"""Views that answer an auditor, and the summaries behind them.

Revision 0009, after 0008. docs/schema.md explains the choices.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from railscribe.audit.migrations import reviews_0006 as before
from railscribe.audit.migrations import reviews_0009 as rare
from railscribe.audit.migrations import summaries_0009 as sums
from railscribe.audit.migrations import views_0009 as views

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_INDEXES: dict[str, tuple[str, list[str], str | None]] = {
    "ix_record_notes_kind_checked_at": ("record_notes", ["kind", "checked_at"], None),
    "ix_records_refused": ("records", ["checked_at", "tenant"], "enforcement = 'refused'"),
    "ix_records_tenant_refused": ("records", ["tenant", "checked_at"], "enforcement = 'refused'"),
    "ix_reviews_reviewed_at": ("reviews", ["reviewed_at"], None),
    "ix_reviews_escalated": ("reviews", ["checked_at"], "decision = 'escalate'"),
}


_TABLES = (
    *("daily_decisions", "daily_categories", "hourly_checks", "daily_latency"),
    *("review_reasons", "failures", "waiting_reviews", "summarised"),
)
_REPLACED = ("v_reviews", "v_review_queue", "v_review_decisions")
"""Views of before 0009 that say the same as they did, of many records sooner."""


def upgrade() -> None:
    for name, (table, columns, where) in _INDEXES.items():
        given = None if where is None else sa.text(where)
        op.create_index(name, table, columns, sqlite_where=given, postgresql_where=given)
    if op.get_bind().dialect.name == "sqlite":
        _make_last()
    _create_summaries()
    op.execute(sa.text("DROP VIEW v_blocked_by_category_day"))
    words = sums.Words(op.get_bind().dialect.name)
    for name, select in _views(words).items():
        if name in _REPLACED:
            _replace(name, select)
        else:
            _run(f"CREATE VIEW {name} AS {select}")


def _make_last() -> None:
    """Make those indexes again that find fewer: of two that look alike SQLite takes the one that was made last."""
    for name in ("subject_checked_at", "session_checked_at", "id"):
        query = sa.text("SELECT sql FROM sqlite_master WHERE name = :name")
        statement = op.get_bind().execute(query, {"name": f"ix_records_{name}"}).scalar_one()
        _run(f"DROP INDEX ix_records_{name}")
        _run(statement)


def downgrade() -> None:
    """Undo upgrade. Summaries can be made again: nothing is lost that is evidence."""
    words = sums.Words(op.get_bind().dialect.name)
    on_sqlite = words.database == "sqlite"
    for name, select in (
        ("v_reviews", before.reviews(on_sqlite=on_sqlite)),
        ("v_review_decisions", before.decisions(on_sqlite=on_sqlite)),
        ("v_review_queue", before.queue(on_sqlite=on_sqlite)),
    ):
        _replace(name, select)
    for name in reversed(_views(words)):
        if name not in _REPLACED:
            _run(f"DROP VIEW {name}")
    for table in reversed(_TABLES):
        op.drop_table(table)
    _run(f"CREATE VIEW v_blocked_by_category_day AS {_blocked_as_0001(words)}")
    for name, (table, _, _) in reversed(_INDEXES.items()):
        op.drop_index(name, table)


def _create_summaries() -> None:
    """Sums over records: no evidence, so they have no triggers. They can be thrown away and made again."""
    number: sa.BigInteger = sa.BigInteger()
    real: sa.Double[float] = sa.Double()
    span = [sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in sums.SPAN]
    counts = [sa.Column(name, number, nullable=False) for name in sums.DECISION_SUMS]
    _create("daily_decisions", sums.DECISION_KEY, *counts, *span)
    _create("daily_categories", sums.CATEGORY_KEY, sa.Column("checks", number, nullable=False))
    seen = [sa.Column(name, number, nullable=False) for name in ("checks", "checkpoints")]
    _create("hourly_checks", sums.HOUR_KEY, *seen)
    told = [sa.Column(name, real, nullable=True) for name in sums.LATENCY_TOLD]
    _create("daily_latency", sums.LATENCY_KEY, sa.Column("checks", number, nullable=False), *told)
    text, time = sa.Text(), sa.DateTime(timezone=True)
    for table, key, more in (
        ("review_reasons", rare.REASON_KEY, ()),
        ("failures", rare.FAILURE_KEY, ("cause",)),
        ("waiting_reviews", rare.WAITING_KEY, ()),
    ):
        columns = [
            sa.Column(name, time if name == "checked_at" else text, nullable=False) for name in (*key, *more)
        ]
        awaited = [sa.Column("awaited", sa.Integer(), nullable=False)] if table == "waiting_reviews" else []
        op.create_table(
            table,
            *columns,
            sa.Column("tenant", text, nullable=False),
            *awaited,
            sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"),
            sqlite_with_rowid=False,
        )
    op.create_table(
        "summarised",
        sa.Column("checkpoint_number", sa.Integer(), nullable=False),
        sa.Column("summarised_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("checkpoint_number", name="pk_summarised"),
        sqlite_with_rowid=False,
    )


def _create(table: str, key: Sequence[str], *more: sa.Column[Any]) -> None:
    op.create_table(
        table,
        *(sa.Column(name, sa.Text(), nullable=False) for name in key),
        *more,
        sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"),
        sqlite_with_rowid=False,
    )


def _replace(view: str, select: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        _run(f"DROP VIEW {view}")
        _run(f"CREATE VIEW {view} AS {select}")
    else:
        _run(f"CREATE OR REPLACE VIEW {view} AS {select}")


def _views(words: sums.Words) -> dict[str, str]:
    waiting = sums.waiting(words)

    def all_of(table: str, select: str) -> str:
        return f"(SELECT * FROM {table} UNION ALL {select})"

    of_day = "(SELECT DISTINCT " + words.day("u.checked_at") + " AS day FROM v_unsummarised u) d"
    clean = f"WHERE day NOT IN (SELECT d.day FROM {of_day})"
    latency = sums.latency(words, sums.of_day(words, of_day))
    made = {
        "v_unsummarised": sums.unsummarised(words),
        **views.daily(
            all_of("daily_decisions", sums.decisions(words, waiting)),
            all_of("daily_categories", sums.categories(words, waiting)),
        ),
        **views.latency(f"(SELECT * FROM daily_latency {clean} UNION ALL {latency})"),
        **views.hours(words, all_of("hourly_checks", sums.hours(words, waiting, f"c.number > {sums.UPTO}"))),
        **views.coverage(words, all_of("daily_decisions", sums.decisions(words, waiting))),
        **views.reasons(words),
        **views.listings(words),
        **rare.views(words),
    }
    return {**made, "v_interface": _interface(made)}


_OLDER = {
    **dict.fromkeys(("v_checks", "v_undecided", "v_blocked_by_category_day"), "0001"),
    **dict.fromkeys(("v_reviews", "v_late_traces"), "0002"),
    "v_images": "0003",
    **dict.fromkeys(("v_policy_tags", "v_policy_timeline"), "0004"),
    **dict.fromkeys(("v_review_decisions", "v_review_queue"), "0006"),
    **dict.fromkeys(("v_contents", "v_erasures", "v_holds", "v_prunes"), "0007"),
}


def _interface(names: Iterable[str]) -> str:
    """Every view with its version, and since when it is so."""
    since = {**dict.fromkeys((*names, "v_interface"), "0009"), **_OLDER}
    rows = (
        f"SELECT '{name}' AS name, 1 AS version, '{revision}' AS since" for name, revision in since.items()
    )
    return " UNION ALL ".join(rows)


def _blocked_as_0001(words: sums.Words) -> str:
    day = words.day("r.checked_at")
    return f"""
        SELECT {day} AS day, r.tenant, p.name AS policy, coalesce(x.name, '(none named)') AS category,
               count(*) AS blocked
        FROM records r
        JOIN policies p ON p.digest = r.policy_digest
        LEFT JOIN record_categories x ON x.checked_at = r.checked_at AND x.record_id = r.id AND x.deciding
        WHERE r.outcome = 'block'
        GROUP BY {day}, r.tenant, p.name, coalesce(x.name, '(none named)')"""


def _run(statement: str) -> None:
    # Past SQLAlchemy's text(), which would take ':00' in a format for a parameter.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statement)
