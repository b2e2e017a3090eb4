"""Who may do what on PostgreSQL: roles, their rights, and the separation of tenants, as SQL. Pure.

Rules

1. Rights follow from ``tables``: what is evidence, what is a view, which columns are a key. Running the script
   again after an upgrade gives what is new, and takes what no longer follows.
2. Who writes inserts, and reads keys, times and what is about nobody (policies, engines, segments): never content,
   and of a record no more than its key and its class.
3. Who audits reads views. These belong to a role of their own that may select and nothing else, so row-level
   security holds for everything that is asked through them, whoever owns the tables.
4. Tables and functions belong to the operator's role. Nothing is granted to PUBLIC.
5. No role here can log in, passes row-level security by, or is a superuser; logins are members of them.
"""

# ruff: noqa: S608 - names of ours, or names that were checked, or literals that were quoted
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.separation import condition
from railscribe.errors import UsageError

PREFIX = "railscribe"
ROLES = {
    "writer": "appends, and reads what appending needs",
    "auditor": "reads the views, of all tenants",
    "reviewer": "reads the tables, of all tenants; together with the writer's role, reviews",
    "operator": "owns the tables: migrations, prune, erase",
    "views": "owns the views; for no login",
}
_OPERATED = (
    *("erasures", "erased_records", "erased_keys", "holds", "hold_releases", "prunes"),
    *("pruned_segments", "pruned_entries"),
)
"""Evidence that only the operator's commands add to, as far as there is such."""
_KEPT = ("contents", "subject_keys")
"""Tables beside evidence that appending fills."""
_READ_BY_WRITERS_TOO = {
    "records": ("retention_class",),
    # By whose it is the key is found that another process made; else each would make one of its own.
    "subject_keys": ("digest", "tenant", "subject", "record_id", "wrapped", "wrapped_by", "made_at"),
}
"""Columns beside keys and times, of tables about persons."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,62}")


def setting_up(prefix: str = PREFIX) -> list[str]:
    """Return the statements that make the roles and give each its rights, and no others (rule 1)."""
    role = _roles(prefix)
    return [
        *(_create(name) for name in role.values()),
        *_join(role),
        *_open_schema(role),
        *_own(role),
        *_revoke(role),
        *_grant(role),
        *(statement for table in _tables() for statement in _separate(table, role)),
    ]


def binding(auditor: str, tenants: Sequence[str], *, by: str, prefix: str = PREFIX) -> list[str]:
    """Return the statements that make *auditor* see *tenants* and no others; they go before ``setting_up``'s."""
    _named(auditor)
    wide = ", ".join(f"'{name}'" for name in _roles(prefix).values())
    refuse = (
        f"IF EXISTS (SELECT FROM pg_roles w WHERE w.rolname IN ({wide}) "
        f"AND pg_has_role('{auditor}', w.oid, 'MEMBER')) THEN\n"
        "    RAISE EXCEPTION 'railscribe: bound and not bound' USING ERRCODE = 'invalid_grant_operation';\n"
        "END IF;"
    )
    rows = ", ".join(
        f"('{auditor}', {_literal(tables.storable(tenant))}, now(), {_literal(tables.storable(by))})"
        for tenant in dict.fromkeys(tenants)
    )
    return [
        _create(auditor),
        _do(refuse),
        f"DELETE FROM tenant_auditors WHERE role = '{auditor}'",
        f"INSERT INTO tenant_auditors (role, tenant, bound_at, bound_by) VALUES {rows}",
    ]


def unbinding(auditor: str) -> list[str]:
    """Return the statements that take from *auditor* what ``binding`` gave; the role itself stays."""
    _named(auditor)
    return [f"DELETE FROM tenant_auditors WHERE role = '{auditor}'", *_revoke_from(f'"{auditor}"')]


