"""``railscribe policy list`` and ``log``: what the registry holds, and how it came to."""

from __future__ import annotations

from typing import Annotated

import typer

from railscribe.audit import PolicyRegistry, open_store
from railscribe.cli import options
from railscribe.cli.policy_push import print_event
from railscribe.errors import PolicyError


def list_(database_url: options.DatabaseUrl = None, as_json: options.Json = False) -> None:
    """List the policies that the store knows: registered ones with their tags, and those that records name."""
    with open_store(options.settings_from(database_url=database_url)) as store:
        policies = PolicyRegistry(store).names()
    if as_json:
        options.print_json(policies)
        return
    for policy in policies:
        tags = [
            f"{tag['tag']}{' (' + tag['tenant'] + ')' if tag['tenant'] else ''}" for tag in policy["tags"]
        ]
        since = policy["registered_at"][:19] if policy["registered_at"] else "not registered"
        typer.echo(
            f"{policy['digest'][:12]}  {since:<19}  {policy['name']} {policy['version']}  {', '.join(tags)}"
        )


def log(
    name: Annotated[str, typer.Argument(help="A policy's name.")],
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Show what happened to a policy, oldest first: who registered it, who moved which tag, when and why."""
    with open_store(options.settings_from(database_url=database_url)) as store:
        history = PolicyRegistry(store).history(name)
    if not history:
        raise PolicyError(
            f"The registry has no policy {name}.", hint="See what there is: railscribe policy list."
        )
    if as_json:
        options.print_json(history)
        return
    for event in history:
        print_event(event)
