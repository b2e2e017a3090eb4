"""Keys of subjects, erasures, holds, prunes; deletion that a record names.

Revision 0007, after 0006. docs/schema.md explains the choices.
"""

from __future__ import annotations

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Reserved."""


def downgrade() -> None:
    """Reserved."""
