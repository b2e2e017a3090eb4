"""``railscribe audit spool``: what waits for the audit database, and bringing it in."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from railscribe.audit import open_store
from railscribe.audit.database import parse_url
from railscribe.audit.spool import Waiting, folder_for, set_aside, waiting
from railscribe.cli import options


def spool(
    replay: Annotated[
        bool, typer.Option("--replay", help="Bring in what was left by processes that have ended.")
    ] = False,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Show what waits for the audit database: entries that were made durable while it took none."""
    settings = options.settings_from(database_url=database_url)
    folder = folder_for(parse_url(settings.database_url), settings.spool_dir)
    brought = None
    if replay:
        with open_store(settings) as store:
            brought = store.replay()
    found = waiting(folder)
    oldest = min((each.oldest for each in found if each.oldest), default=None)
    if as_json:
        answer: dict[str, Any] = {
            "folder": str(folder),
            "waiting": sum(each.entries for each in found),
            "oldest": oldest.isoformat() if oldest else None,
            "files": [_as_json(each) for each in found],
            "set_aside": [path.name for path in set_aside(folder)],
        }
        options.print_json(answer if brought is None else {**answer, "replayed": brought})
        return
    if brought is not None:
        typer.echo(f"{brought} entries were brought in.")
    total = sum(each.entries for each in found)
    typer.echo(
        f"{total} entries wait in {folder}" + (f", the oldest of {oldest:%F %T} UTC." if oldest else ".")
    )
    for each in found:
        typer.echo(f"  {each.file.name}  {each.entries} entries, {each.size_bytes} bytes{_notes(each)}")
    for path in set_aside(folder):
        typer.echo(f"  {path.name}  is kept aside: a person has to look at it")


def _as_json(each: Waiting) -> dict[str, Any]:
    return {
        "file": each.file.name,
        "entries": each.entries,
        "oldest": each.oldest.isoformat() if each.oldest else None,
        **{
            name: getattr(each, name)
            for name in ("size_bytes", "revision", "damaged", "torn_bytes", "in_use")
        },
    }


def _notes(each: Waiting) -> str:
    notes = [
        "its process lives and will bring them in" if each.in_use else "",
        f"{each.damaged} damaged" if each.damaged else "",
        f"{each.torn_bytes} bytes of an unfinished write" if each.torn_bytes and not each.in_use else "",
    ]
    return "".join(f"; {note}" for note in notes if note)
