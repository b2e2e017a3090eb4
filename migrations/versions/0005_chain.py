"""Entries in segments, signed checkpoints, keys; gaps.

Revision 0005, after 0004. docs/schema.md explains the choices.
"""

from __future__ import annotations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Reserved."""


def downgrade() -> None:
    """Reserved."""
