"""``railscribe init``: a NeMo Guardrails configuration that runs as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from railscribe.cli import options
from railscribe.errors import MissingExtraError


def init(
    directory: Annotated[
        Path, typer.Argument(help="Where to write it; an existing file is never overwritten.")
    ],
    colang: Annotated[str, typer.Option(help="Colang version: 1.0 or 2.x.")] = "1.0",
    template: Annotated[
        str | None,
        typer.Option(
            help="Start from this ready policy, such as retail-banking: it and its cases are copied, to be changed.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a ready NeMo Guardrails configuration with Railscribe's rails in it."""
    try:
        from railscribe.rails import write_config
    except ImportError as error:
        raise MissingExtraError(
            "NeMo Guardrails is not installed.", hint="pip install 'railscribe[nemo]'"
        ) from error
    written = write_config(directory, colang=colang, template=template)
    if as_json:
        options.print_json({"written": [str(path) for path in written]})
        return
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo("\nNext:\n  railscribe db upgrade        # the audit database, once")
    if template is not None and (cases := directory / f"{template}.cases.yaml") in written:
        typer.echo(f"  railscribe policy test {cases}")
    typer.echo(f"  nemoguardrails chat --config {directory}   # after naming a main model in config.yml")
