"""Views that answer an auditor, and the summaries behind them.

Revision 0009, after 0008. docs/schema.md explains the choices.
"""

from __future__ import annotations

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Reserved."""


def downgrade() -> None:
    """Reserved."""
