"""``railscribe audit review``: what waits for a person, and what a person decides about it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from railscribe.audit import ReviewDecision, Reviews, open_store
from railscribe.cli import options
from railscribe.cli.policy_push import user
from railscribe.errors import UsageError

_SHOWN = 300  # characters of a text; `audit show` has the whole
_SKIP, _QUIT = "skip", "quit"


def review(
    record_id: Annotated[
        str | None,
        typer.Argument(
            help="The record to decide about: its id, or enough of its beginning.", show_default=False
        ),
    ] = None,
    decision: Annotated[
        ReviewDecision | None,
        typer.Option(help="The decision on record was right, was wrong, or is for somebody else to judge."),
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option(
            help="With an id: why you decide so, kept for good; don't quote the exchange. Without one: list only "
            "what waits for this reason, such as flagged or score_in_band.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Who decides; the user of this machine if left out.", show_default=False),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="List only this tenant's records.", show_default=False)
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="List only what this policy, by name, decided.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="List so many, oldest first.")] = 20,
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Be asked about one record after the other.")
    ] = False,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """List what waits for a person's review; with an id, decide about one record. The original stays as it is."""
    if interactive and (as_json or record_id is not None or not sys.stdin.isatty()):
        raise UsageError("--interactive asks on a terminal, and lists by itself.")
    with open_store(options.settings_from(database_url=database_url)) as store:
        reviews = Reviews(store)
        if record_id is not None:
            _decide(reviews, record_id, decision, reason, by, as_json=as_json)
            return
        if decision is not None:
            raise UsageError("A decision is about a record.", hint="Give its id, or enough of its beginning.")
        waiting = reviews.queue(limit=limit, tenant=tenant, policy=policy, reason=reason)
        if interactive:
            _ask(reviews, waiting, by if by is not None else user())
        elif as_json:
            options.print_json(waiting)
        else:
            _print(waiting)


def told(review: dict[str, Any]) -> str:
    """Return one review as a line."""
    answers = f", answering review {review['answers']}" if review["answers"] else ""
    return (
        f"review {review['number']}: {review['decision']} by {_plain(review['reviewed_by'])} at "
        f"{review['reviewed_at'][:19]}{answers}: {_plain(review['reason'])}"
    )


def _decide(
    reviews: Reviews,
    record_id: str,
    decision: ReviewDecision | None,
    reason: str | None,
    by: str | None,
    *,
    as_json: bool,
) -> None:
    if decision is None or reason is None:
        raise UsageError(
            "A review is a decision with a reason.",
            hint="Give --decision uphold|overturn|escalate and --reason TEXT; look first: railscribe audit show ID.",
        )
    kept = reviews.append(record_id, decision, reason=reason, by=by if by is not None else user())
    if as_json:
        options.print_json(kept)
    else:
        typer.echo(f"{kept['record_id']}  {told(kept)}")


def _print(waiting: list[dict[str, Any]]) -> None:
    for item in waiting:
        typer.echo("\n".join(_lines(item)))
    if not waiting:
        typer.echo(
            "Nothing waits for a review. What was refused waits for none; "
            "any record can be reviewed by its id: railscribe audit review ID"
        )
        return
    typer.echo(
        f"{len(waiting)} shown. Look closer: railscribe audit show ID. "
        "Decide: railscribe audit review ID --decision uphold|overturn|escalate --reason TEXT"
    )


def _lines(item: dict[str, Any]) -> Iterator[str]:
    """Yield a record as a reviewer has to see it: why it waits, what decided, what was said and thought."""
    yield (
        f"{item['id']}  {item['checked_at'][:19]}  {item['tenant']}  {item['direction']}  {item['outcome']}  "
        f"{item['enforcement']}  {item['policy']} {item['policy_version']}"
    )
    yield f"    waits for  {', '.join(item['reasons'])}"
    if item["rule"]:
        yield f"    decided    {item['rule']}"
    for clause in item["deciding_clauses"]:
        source = clause["source"]
        place = f" ({source['file']}:{source['line']}, {source['construct']})" if source else ""
        yield f"    clause     {_shortened(clause['text'])}{place}"
    for name, title in (
        ("user", "user"),
        ("response", "response"),
        ("trace", "trace"),
        ("late_trace", "late trace"),
    ):
        if item[name] is not None:
            yield f"    {title:<10} {_content(item[name])}"
    for earlier in item["review_decisions"]:
        yield f"    {told(earlier)}"


def _content(content: dict[str, Any]) -> str:
    if content["text"] is None:
        return f"({content['state']})"
    note = "" if content["state"] == "intact" else f"  ({content['state']})"
    return f"{_shortened(content['text'])}{note}"


def _shortened(text: str) -> str:
    plain = _plain(text)
    return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]} ..."


def _plain(text: str) -> str:
    """Return *text* on one line, without what a terminal would take for a command."""
    return "".join(
        sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in " ".join(text.split())
    )


def _ask(reviews: Reviews, waiting: list[dict[str, Any]], by: str) -> None:
    """Go through *waiting*, one record after the other, until there is none left or the reviewer has had enough."""
    answers = {decision.value[0]: decision.value for decision in ReviewDecision} | {"s": _SKIP, "q": _QUIT}
    asked = ", ".join(f"{key} = {word}" for key, word in answers.items())
    for item in waiting:
        typer.echo("\n".join(_lines(item)))
        answer = ""
        while answer not in answers.values():
            given = typer.prompt(f"Your decision ({asked})").strip().lower()
            answer = answers.get(given, given)
        if answer == _QUIT:
            return
        if answer == _SKIP:
            continue
        reason = typer.prompt("Why")
        try:
            typer.echo(told(reviews.append(item["id"], ReviewDecision(answer), reason=reason, by=by)))
        except UsageError as error:  # this one is not for this reviewer; the next may be
            typer.echo(f"railscribe: {error}", err=True)
    typer.echo("Nothing else waits here.")
