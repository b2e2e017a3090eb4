"""Views that answer an auditor, and the summaries behind them.

Revision 0009, after 0008. docs/schema.md explains the choices.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from railscribe.audit.migrations import summaries_0009 as sums
from railscribe.audit.migrations import views_0009 as views

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_INDEXES: dict[str, tuple[str, list[str], str | None]] = {
    "ix_record_notes_kind_checked_at": ("record_notes", ["kind", "checked_at"], None),
    "ix_late_traces_checked_at": (
        "late_traces",
        ["checked_at"],
        "state <> 'received' OR disagrees OR contradicts",
    ),
    "ix_records_checked_at": (
        "records",
        ["checked_at"],
        "(user_cause IS NOT NULL OR response_cause IS NOT NULL) AND outcome <> 'undecided'",
    ),
}


_TABLES = ("daily_decisions", "daily_categories", "hourly_checks", "daily_latency", "summarised")


def upgrade() -> None:
    for name, (table, columns, where) in _INDEXES.items():
        given = None if where is None else sa.text(where)
        op.create_index(name, table, columns, sqlite_where=given, postgresql_where=given)
    _create_summaries()
    op.execute(sa.text("DROP VIEW v_blocked_by_category_day"))
    words = sums.Words(op.get_bind().dialect.name)
    for name, select in _views(words).items():
        _run(f"CREATE VIEW {name} AS {select}")


def downgrade() -> None:
    """Undo upgrade. Summaries can be made again: nothing is lost that is evidence."""
    words = sums.Words(op.get_bind().dialect.name)
    for name in reversed(_views(words)):
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
