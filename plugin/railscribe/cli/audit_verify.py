"""``railscribe audit verify``, ``receipt`` and ``verify-receipt``: is it what was attested, and can others tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from railscribe.audit import open_store
from railscribe.audit.bundle_reading import verify_bundle
from railscribe.audit.findings import Report
from railscribe.audit.keys import read_public
from railscribe.audit.receipts import check_receipt, receipt_of
from railscribe.audit.verify import Progress as Told
from railscribe.audit.verify import verify_database
from railscribe.cli import options
from railscribe.errors import UsageError

PublicKeys = Annotated[
    list[Path] | None,
    typer.Option("--public-key", help="A public key that you trust; may be given again.", show_default=False),
]


def verify(
    export: Annotated[
        Path | None,
        typer.Argument(
            help="An export's folder; the database of the settings if left out.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    public_key: PublicKeys = None,
    anchor: Annotated[
        list[Path] | None,
        typer.Option(
            "--anchor",
            help="A file of checkpoints carried outside; may be given again.",
            show_default=False,
        ),
    ] = None,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Check a database or an export against its chain of signed checkpoints; exit 1 where it is not as attested."""
    url = options.settings_from(database_url=database_url).database_url
    trusted = [read_public(path) for path in public_key or ()]
    with _progress(hidden=as_json) as told:
        if export is not None:
            report = verify_bundle(export, trusted=trusted, anchors=anchor or (), progress=told)
        else:
            report = verify_database(url, trusted=trusted, anchors=anchor or (), progress=told)
    if as_json:
        options.print_json(report.as_json())
    else:
        for line in _words(report):
            typer.echo(line)
    raise typer.Exit(0 if report.ok else 1)


def receipt(
    record_id: Annotated[str, typer.Argument(help="A record's id, or enough of its beginning.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write it to this file, not to stdout.", show_default=False)
    ] = None,
    database_url: options.DatabaseUrl = None,
) -> None:
    """Print what proves one record to a stranger who has nothing but the public key (docs/receipt-format.md)."""
    with (
        open_store(options.settings_from(database_url=database_url)) as store,
        store.transaction("Making a receipt") as connection,
    ):
        made = receipt_of(connection, record_id)
    if out is None:
        options.print_json(made)
    else:
        out.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        typer.echo(f"{out}: {_attested(made)}")
        typer.echo("The public key: railscribe audit key show --out FILE")
        typer.echo(f"Check it: railscribe audit verify-receipt {out} --public-key FILE")


def verify_receipt(
    file: Annotated[Path, typer.Argument(help="A receipt.", exists=True, dir_okay=False)],
    public_key: Annotated[Path, typer.Option("--public-key", help="The public key that you trust.")],
    as_json: options.Json = False,
) -> None:
    """Check a receipt with nothing but itself and the public key; exit 1 where it does not hold."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise UsageError(f"{file} is no JSON.") from None
    wrong = check_receipt(said, read_public(public_key))
    if as_json:
        options.print_json({"ok": not wrong, "failures": wrong})
    else:
        typer.echo("\n".join(wrong) or f"ok: {_attested(said)}")
    raise typer.Exit(1 if wrong else 0)


def _attested(receipt: dict[str, Any]) -> str:
    """Return what a receipt that holds says."""
    entry, sealing = receipt["entry"], json.loads(receipt["checkpoint"]["body"])
    return (
        f"{entry['kind']} {entry['id']} of {entry['at']}, under checkpoint {sealing['number']} of {sealing['at']}, "
        f"signed with the key {sealing['key']}"
    )


@contextmanager
def _progress(*, hidden: bool) -> Iterator[Told]:
    """Show on a terminal how far it is, on stderr."""
    console = Console(stderr=True)
    if hidden or not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _words(report: Report) -> Iterator[str]:
    said = report.as_json()
    checked, told = said["integrity"]["checked"], said["completeness"]
    for failure in report.failures:
        yield f"FAILED  {_named(failure.place)}{failure.says} ({failure.code})"
    if (more := sum(report.failed.values()) - len(report.failures)) > 0:
        yield f"FAILED  and {more} more"
    if not told.get("last_checkpoint"):  # an export whose files are not to be believed
        yield "NOT OK"
        return
    yield (
        f"{report.records} records, {sum(report.entries.values())} entries in {checked.get('segments', 0)} segments "
        f"under {checked.get('checkpoints', 0)} checkpoints"
    )
    yield "contents: " + ", ".join(
        f"{count} {state}" for state, count in said["integrity"]["contents"].items()
    )
    keys = ", ".join(said["integrity"]["keys"]) or "none"
    yield f"keys: {keys}, {'as given' if report.trust == 'given' else 'believed because the database says so'}"
    yield f"not sealed yet: {told['unsealed']}; writers that have not ended: {len(told['open_writers'])}"
    yield f"gaps on record: {told['gaps']}, {told['missing_by_gaps']} entries missing by them"
    if told["hours_without_checkpoint"]:
        yield f"hours without a checkpoint: {told['hours_without_checkpoint']}"
    last = told["last_checkpoint"]
    if last["number"]:
        yield f"last checkpoint: {last['number']} of {last['at']}, {last['hash']}"
    else:
        yield "no checkpoint yet"
    yield "ok" if report.ok else "NOT OK"


def _named(place: dict[str, Any]) -> str:
    named = [
        f"{name} {place[name]}" for name in ("record", "entry", "segment", "checkpoint") if name in place
    ]
    named += [
        f"{name} {value}" for name, value in place.items() if name in ("key", "writer", "digest", "table")
    ]
    return f"{', '.join(named)}: " if named else ""
