"""``railscribe audit export``: the log, or a part of it, in a folder that others can read and verify."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from railscribe.audit import keys, open_store
from railscribe.audit.bundle import write_bundle
from railscribe.audit.formats import Format
from railscribe.audit.selecting import Selection
from railscribe.cli import options
from railscribe.errors import SigningKeyError

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


def export(
    out: Annotated[Path, typer.Argument(help="A new folder.", show_default=False)],
    form: Annotated[Format, typer.Option("--format", help="How rows are written.")] = Format.JSONL,
    since: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="From then on, UTC.", show_default=False)
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(formats=_FORMATS, help="Up to and without then, UTC.", show_default=False),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.", show_default=False)] = None,
    retention_class: Annotated[
        str | None, typer.Option("--class", help="Only this retention class.", show_default=False)
    ] = None,
    content: Annotated[
        bool, typer.Option("--content", help="With the texts, traces and pictures that are kept.")
    ] = False,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Write what was recorded, with the chain and its proofs: `railscribe audit verify OUT` accepts it anywhere."""
    settings = options.settings_from(database_url=database_url)
    selection = Selection(
        since=since and since.replace(tzinfo=timezone.utc),
        until=until and until.replace(tzinfo=timezone.utc),
        tenant=tenant,
        retention_class=retention_class,
        content=content,
    )
    try:
        key = keys.load(settings.signing_key or keys.default_path())
    except SigningKeyError:
        if settings.signing_key is not None:
            raise
        key = None  # an auditor has none: the chain proves itself, and only the manifest goes unsigned
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with (
        open_store(settings) as store,
        store.transaction("Exporting", snapshot=True) as connection,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        bar = progress.add_task("", total=None)
        made = write_bundle(
            connection,
            out,
            form=form,
            selection=selection,
            key=key,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    if as_json:
        options.print_json({name: made[name] for name in made if name != "files"} | {"folder": str(out)})
        return
    signed = f"signed by {key.id}" if key else "not signed: the chain's key is not here"
    typer.echo(f"{made['rows']['records']} records in {len(made['files'])} files, {signed}")
    typer.echo(f"Check it: railscribe audit verify {out}")
