"""Reviews of what was flagged.

Revision 0006, after 0005. docs/schema.md explains the choices.
"""

from __future__ import annotations

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Reserved."""


def downgrade() -> None:
    """Reserved."""
