"""``railscribe audit``: reading what was decided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from railscribe.audit import open_store
from railscribe.cli import (
    audit_export,
    audit_key,
    audit_privacy,
    audit_review,
    audit_summarise,
    audit_verify,
    options,
)
from railscribe.cli.audit_spool import spool
from railscribe.values import Outcome

app = typer.Typer(help="What was decided.", no_args_is_help=True, rich_markup_mode=None)
app.command("review")(audit_review.review)
app.command("summarise")(audit_summarise.summarise)
app.command("export")(audit_export.export)
app.command("verify")(audit_verify.verify)
app.command("receipt")(audit_verify.receipt)
app.command("verify-receipt")(audit_verify.verify_receipt)
app.command("spool")(spool)
app.command("erase")(audit_privacy.erase)
app.command("prune")(audit_privacy.prune_)
app.add_typer(audit_privacy.hold, name="hold")
app.add_typer(audit_privacy.content_key, name="content-key")
app.add_typer(audit_key.app, name="key")


@app.command("list")
def list_records(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, newest first.")] = 20,
    outcome: Annotated[Outcome | None, typer.Option(help="Only this decision.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """List records, newest first."""
    with open_store(options.settings_from(database_url=database_url)) as store:
        records = store.records(limit=limit, outcome=outcome, tenant=tenant)
    if as_json:
        options.print_json(records)
        return
    for record in reversed(records):  # the newest last, beside the prompt
        why = record["cause"] or ", ".join(record["deciding_categories"])
        typer.echo(
            f"{record['id']}  {record['checked_at'][:19]}  {record['direction']:<11} {record['outcome']:<9} "
            f"{record['enforcement']:<7}  {record['policy']}{f'  ({why})' if why else ''}"
            f"{'  review: ' + ', '.join(record['reviews']) if record['reviews'] else ''}"
        )


@app.command()
def show(
    record_id: Annotated[str, typer.Argument(help="A record's id, or enough of its beginning.")],
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Show one record whole: the exchange, the policy's text, the verdict, the trace, also one that came later."""
    with open_store(options.settings_from(database_url=database_url)) as store:
        record = store.record(record_id)
    if as_json:
        options.print_json(record)
        return
    late = record.pop("late_trace")
    decided = record.pop("review_decisions")
    record["policy"] = "\n".join(_policy(record["policy"]))
    for field, value in record.items():
        if value not in (None, "", [], {}):
            typer.echo(f"{field}: {_indented(value)}")
    if late is not None:
        typer.echo(f"late_trace: {_indented(_late_trace(late))}")
    for review in decided:
        typer.echo(audit_review.told(review))


def _policy(policy: dict[str, Any]) -> Iterator[str]:
    """Yield what a record was judged against: which policy, its tags then, who registered it, what won, the text."""
    tags = f", tagged {', '.join(policy['tags'])}" if policy["tags"] else ""
    yield f"{policy['name']} {policy['version']} {policy['digest']}, mode {policy['mode']}{tags}"
    if registration := policy["registration"]:
        yield f"registered {registration['registered_at'][:19]} by {registration['registered_by']}"
    for clause in policy["deciding_clauses"]:
        source = clause["source"]
        place = f" ({source['file']}:{source['line']}, {source['construct']})" if source else ""
        yield f"decided by: {clause['text']}{place}"
    yield f"text {policy['text_digest']}:"
    yield policy["text"]


def _late_trace(late: dict[str, Any]) -> str:
    """Return what became of deferred reasoning as lines: how it ended, what it says, and the trace itself."""
    ended = f"{late['state']}{' (' + late['cause'] + ')' if late['cause'] else ''} at {late['ended_at']}"
    says = [f"{side} {late[side]['label']}" for side in ("user", "response") if late[side]]
    says += [word for word in ("disagrees", "contradicts") if late[word]]
    trace = late["trace"]
    lines = [ended, ", ".join(says), (trace["text"] or f"({trace['state']})") if trace else ""]
    return "\n".join(line for line in lines if line)


def _indented(value: Any) -> str:
    text = str(value)
    return text if "\n" not in text else "\n    " + text.replace("\n", "\n    ")


def print_rows(columns: Any, rows: Any, *, wrap: bool = False) -> None:
    """Print *rows* as a table as wide as the terminal, contents taken literally, a line each unless *wrap*."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=not wrap)
    for row in rows:
        table.add_row(*(Text("" if cell is None else " ".join(str(cell).split())) for cell in row))
    Console().print(table)
