"""What a check fell under where not all is enforced; parts of streams; repeats of remembered verdicts.

Revision 0010, after 0009. docs/schema.md explains the choices.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from alembic.util.exc import CommandError

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
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    day = (
        "substr(r.checked_at, 1, 10)"
        if on_sqlite
        else "to_char(r.checked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
    )
    op.execute(
        sa.text(f"""
        CREATE VIEW v_streams AS
        SELECT r.stream, min(r.checked_at) AS began_at, min({day}) AS day, r.tenant, p.name AS policy,
               count(*) AS checks, sum(CASE WHEN r.repeats IS NOT NULL THEN 1 ELSE 0 END) AS repeats,
               max(CASE WHEN r.stream_final THEN 1 ELSE 0 END) AS judged_to_its_end,
               min(CASE WHEN r.enforcement = 'refused' THEN r.stream_part END) AS cut_at_part,
               min(CASE WHEN r.enforcement = 'refused' THEN r.id END) AS cut_by
        FROM records r
        JOIN policies p ON p.digest = r.policy_digest
        WHERE r.stream IS NOT NULL
        GROUP BY r.stream, r.tenant, p.name
        """)
    )
    op.execute(
        sa.text(f"""
        CREATE VIEW v_rollout AS
        SELECT {day} AS day, r.tenant, p.name AS policy, r.rail, coalesce(r.rollout, 'enforce') AS rollout,
               count(*) AS checks,
               sum(CASE WHEN r.enforcement = 'refused' THEN 1 ELSE 0 END) AS refused,
               sum(CASE WHEN r.enforcement = 'observed' THEN 1 ELSE 0 END) AS would_have_been_refused
        FROM records r
        JOIN policies p ON p.digest = r.policy_digest
        GROUP BY {day}, r.tenant, p.name, r.rail, coalesce(r.rollout, 'enforce')
        """)
    )
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
    for name in _SOUGHT:
        op.drop_index(f"ix_records_{name}_checked_at", "records")
    for name in reversed(_NEW):
        op.drop_column("records", name)
