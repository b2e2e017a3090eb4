"""The rule that won, by record; the score of each category that a record names.

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


def upgrade() -> None:
    for table, (name, kind) in _NEW.items():
        op.add_column(table, sa.Column(name, kind(), nullable=True))


def downgrade() -> None:
    """Undo upgrade; refuse where that would drop evidence."""
    bind = op.get_bind()
    for table, (name, _) in _NEW.items():
        count = bind.execute(sa.text(f"SELECT count(*) FROM {table} WHERE {name} IS NOT NULL")).scalar_one()
        if count:
            raise CommandError(
                f"this would drop what {count} rows of {table} say, and evidence is not dropped by a downgrade"
            )
    for table, (name, _) in reversed(_NEW.items()):
        op.drop_column(table, name)