def taking_down(prefix: str = PREFIX) -> list[str]:
    """Return the statements that undo ``setting_up``. A role that has rights in another database stays."""
    role = _roles(prefix)
    who = ", ".join(role[name] for name in ("writer", "auditor", "reviewer"))
    statements = [
        *_for_bound(f"REVOKE ALL ON {_list(_relations())} FROM %I"),
        *_for_bound("REVOKE ALL ON SCHEMA %2$I FROM %1$I"),
        "DELETE FROM tenant_auditors",
    ]
    for table in _tables():
        statements += [f"DROP POLICY IF EXISTS {policy} ON {table.name}" for policy in _policies(prefix)]
        statements.append(f"ALTER TABLE {table.name} DISABLE ROW LEVEL SECURITY")
    statements.append(f"REVOKE ALL ON {_list(_relations())} FROM {who}")
    statements.append(f"REVOKE ALL ON {_list(_table_names())} FROM {role['views']}")
    statements.append(_owner_of("TABLE", _table_names(), "current_user"))
    statements.append(_owner_of("VIEW", tables.VIEWS, "current_user"))
    statements.append(_owner_of_functions("current_user"))
    everyone = ", ".join(role.values())
    statements.append(_do(f"EXECUTE format('REVOKE ALL ON SCHEMA %I FROM {everyone}', current_schema());"))
    statements += [
        _do(
            f"IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN DROP ROLE {name}; END IF;\n"
            "EXCEPTION WHEN dependent_objects_still_exist THEN NULL;"
        )
        for name in reversed(role.values())
    ]
    return statements


def problems(prefix: str = PREFIX) -> str:
    """Return the query for what still stands open after ``setting_up``, a line each."""
    role = _roles(prefix)
    return f"""
        SELECT 'everybody may create objects in the schema ' || current_schema()
        WHERE has_schema_privilege('public', current_schema(), 'CREATE')
        UNION ALL
        SELECT format('%s belongs to %s', c.relname, pg_get_userbyid(c.relowner)) FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relname IN ({_quoted(_relations())})
        AND pg_get_userbyid(c.relowner) NOT IN ('{role["operator"]}', '{role["views"]}')
        UNION ALL
        SELECT format('%s may pass row-level security by', r.rolname) FROM pg_roles r
        WHERE (r.rolsuper OR r.rolbypassrls)
        AND (r.rolname IN ({_quoted(role.values())}) OR r.rolname IN (SELECT g.role FROM tenant_auditors g))
    """


def _roles(prefix: str) -> dict[str, str]:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", prefix):
        raise UsageError(f"{prefix!r} cannot begin the names of roles.", hint="Use a-z, 0-9 and _.")
    return {name: f"{prefix}_{name}" for name in ROLES}


def _named(auditor: str) -> None:
    if not _NAME.fullmatch(auditor):
        raise UsageError(f"{auditor!r} cannot be a role's name.", hint="Use letters, digits and _ . @ -")


def _create(name: str) -> str:
    return _do(
        f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN CREATE ROLE \"{name}\" NOLOGIN; END IF;\n"
        f"IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}' AND (rolsuper OR rolbypassrls)) THEN\n"
        f"    RAISE EXCEPTION 'railscribe: {name} passes row-level security by' "
        "USING ERRCODE = 'invalid_grant_operation';\nEND IF;"
    )


def _join(role: dict[str, str]) -> list[str]:
    """The operator is a member of the views' owner, and who runs this one of the operator's role."""
    return [
        _do(
            f"IF NOT pg_has_role('{role['operator']}', '{role['views']}', 'USAGE') THEN "
            f"GRANT {role['views']} TO {role['operator']}; END IF;\n"
            f"IF NOT pg_has_role('{role['operator']}', 'USAGE') THEN "
            f"EXECUTE format('GRANT {role['operator']} TO %I', current_user); END IF;"
        )
    ]


def _open_schema(role: dict[str, str]) -> list[str]:
    who, owners = ", ".join(role.values()), f"{role['operator']}, {role['views']}"
    return [
        _do(
            f"EXECUTE format('GRANT USAGE ON SCHEMA %I TO {who}', current_schema());\n"
            f"EXECUTE format('GRANT CREATE ON SCHEMA %I TO {owners}', current_schema());\n"
            "EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema());"
        )
    ]


