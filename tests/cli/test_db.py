"""``railscribe db`` on the shell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from railscribe.audit.tables import HEAD

Run = Callable[..., Any]
"""The fixture ``railscribe``: runs the command line and returns its code, out and err."""


def test_upgrade_current_and_check(railscribe: Run) -> None:
    """A new database is made by upgrade, is at head then, and does not differ from what is expected."""
    made = railscribe("db", "upgrade", "--json")
    again = railscribe("db", "upgrade", "--json")

    assert made.json() == {"before": None, "after": HEAD}
    assert again.json() == {"before": HEAD, "after": HEAD}
    assert railscribe("db", "current", "--json").json()["current"] == HEAD
    assert railscribe("db", "check", "--json").json() == {"ok": True, "differences": []}


def test_check_of_a_missing_database_fails(railscribe: Run) -> None:
    """Looking does not create: a missing database is an error that names the command."""
    ran = railscribe("db", "check")

    assert ran.code == 3
    assert "railscribe db upgrade" in ran.err
