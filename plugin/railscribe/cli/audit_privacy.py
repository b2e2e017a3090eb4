"""``railscribe audit erase``, ``hold``, ``prune``, ``content-key``: what goes, what must not go, and who said so."""

from __future__ import annotations

import getpass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from railscribe.audit import Holds, Scope, open_store, prune
from railscribe.audit import erase as erase_subject
from railscribe.audit.content_keys import write_key_file
from railscribe.audit.keeping import TERMS
from railscribe.audit.remains import clear_away, of_copies
from railscribe.audit.spool import waiting
from railscribe.cli import options

By = Annotated[str, typer.Option("--by", help="Who does this; it is kept for good.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept for good, so name no subject in it.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Whose.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and let it be.")]
Vacuum = Annotated[
    bool,
    typer.Option(
        "--vacuum",
        help="Clear free space, too: PostgreSQL's dead rows, the rest of a SQLite file. Takes time.",
    ),
]

hold = typer.Typer(help="Legal holds: what must not go.", no_args_is_help=True, rich_markup_mode=None)
content_key = typer.Typer(help="Keys of content.", no_args_is_help=True, rich_markup_mode=None)


def erase(
    subject: Annotated[str, typer.Option("--subject", help="Whose content is to be erased.")],
    reason: Reason,
    by: Annotated[
        str | None, typer.Option("--by", help="Who does it; the user of this machine if left out.")
    ] = None,
    tenant: Tenant = None,
    dry_run: DryRun = False,
    vacuum: Vacuum = False,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Erase what was said by or about one person; verdicts and proofs stay (docs/privacy.md)."""
    with open_store(options.settings_from(database_url=database_url)) as store:
        store.replay()  # what waits in the spool is content, too
        done = erase_subject(
            store,
            subject=subject,
            tenant=tenant,
            by=by or getpass.getuser(),
            reason=reason,
            dry_run=dry_run,
        )
        left = None if dry_run else clear_away(store, vacuum=vacuum)
        if store.spool is not None and any(each.entries for each in waiting(store.spool.folder)):
            more = "Entries of running processes wait in the spool: erase again once they are in."
            left = f"{left} {more}" if left else more
    if as_json:
        copies = None if dry_run else of_copies(keys=done.keys)
        options.print_json({**done.as_json(), "left_over": left, "copies": copies})
        return
    what = f"{done.contents} contents of {done.records} records, and {done.keys} keys"
    if dry_run:
        typer.echo(f"would erase {what}, of tenant {done.tenant}")
        return
    typer.echo(f"erased {what}, of tenant {done.tenant}; on record as {', '.join(done.erasures)}")
    typer.echo(
        f"the entry names the subject as {done.subject_commitment}, salt {done.salt}: kept nowhere else"
    )
    if left:
        typer.echo(left)
    typer.echo(of_copies(keys=done.keys))


def prune_(
    by: By,
    reason: Reason,
    retention_class: Annotated[
        str | None, typer.Option("--class", help="Only this retention class.", show_default=False)
    ] = None,
    before: Annotated[
        datetime | None, typer.Option("--before", help="Only what is older, UTC.", show_default=False)
    ] = None,
    dry_run: DryRun = False,
    vacuum: Vacuum = False,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Delete whole segments of records whose retention term is over and that no hold keeps."""
    settings = options.settings_from(database_url=database_url)
    with open_store(settings) as store:
        done = prune(
            store,
            terms={**TERMS, **settings.retention_terms},
            by=by,
            reason=reason,
            retention_class=retention_class,
            before=None if before is None else before.replace(tzinfo=before.tzinfo or timezone.utc),
            dry_run=dry_run,
        )
        went = not dry_run and any(each.segments for each in done)
        left = clear_away(store, vacuum=vacuum) if went else None
    if as_json:
        options.print_json({"classes": [each.as_json() for each in done], "left_over": left})
        return
    for each in done:
        typer.echo(
            f"{each.retention_class} ({each.term_days} days): {'would prune' if dry_run else 'pruned'} "
            f"{each.records} records in {each.segments} segments; {each.held} segments are held"
            + (f"; months dropped whole: {', '.join(each.months)}" if each.months else "")
        )
    if left:
        typer.echo(left)


@hold.command("add")
def hold_add(
    by: By,
    reason: Reason,
    tenant: Tenant = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Whose content.")] = None,
    retention_class: Annotated[str | None, typer.Option("--class", help="A retention class.")] = None,
    record: Annotated[str | None, typer.Option("--record", help="One record, by its whole id.")] = None,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Hold what all the given names have in common: it is neither erased nor pruned."""
    scope = Scope(tenant=tenant, subject=subject, retention_class=retention_class, record_id=record)
    with open_store(options.settings_from(database_url=database_url)) as store:
        hold_id = Holds(store).add(scope, by=by, reason=reason)
    _say({"hold": hold_id}, f"held: {hold_id}", as_json=as_json)


@hold.command("release")
def hold_release(
    hold_id: Annotated[
        str, typer.Argument(metavar="HOLD", help="The hold's id, or enough of its beginning.")
    ],
    by: By,
    reason: Reason,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """End a hold."""
    with open_store(options.settings_from(database_url=database_url)) as store:
        released = Holds(store).release(hold_id, by=by, reason=reason)
    _say({"hold": released}, f"released: {released}", as_json=as_json)


@hold.command("list")
def hold_list(database_url: options.DatabaseUrl = None, as_json: options.Json = False) -> None:
    """List holds, oldest first, the released ones too."""
    with open_store(options.settings_from(database_url=database_url)) as store:
        holds = Holds(store).list()
    if as_json:
        options.print_json(holds)
        return
    for each in holds:
        names = [
            f"{name} {each[name]}"
            for name in ("tenant", "subject", "retention_class", "record_id")
            if each[name]
        ]
        ended = (
            f"; released {each['released_at'][:19]} by {each['released_by']}" if each["released_at"] else ""
        )
        typer.echo(
            f"{each['id']}  {each['held_at'][:19]}  {', '.join(names)}  by {each['held_by']}: {each['reason']}{ended}"
        )


@content_key.command("new")
def content_key_new(
    file: Annotated[Path, typer.Argument(help="Where to; it must not be there yet.")],
) -> None:
    """Make a key for content_key_file or digest_key_file, its owner's alone. Back it up: nothing opens without it."""
    write_key_file(file)
    typer.echo(f"made {file}")


def _say(answer: dict[str, Any], words: str, *, as_json: bool) -> None:
    if as_json:
        options.print_json(answer)
    else:
        typer.echo(words)
