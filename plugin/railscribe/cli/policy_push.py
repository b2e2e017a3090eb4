"""``railscribe policy push`` and ``tag``: into the registry, and to where a tag is to point."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer

from railscribe.audit import PolicyRegistry, open_store
from railscribe.audit.policies import Move
from railscribe.cli import options
from railscribe.cli.policy_lint import as_item
from railscribe.errors import UsageError
from railscribe.policy.diagnostics import Severity
from railscribe.policy.load import load_registration
from railscribe.policy.reference import tag_of

By = Annotated[
    str | None,
    typer.Option("--by", help="Who does it; the user of this machine if left out.", show_default=False),
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for the record.", show_default=False)]
Tenant = Annotated[
    str | None, typer.Option("--tenant", help="Move the tag for this tenant alone.", show_default=False)
]
Expect = Annotated[
    str | None,
    typer.Option(
        "--expect",
        help="The digest that the tag must point to now, or 'none'; else nothing is moved, and the exit code is 1.",
        show_default=False,
    ),
]


def push(
    policy: Annotated[str, typer.Argument(help="A policy's file, or a ready policy's name.")],
    tag: Annotated[
        str | None, typer.Option("--tag", help="Point this tag to it, such as prod.", show_default=False)
    ] = None,
    by: By = None,
    reason: Reason = None,
    tenant: Tenant = None,
    expect: Expect = None,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Register a policy with its source and with what lint says of it; exit with 1 where --expect was not met."""
    registration = load_registration(policy)
    name = registration.policy.name
    if tag is not None:
        tag_of(f"{name}@{tag}")
    elif tenant is not None or expect is not None:
        raise UsageError("--tenant and --expect are about a tag.", hint="Give --tag, too.")
    who = by or user()
    with open_store(options.settings_from(database_url=database_url)) as store:
        registry = PolicyRegistry(store)
        registered = registry.register(registration, by=who, reason=reason)
        move = None
        if tag is not None:
            digest = registered.policy_digest
            move = registry.move(name, tag, digest, by=who, reason=reason, tenant=tenant, expect=expect)
    told = {
        "name": name,
        "version": registration.policy.version,
        "digest": registered.policy_digest,
        "registration": registered.digest,
        "new": registered.is_new,
        "move": move.as_json() if move else None,
        "diagnostics": [as_item(found) for found in registration.diagnostics],
    }
    if as_json:
        options.print_json(told)
        return
    new = "registered" if registered.is_new else "was registered before"
    typer.echo(f"{name} {registration.policy.version} {registered.policy_digest[:12]} {new}")
    warnings = sum(found.severity is not Severity.NOTE for found in registration.diagnostics)
    if warnings:
        typer.echo(f"{warnings} of lint's findings want to be read: railscribe policy lint {policy}")
    if move is not None:
        _print(move)


def tag_(
    tag: Annotated[str, typer.Argument(metavar="NAME@TAG", help="The tag to move.")],
    digest: Annotated[
        str, typer.Argument(help="The policy's digest, or at least 8 digits of its beginning.")
    ],
    by: By = None,
    reason: Reason = None,
    tenant: Tenant = None,
    expect: Expect = None,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Point a tag to a registered policy; exit with 1 where it does not point to what --expect says."""
    name, label = tag_of(tag)
    with open_store(options.settings_from(database_url=database_url)) as store:
        move = PolicyRegistry(store).move(
            name, label, digest, by=by or user(), reason=reason, tenant=tenant, expect=expect
        )
    if as_json:
        options.print_json(move.as_json())
    else:
        _print(move)


def user() -> str:
    """Return the name of this machine's user.

    Raises:
        UsageError: it has none.
    """
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise UsageError("This machine's user has no name.", hint="Say who: --by NAME.") from None


def _print(move: Move) -> None:
    whose = f" for {move.tenant}" if move.tenant else ""
    before = f" (before: {move.previous_digest[:12]})" if move.previous_digest else ""
    typer.echo(f"{move.name}@{move.tag}{whose} -> {move.policy_digest[:12]}{before}")


def print_event(event: dict[str, Any]) -> None:
    """Print one event of a policy's timeline as a line."""
    where = f"{event['policy']}@{event['tag']}" if event["tag"] else event["policy"]
    whose = f" for {event['tenant']}" if event["tenant"] else ""
    before = f", before {event['previous_digest'][:12]}" if event["previous_digest"] else ""
    why = f": {event['reason']}" if event["reason"] else ""
    typer.echo(
        f"{event['happened_at'][:19]}  {event['event']:<10} {where}{whose} -> {event['policy_digest'][:12]} "
        f"({event['policy_version']}{before})  by {event['by_whom']}{why}"
    )
