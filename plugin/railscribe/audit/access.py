"""Making the roles of an audit database, and binding auditors to tenants. ``roles`` says what they may.

Rules

1. Everything is done in one transaction, or nothing of it.
2. SQLite knows no roles. It says so, and does not pretend.
"""

# ruff: noqa: S608 - names of ours, or names that were checked, or literals that were quoted
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from railscribe.audit import roles, tables
from railscribe.audit.database import open_engine, parse_url, translated, writing
from railscribe.audit.revision import require_head
from railscribe.errors import UsageError

_NO_ROLES = (
    "SQLite has no roles: whoever can read the file reads all of it, and whoever can write to it can also take the "
    "triggers away."
)
_LOCK = 0x726F6C65  # "role"


def set_up(
    url: str,
    *,
    auditor: str | None = None,
    tenants: Sequence[str] = (),
    by: str = "",
    prefix: str = roles.PREFIX,
) -> dict[str, Any]:
    """Make the roles of the database at *url* and give each its rights; bind *auditor* to *tenants* where given.

    Returns the roles, who is bound to which tenants, and what still stands open.

    Raises:
        UsageError: it is on SQLite, or a name cannot be one.
        AuditError: it is not at this version's revision, or the login may not do it; nothing was done.
    """
    statements = statements_for(auditor=auditor, tenants=tenants, by=by, prefix=prefix)
    with _changing(url, "Making roles") as connection:
        _run(connection, statements)
        bound: dict[str, list[str]] = {}
        of = tables.tenant_auditors.c
        for role, tenant in connection.execute(sa.select(of.role, of.tenant).order_by(of.role, of.tenant)):
            bound.setdefault(role, []).append(tenant)
        still_open = list(connection.execute(sa.text(roles.problems(prefix))).scalars())
    made = {f"{prefix}_{name}": what for name, what in roles.ROLES.items()}
    return {"roles": made, "auditors": bound, "open": still_open}


def statements_for(
    *, auditor: str | None = None, tenants: Sequence[str] = (), by: str = "", prefix: str = roles.PREFIX
) -> list[str]:
    """Return what :func:`set_up` would run.

    Raises:
        UsageError: a name cannot be one, or an auditor was given without tenants, or tenants without an auditor.
    """
    if (auditor is None) != (not tenants):
        raise UsageError(
            "An auditor is bound to tenants.", hint="Give --auditor NAME and --tenant T together."
        )
    bind = roles.binding(auditor, tenants, by=by, prefix=prefix) if auditor is not None else []
    made = roles.setting_up(prefix)
    first = len(roles.ROLES)  # the roles themselves, which binding looks at
    return [*made[:first], *bind, *made[first:]]


def take_down(url: str, *, auditor: str | None = None, prefix: str = roles.PREFIX) -> list[str]:
    """Undo :func:`set_up`, or what it did for *auditor* alone; return the roles that stay.

    A role stays that has rights in another database of the server, and so does an auditor's: it may be somebody's.

    Raises:
        UsageError: it is on SQLite, or a name cannot be one.
        AuditError: it is not at this version's revision, or the login may not do it; nothing was done.
    """
    statements = undoing(auditor=auditor, prefix=prefix)
    names = [f"{prefix}_{name}" for name in roles.ROLES] if auditor is None else [auditor]
    with _changing(url, "Taking roles down") as connection:
        _run(connection, statements)
        left = sa.text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names) ORDER BY rolname")
        return list(connection.execute(left, {"names": names}).scalars())


def undoing(*, auditor: str | None = None, prefix: str = roles.PREFIX) -> list[str]:
    """Return what :func:`take_down` would run.

    Raises:
        UsageError: a name cannot be one.
    """
    return roles.taking_down(prefix) if auditor is None else roles.unbinding(auditor)


def is_set_up(connection: sa.Connection) -> bool:
    """Return whether the database of *connection* has roles."""
    if connection.dialect.name == "sqlite":
        return False
    query = "SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass('records')"
    return bool(connection.execute(sa.text(query)).scalar())


def act_as_owner(connection: sa.Connection) -> None:
    """Go on, until the transaction ends, as the role that owns the tables, where this login is a member of it.

    So what a migration makes belongs to that role, whoever of the operators runs it.
    """
    query = f"""
        SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class
        WHERE oid = to_regclass('{tables.VERSION_TABLE}') AND pg_get_userbyid(relowner) <> current_user
        AND pg_has_role(relowner, 'USAGE')
    """
    owner = connection.execute(sa.text(query)).scalar()
    if owner is not None:
        connection.exec_driver_sql(f"SET LOCAL ROLE {owner}")


@contextmanager
def _changing(url: str, doing: str) -> Iterator[sa.Connection]:
    parsed = _on_postgresql(url)
    engine = writing(open_engine(parsed))
    try:
        with translated(parsed, doing), engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            require_head(connection, parsed)
            yield connection
    finally:
        engine.dispose()


def _on_postgresql(url: str) -> URL:
    parsed = parse_url(url)
    if parsed.drivername == "sqlite":
        raise UsageError(_NO_ROLES, hint="docs/access.md says what can be done instead.")
    return parsed


def _run(connection: sa.Connection, statements: Sequence[str]) -> None:
    plainly = connection.execution_options(no_parameters=True)
    for statement in statements:
        plainly.exec_driver_sql(statement)
