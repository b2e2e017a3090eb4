"""What a check fell under where not all is enforced; parts of streams; repeats of remembered verdicts.

Revision 0010, after 0009. docs/schema.md explains the choices.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from alembic.util.exc import CommandError
from railscribe.audit.migrations import summaries_0010 as sums

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_NEW = {
    "rollout": sa.Text,
    "stream": sa.Text,
    "stream_part": sa.Integer,
    "stream_final": sa.Boolean,
    "repeats": sa.Text,
}
_SOUGHT = ("stream", "repeats")
_VIEWS = ("v_streams", "v_rollout")
_STREAMS = {
    "ix_records_streams": ["checked_at", "tenant"],
    "ix_records_tenant_streams": ["tenant", "checked_at"],
}
_SUMMED = (
    *("daily_decisions", "daily_categories", "hourly_checks", "daily_latency"),
    *("review_reasons", "failures", "waiting_reviews", "summarised"),
)


def upgrade() -> None:
    for name, kind in _NEW.items():
        op.add_column("records", sa.Column(name, kind(), nullable=True))
    for name in _SOUGHT:
        given = sa.text(f"{name} IS NOT NULL")
        op.create_index(
            f"ix_records_{name}_checked_at",
            "records",
            [name, "checked_at"],
            sqlite_where=given,
            postgresql_where=given,
        )
    for name, columns in _STREAMS.items():
        given = sa.text("stream IS NOT NULL")
        op.create_index(name, "records", columns, sqlite_where=given, postgresql_where=given)
    op.create_table(
        "daily_rollout",
        *(sa.Column(name, sa.Text(), nullable=False) for name in sums.ROLLOUT_KEY),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in sums.ROLLOUT_SUMS),
        sa.PrimaryKeyConstraint(*sums.ROLLOUT_KEY, name="pk_daily_rollout"),
        sqlite_with_rowid=False,
    )
    for table in _SUMMED:  # they know nothing of rollouts, and are made anew
        op.execute(sa.text(f"DELETE FROM {table}"))
    words = sums.Words(op.get_bind().dialect.name)
    for name, select in zip(_VIEWS, (sums.streams(words), sums.rollout_view(words)), strict=True):
        op.get_bind().execution_options(no_parameters=True).exec_driver_sql(f"CREATE VIEW {name} AS {select}")
    _list_views(dict.fromkeys(_VIEWS, "0010"))


def _list_views(added: dict[str, str]) -> None:
    """Make v_interface anew: the views it lists, with *added*, without those of this revision that are not."""
    bind = op.get_bind()
    listed = bind.execute(sa.text("SELECT name, version, since FROM v_interface")).all()
    views = {name: (version, since) for name, version, since in listed if name not in _VIEWS}
    views |= {name: (1, since) for name, since in added.items()}
    rows = (
        f"SELECT '{name}' AS name, {version} AS version, '{since}' AS since"
        for name, (version, since) in views.items()
    )
    op.execute(sa.text("DROP VIEW v_interface"))
    op.execute(sa.text(f"CREATE VIEW v_interface AS {' UNION ALL '.join(rows)}"))


def downgrade() -> None:
    """Undo upgrade; refuse where that would drop evidence."""
    said = " OR ".join(f"{name} IS NOT NULL" for name in _NEW)
    count = op.get_bind().execute(sa.text(f"SELECT count(*) FROM records WHERE {said}")).scalar_one()
    if count:
        raise CommandError(
            f"this would drop what {count} rows of records say, and evidence is not dropped by a downgrade"
        )
    _list_views({})
    for view in reversed(_VIEWS):
        op.execute(sa.text(f"DROP VIEW {view}"))
    op.drop_table("daily_rollout")
    for name in reversed(_STREAMS):
        op.drop_index(name, "records")
    for name in _SOUGHT:
        op.drop_index(f"ix_records_{name}_checked_at", "records")
    for name in reversed(_NEW):
        op.drop_column("records", name)
