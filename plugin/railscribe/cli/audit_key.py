"""``railscribe audit key``: the key that checkpoints are signed with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from railscribe.audit import keys
from railscribe.audit.rotating import rotate as rotate_key
from railscribe.cli import options

app = typer.Typer(
    help="The key that checkpoints are signed with.", no_args_is_help=True, rich_markup_mode=None
)

Out = Annotated[
    Path | None, typer.Option("--out", help="Write the public key to this file.", show_default=False)
]


@app.command()
def new(out: Out = None, as_json: options.Json = False) -> None:
    """Make a key where the settings say (signing_key), or in the user's data folder."""
    _show(keys.create(_place()), out, as_json=as_json)


@app.command()
def show(out: Out = None, as_json: options.Json = False) -> None:
    """Show where the key lies and its public part, which verifiers are given."""
    _show(keys.load(_place()), out, as_json=as_json)


@app.command()
def rotate(
    lost: Annotated[
        bool, typer.Option("--lost", help="The old key is lost and cannot sign for the new one.")
    ] = False,
    database_url: options.DatabaseUrl = None,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Have a new key sign from now on. The old one signs a checkpoint that names it, and stays beside it."""
    url = options.settings_from(database_url=database_url).database_url
    key, kept = rotate_key(url, _place(), lost=lost)
    _show(key, out, as_json=as_json, old=str(kept) if kept else None)


def _place() -> Path:
    return options.settings_from().signing_key or keys.default_path()


def _show(key: keys.SigningKey, out: Path | None, *, as_json: bool, **more: Any) -> None:
    if out is not None:
        out.write_text(key.public_pem(), encoding="ascii")
    shown = {"id": key.id, "path": str(key.path), "public_key": key.public.hex(), **more}
    if as_json:
        options.print_json(shown)
        return
    for name, value in shown.items():
        if value is not None:
            typer.echo(f"{name.replace('_', ' ')}: {value}")
    if out is None:
        typer.echo(key.public_pem(), nl=False)
