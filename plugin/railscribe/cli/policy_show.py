"""``railscribe policy show``: a policy whole. What it says, where that stands, what became of it."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from railscribe.audit import PolicyRegistry, open_store
from railscribe.choosing import find_policy
from railscribe.cli import options
from railscribe.cli.policy_lint import as_item
from railscribe.cli.policy_push import print_event
from railscribe.errors import AuditError
from railscribe.policy import Policy, mode_reason, render
from railscribe.policy.load import is_loadable, load_registration
from railscribe.policy.reference import parse_reference
from railscribe.policy.registration import Registration
from railscribe.settings import Settings


def show(
    policy: Annotated[
        str, typer.Argument(help="A file, a ready policy's name, NAME@TAG, NAME@VERSION, or a digest.")
    ],
    text: Annotated[bool, typer.Option("--text", help="Print what the model reads, to the byte.")] = False,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Show a policy: its document, the text that the model reads, each clause with its source, tags and history."""
    settings = options.settings_from(database_url=database_url)
    shown = look_up(policy, settings)
    if text:
        sys.stdout.buffer.write(shown["text"].encode("utf-8", "surrogatepass"))
        sys.stdout.buffer.flush()
    elif as_json:
        options.print_json(shown)
    else:
        _print(shown)


def look_up(reference: str, settings: Settings) -> dict[str, Any]:
    """Return what is known of the policy *reference*, JSON-able; of a file or a ready policy also without a store.

    Raises:
        PolicyError: there is none, more than one, or it holds mistakes.
        AuditError: it is in the registry alone, which could not be read.
    """
    if is_loadable(reference) or parse_reference(reference) is None:
        registration = load_registration(reference)
        try:
            with open_store(settings) as store:
                return _shown(registration.policy, PolicyRegistry(store), registration)
        except AuditError:  # a policy can be looked at before there is a store
            return _shown(registration.policy, None, registration)
    with open_store(settings) as store:
        registry = PolicyRegistry(store)
        return _shown(find_policy(reference, lambda: registry), registry, None)


def _shown(policy: Policy, registry: PolicyRegistry | None, read: Registration | None) -> dict[str, Any]:
    rendering = render(policy)
    registrations = registry.registrations(policy.digest) if registry else []
    latest = registrations[-1] if registrations else None
    shown: dict[str, Any] = {
        "name": policy.name,
        "version": policy.version,
        "digest": policy.digest,
        "mode": rendering.mode.value,
        "mode_reason": mode_reason(policy),
        # Of a registered one its own text, which a later Railscribe might render otherwise.
        "text": latest["text"] if latest and read is None else rendering.text,
        "clauses": latest["clauses"] if latest else [],
        "diagnostics": latest["diagnostics"] if latest else [],
        "allowances": latest["allowances"] if latest else [],
    }
    if read is not None:
        shown["clauses"] = [
            {
                "kind": clause.kind,
                "text": clause.text,
                "source": clause.source
                and {name: getattr(clause.source, name) for name in ("file", "line", "construct")},
            }
            for clause in read.clauses
        ]
        shown["diagnostics"] = [as_item(found) for found in read.diagnostics]
        shown["allowances"] = list(read.allowances)
    tags = registry.tags(policy.digest) if registry else []
    history = registry.history(policy.name) if registry else []
    document = json.loads(policy.canonical())
    return {**shown, "document": document, "registrations": registrations, "tags": tags, "history": history}


def _print(shown: dict[str, Any]) -> None:
    typer.echo(f"{shown['name']} {shown['version']}  {shown['digest']}")
    typer.echo(f"mode {shown['mode']}: {shown['mode_reason']}")
    for tag in shown["tags"]:
        typer.echo(f"tag {tag['tag']}{' for ' + tag['tenant'] if tag['tenant'] else ''}")
    typer.echo("\nWhat the model reads\n")
    sources = {clause["text"]: clause["source"] for clause in shown["clauses"] if clause["source"]}
    for line in shown["text"].split("\n"):
        typer.echo(f"    {line}")
        source = sources.get(line.removeprefix("- ").removeprefix("Description: "))
        if source is not None:
            place = f"{source['file']}:{source['line']}" if source["line"] else source["file"]
            typer.echo(f"        <- {place} {source['construct']}")
    if shown["diagnostics"]:
        typer.echo("\nWhat was said of it\n")
    for found in shown["diagnostics"]:
        place = f"{found['file'] or ''}{':' + str(found['line']) if found['line'] else ''}"
        typer.echo(f"    {place}: {found['severity']} {found['code']}: {found['message']}")
    if shown["history"]:
        typer.echo("\nWhat became of it\n")
    for event in shown["history"]:
        print_event(event)