def _own(role: dict[str, str]) -> list[str]:
    return [
        _owner_of("TABLE", _table_names(), role["operator"]),
        _owner_of("VIEW", tables.VIEWS, role["views"]),
        _owner_of_functions(role["operator"]),
    ]


def _owner_of(what: str, names: Iterable[str], owner: str) -> str:
    """Give *names*, and what they were partitioned into, to *owner*."""
    ours = _quoted(names)
    return _loop(
        "SELECT c.oid::regclass::text AS name FROM pg_class c\n"
        "    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v')\n"
        f"    AND pg_get_userbyid(c.relowner) <> {_user(owner)} AND (c.relname IN ({ours}) OR c.relispartition AND\n"
        f"    EXISTS (SELECT FROM pg_partition_ancestors(c.oid) a JOIN pg_class p ON p.oid = a.relid "
        f"WHERE p.relname IN ({ours})))",
        f"EXECUTE format('ALTER {what} %s OWNER TO {owner}', r.name);",
    )


def _owner_of_functions(owner: str) -> str:
    """Functions of triggers need nobody's right to be called, and are called by nobody else."""
    return _loop(
        "SELECT f.oid::regprocedure::text AS name FROM pg_proc f\n"
        "    WHERE f.pronamespace = current_schema()::regnamespace AND f.proname LIKE 'railscribe\\_%'\n"
        "    AND f.prorettype = 'trigger'::regtype",
        f"EXECUTE format('ALTER FUNCTION %s OWNER TO {owner}', r.name);\n"
        "    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', r.name);",
    )


def _revoke(role: dict[str, str]) -> list[str]:
    who = ", ".join(role[name] for name in ("writer", "auditor", "reviewer"))
    # Of the views' owner what it may do with tables: its own views stay its own.
    return [
        f"REVOKE ALL ON {_list(_relations())} FROM PUBLIC, {who}",
        *_for_bound(f"REVOKE ALL ON {_list(_relations())} FROM %I"),
        f"REVOKE ALL ON {_list(_table_names())} FROM {role['views']}",
    ]


def _revoke_from(who: str) -> list[str]:
    schema = _do(f"EXECUTE format('REVOKE ALL ON SCHEMA %I FROM {who}', current_schema());")
    return [f"REVOKE ALL ON {_list(_relations())} FROM {who}", schema]


def _grant(role: dict[str, str]) -> list[str]:
    written = [table.name for table in _tables() if _is_written(table)]
    read = [*tables.VIEWS, tables.VERSION_TABLE]
    statements = [f"GRANT INSERT ON {_list(written)} TO {role['writer']}"]
    whole = [table.name for table in tables.EVIDENCE if _is_about_nobody(table)]
    statements.append(f"GRANT SELECT ON {_list([*whole, tables.VERSION_TABLE])} TO {role['writer']}")
    for table in _tables():
        columns = _read_by_writers(table)
        if columns:
            statements.append(f"GRANT SELECT ({', '.join(columns)}) ON {table.name} TO {role['writer']}")
    statements.append(f"GRANT SELECT ON {_list(_table_names())} TO {role['views']}, {role['reviewer']}")
    statements.append(f"GRANT SELECT ON {_list(read)} TO {role['auditor']}, {role['reviewer']}")
    statements += _for_bound(f"GRANT SELECT ON {tables.VERSION_TABLE} TO %I")
    statements += _for_bound("GRANT USAGE ON SCHEMA %2$I TO %1$I")
    return [*statements, _grant_views_to_bound()]


def _grant_views_to_bound() -> str:
    """Rule 7 of ``separation``."""
    return _loop(
        "SELECT DISTINCT g.role AS name, v.relname AS view FROM tenant_auditors g "
        "JOIN pg_roles p ON p.rolname = g.role\n"
        "    JOIN pg_class v ON v.relnamespace = current_schema()::regnamespace "
        f"AND v.relname IN ({_quoted(tables.VIEWS)})\n"
        "    JOIN pg_attribute a ON a.attrelid = v.oid AND a.attname = 'tenant' AND NOT a.attisdropped",
        "EXECUTE format('GRANT SELECT ON %I TO %I', r.view, r.name);",
    )


