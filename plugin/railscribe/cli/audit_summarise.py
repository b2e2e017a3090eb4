"""``railscribe audit summarise``: sums by day, so that questions about all checks are answered at once."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from railscribe.audit import open_store
from railscribe.cli import options


def summarise(
    anew: Annotated[
        bool, typer.Option("--anew", help="Throw the sums away first, as after a prune.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the sums with the records; exit 1 where they differ.")
    ] = False,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Sum up what is under checkpoints, so that views over days answer at once; run it every hour or night."""
    columns = (
        "[progress.description]{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with open_store(options.settings_from(database_url=database_url)) as store:
        if check:
            found = store.summary_differences()
            if as_json:
                options.print_json({"ok": not found, "differences": found})
            else:
                typer.echo("\n".join(found) or "ok")
            raise typer.Exit(1 if found else 0)
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task("summing up", total=None)
            taken = store.summarise(
                anew=anew, progress=lambda done, total: progress.update(bar, completed=done, total=total)
            )
    if as_json:
        options.print_json({"checkpoint": taken.checkpoint, "entries": taken.entries})
    else:
        typer.echo(f"{taken.entries} entries summed up, all to checkpoint {taken.checkpoint}")
