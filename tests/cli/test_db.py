"""``railscribe db`` on the shell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

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


def test_roles_are_none_on_sqlite(railscribe: Run) -> None:
    """SQLite has no roles, and says what holds instead."""
    railscribe("db", "upgrade")
    ran = railscribe("db", "roles")

    assert (ran.code, ran.out) == (2, "")
    assert "whoever can read the file reads all of it" in ran.err


def test_printed_roles_need_no_database(railscribe: Run) -> None:
    """The SQL can be handed to somebody else: for the roles, for an auditor of two tenants, and to undo it."""
    made = railscribe(
        "db", "roles", "--print", "--auditor", "acme_audit", "--tenant", "acme", "--tenant", "o'hara"
    )
    undone = railscribe("db", "roles", "--print", "--drop", "--prefix", "bank")

    assert (made.code, undone.code) == (0, 0)
    assert made.out.startswith("BEGIN;")
    assert "('acme_audit', 'o''hara', now()" in made.out
    assert "DROP ROLE bank_writer" in undone.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("--auditor", "a"), "--auditor NAME and --tenant T together", id="no tenant"),
        pytest.param(("--drop", "--tenant", "acme"), "--drop takes no --tenant", id="drop a tenant"),
        pytest.param(
            ("--auditor", "a'; --", "--tenant", "t"), "cannot be a role's name", id="a name with a quote"
        ),
        pytest.param(("--prefix", "R;"), "cannot begin the names of roles", id="a prefix with a sign"),
    ],
)
def test_roles_that_make_no_sense(railscribe: Run, arguments: tuple[str, ...], said: str) -> None:
    """What cannot be meant is refused before anything is done."""
    ran = railscribe("db", "roles", "--print", *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


@pytest.mark.postgres
def test_roles_on_the_shell(railscribe: Run, empty_postgres_url: str) -> None:
    """Roles are made, an auditor is bound, and all is taken down again."""
    prefix = f"cli_{empty_postgres_url.rpartition('%3D')[2]}"

    def roles(*arguments: str) -> Any:
        given = ("--prefix", prefix, "--database-url", empty_postgres_url)
        return railscribe("db", "roles", *arguments, *given)

    railscribe("db", "upgrade", "--database-url", empty_postgres_url)
    made = roles("--auditor", f"{prefix}_acme", "--tenant", "acme")
    told = roles("--json")
    down = roles("--drop")

    assert (made.code, made.err) == (0, "")
    assert f"{prefix}_writer" in made.out
    assert "reads the views, of acme alone" in made.out
    assert told.json()["auditors"] == {f"{prefix}_acme": ["acme"]}
    assert (down.code, down.out) == (0, "Taken down.\n")