def _separate(table: sa.Table, role: dict[str, str]) -> list[str]:
    """Return the policies of *table*: who writes inserts and reads what it may; others see what is theirs."""
    name = table.name
    append, keys, seen = _policies(role["writer"].removesuffix("_writer"))
    statements = [f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"]
    statements += [f"DROP POLICY IF EXISTS {policy} ON {name}" for policy in (append, keys, seen)]
    if name not in _OPERATED:
        statements.append(
            f"CREATE POLICY {append} ON {name} FOR INSERT TO {role['writer']} WITH CHECK (true)"
        )
        statements.append(f"CREATE POLICY {keys} ON {name} FOR SELECT TO {role['writer']} USING (true)")
    readers = f"{role['views']}, {role['reviewer']}"
    if table is tables.tenant_auditors:  # the conditions of all others read it
        return [*statements, f"CREATE POLICY {seen} ON {name} FOR SELECT TO {readers} USING (true)"]
    wide = " OR ".join(f"pg_has_role('{role[who]}', 'USAGE')" for who in ("auditor", "reviewer", "operator"))
    # Asked once for a statement, not for a row: a subselect that names no column of the table.
    using, bound = f"(SELECT {wide})", condition(table)
    if bound is not None:
        using += f" OR {bound}"
    return [*statements, f"CREATE POLICY {seen} ON {name} FOR SELECT TO {readers} USING ({using})"]


def _policies(prefix: str) -> tuple[str, str, str]:
    return f"{prefix}_append", f"{prefix}_keys", f"{prefix}_seen"


def _is_written(table: sa.Table) -> bool:
    """Return whether the writer's role inserts into *table*; what is no evidence is the operator's, content apart."""
    return table.name not in _OPERATED and (table in tables.EVIDENCE or table.name in _KEPT)


def _is_about_nobody(table: sa.Table) -> bool:
    """Return whether *table* holds nothing of a person (rule 2)."""
    return not {"subject", "subject_commitment", "record_id"} & set(table.c.keys())


def _read_by_writers(table: sa.Table) -> tuple[str, ...]:
    """Return the columns of *table* that the writer's role reads, where it does not read the whole."""
    if table not in tables.EVIDENCE:
        return _READ_BY_WRITERS_TOO.get(table.name, ())
    if _is_about_nobody(table):
        return ()
    keys = tuple(
        column.name for column in table.c if column.primary_key or isinstance(column.type, tables.UtcDateTime)
    )
    return keys + _READ_BY_WRITERS_TOO.get(table.name, ())


def _for_bound(statement: str) -> list[str]:
    """Run *statement* for each role that is bound to tenants: ``%I`` is its name, ``%2$I`` the schema's."""
    return [
        _loop(
            "SELECT DISTINCT g.role AS name FROM tenant_auditors g JOIN pg_roles p ON p.rolname = g.role",
            f"EXECUTE format('{statement}', r.name, current_schema());",
        )
    ]


def _tables() -> list[sa.Table]:
    return tables.metadata.sorted_tables


def _table_names() -> list[str]:
    return [*(table.name for table in _tables()), tables.VERSION_TABLE]


def _relations() -> list[str]:
    return [*_table_names(), *tables.VIEWS]


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _user(name: str) -> str:
    return name if name == "current_user" else f"'{name}'"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _loop(query: str, body: str) -> str:
    begin, end = "DO $railscribe$\nDECLARE r record;\nBEGIN\n", "\nEND LOOP;\nEND $railscribe$"
    return f"{begin}FOR r IN {query}\nLOOP\n    {body}{end}"


def _do(body: str) -> str:
    return f"DO $railscribe$\nBEGIN\n{body}\nEND $railscribe$"
