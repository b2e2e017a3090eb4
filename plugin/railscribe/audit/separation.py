"""Which rows a reader sees who is bound to tenants: a condition for each table, from what tables say of each other.

Rules

1. A row that names a tenant is seen by those who are bound to it.
2. A row that points at such a row is seen by those who see that one.
3. A row that many share (a policy, its text, an engine) is seen by those who see a row that points at it, or a sum of
   such: these are few, and asked first.
4. A row that points at one of rule 3 is seen by those who see that one. An entry of the chain is seen by those who
   see its record.
5. What none of these covers belongs to all tenants at once, and nobody who is bound sees it. So a table of a later
   revision is hidden until it says whose it is. The scaffolding of the chain, which says how many and when but never
   whose or what, is seen by all: sums are made by it.
6. Who is bound to no tenant but to an audit role sees every row. Whoever is neither sees none.
7. Who is bound may ask the views that have a tenant in every row. Another may rest on what rule 5 hides, and would
   tell half of it.
"""

# ruff: noqa: S608 - names of ours, or names that were checked, or literals that were quoted
from __future__ import annotations

import sqlalchemy as sa

from railscribe.audit import tables

_FOR_ALL = ("policy_moves",)
"""Tables in which an empty tenant stands for every tenant that has no row of its own."""
_SCAFFOLDING = ("segments", "checkpoints", "writers", "summarised")
_OF_RECORD = {"entries": "records.checked_at = entries.at AND records.id = entries.id"}
"""Tables without a foreign key to the record that they are about."""
_IN_SUMS = {"engines": "engine_digest", "policies": "policy_digest"}
"""What ``daily_decisions`` sums up by, without a foreign key."""
BOUND = """SELECT g.tenant FROM tenant_auditors g JOIN pg_roles p ON p.rolname = g.role
    WHERE pg_has_role(p.oid, 'USAGE')"""
"""The tenants that the asking role is bound to."""


def condition(table: sa.Table) -> str | None:
    """Return when a bound reader sees a row of *table*, in SQL; ``None`` where never (rule 5)."""
    if "tenant" in table.c:
        for_all = " OR tenant = ''" if table.name in _FOR_ALL else ""
        return f"tenant IN ({BOUND}){for_all}"
    if table.name in _SCAFFOLDING:
        return "true"
    if table.name in _OF_RECORD:
        return f"EXISTS (SELECT 1 FROM records WHERE {_OF_RECORD[table.name]})"
    of_tenant = [key for key in _keys(table) if "tenant" in key.referred_table.c]
    if of_tenant:
        return _parent(table, of_tenant[0])
    sharing = [
        key
        for other in tables.metadata.sorted_tables
        if "tenant" in other.c
        for key in _keys(other)
        if key.referred_table is table
    ]
    if sharing:
        sums = [
            f"digest IN (SELECT {name} FROM daily_decisions)" for name in (_IN_SUMS.get(table.name),) if name
        ]
        return " OR ".join([*sums, *map(_shared, sharing)])
    pointing = [
        key
        for key in _keys(table)
        if key.referred_table.name not in _SCAFFOLDING and condition(key.referred_table) is not None
    ]
    return _parent(table, pointing[0]) if pointing else None


def _keys(table: sa.Table) -> list[sa.ForeignKeyConstraint]:
    """Return the foreign keys of *table* in the order of its columns."""
    order = list(table.c)
    keys = [key for key in table.foreign_key_constraints if key.referred_table is not table]
    return sorted(keys, key=lambda key: order.index(next(iter(key.columns))))


def _parent(table: sa.Table, key: sa.ForeignKeyConstraint) -> str:
    """A row of *table* has its parent among those that are seen."""
    parent = key.referred_table.name
    same = " AND ".join(
        f"{parent}.{element.column.name} = {table.name}.{element.parent.name}" for element in key.elements
    )
    return f"EXISTS (SELECT 1 FROM {parent} WHERE {same})"


def _shared(key: sa.ForeignKeyConstraint) -> str:
    """A shared row is pointed at by one that is seen."""
    (element,) = key.elements
    child, shared = key.parent.name, key.referred_table.name
    return (
        f"EXISTS (SELECT 1 FROM {child} WHERE {child}.{element.parent.name} = {shared}.{element.column.name})"
    )
