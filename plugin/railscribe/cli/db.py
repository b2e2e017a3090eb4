"""``railscribe db``: the audit database's schema. The only road to it is a migration."""

from __future__ import annotations

import typer

from railscribe.audit import schema, tables
from railscribe.audit.attesting import adopt
from railscribe.cli import options
from railscribe.errors import SchemaRevisionError

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
