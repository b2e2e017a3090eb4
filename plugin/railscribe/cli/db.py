"""``railscribe db``: the audit database's schema. The only road to it is a migration."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from railscribe.audit import access, schema, tables
from railscribe.audit.attesting import adopt
from railscribe.audit.roles import PREFIX
from railscribe.cli import options
from railscribe.cli.policy_push import user
from railscribe.errors import SchemaRevisionError, UsageError

app = typer.Typer(help="The audit database's schema.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def upgrade(database_url: options.DatabaseUrl = None, as_json: options.Json = False) -> None:
    """Create the database or bring it to this version's revision."""
    settings = options.settings_from(database_url=database_url)
    url = settings.database_url
    try:
        before = schema.current(url)
    except SchemaRevisionError:
        before = None  # not there yet, which is what this command is for
    schema.upgrade(url)
    adopt(url, settings.signing_key)
    after = schema.current(url)
    if as_json:
        options.print_json({"before": before, "after": after})
    else:
        typer.echo(f"already at {after}" if before == after else f"{before or 'nothing'} -> {after}")
    if before != after and schema.has_roles(url):
        typer.echo("Give the roles what is new: railscribe db roles", err=True)


@app.command()
def current(database_url: options.DatabaseUrl = None, as_json: options.Json = False) -> None:
    """Print the revision the database is at."""
    revision = schema.current(options.settings_from(database_url=database_url).database_url)
    if as_json:
        options.print_json({"current": revision, "head": tables.HEAD})
    else:
        typer.echo(f"{revision or 'nothing'} (this version of Railscribe works with {tables.HEAD})")


@app.command()
def check(database_url: options.DatabaseUrl = None, as_json: options.Json = False) -> None:
    """Compare the database with what this version expects; exit 1 where they differ."""
    differences = schema.check(options.settings_from(database_url=database_url).database_url)
    if as_json:
        options.print_json({"ok": not differences, "differences": differences})
    else:
        typer.echo("\n".join(differences) or "ok")
    raise typer.Exit(1 if differences else 0)


@app.command()
def roles(
    print_sql: Annotated[bool, typer.Option("--print", help="Print the SQL and change nothing.")] = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Take the roles down; with --auditor, unbind that one alone.")
    ] = False,
    auditor: Annotated[
        str | None,
        typer.Option(help="Bind this role to tenants; made if it is not there.", show_default=False),
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            help="A tenant that the auditor sees, and no others; may be repeated.", show_default=False
        ),
    ] = None,
    prefix: Annotated[str, typer.Option(help="What the roles' names begin with.")] = PREFIX,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Make the PostgreSQL roles, or give them what an upgrade brought; bind an auditor to tenants. Safe to repeat."""
    tenants = tenant or []
    if drop and tenants:
        raise UsageError("--drop takes no --tenant.", hint="It unbinds an auditor from all.")
    if print_sql:
        statements = (
            access.undoing(auditor=auditor, prefix=prefix)
            if drop
            else access.statements_for(auditor=auditor, tenants=tenants, by=user(), prefix=prefix)
        )
        typer.echo(";\n\n".join(["BEGIN", *statements, "COMMIT"]) + ";")
        return
    url = options.settings_from(database_url=database_url).database_url
    if drop:
        left = access.take_down(url, auditor=auditor, prefix=prefix)
        if as_json:
            options.print_json({"left": left})
        else:
            typer.echo(f"Taken down.{' These roles stay: ' + ', '.join(left) if left else ''}")
        return
    made = access.set_up(url, auditor=auditor, tenants=tenants, by=user(), prefix=prefix)
    if as_json:
        options.print_json(made)
    else:
        _print(made)
    raise typer.Exit(1 if made["open"] else 0)


def _print(made: dict[str, Any]) -> None:
    for role, what in made["roles"].items():
        typer.echo(f"{role:<24} {what}")
    for role, tenants in made["auditors"].items():
        typer.echo(f"{role:<24} reads the views, of {', '.join(tenants)} alone")
    typer.echo(f'Give a login its role: GRANT {next(iter(made["roles"]))} TO "login"')
    for still in made["open"]:
        typer.echo(f"railscribe: still open: {still}", err=True)
