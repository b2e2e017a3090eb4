"""``railscribe policy diff``: how one policy differs from another, by what they say."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from railscribe.choosing import open_policy
from railscribe.cli import options
from railscribe.policy.diff import Change, diff

_Reference = Annotated[
    str, typer.Argument(help="A file, a ready policy's name, NAME@TAG, NAME@VERSION, or a digest.")
]


def diff_(
    before: _Reference,
    after: _Reference,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Compare two policies clause by clause and setting by setting; exit with 0 if they say the same, else 1."""
    settings = options.settings_from(database_url=database_url)
    old, new = (open_policy(reference, settings) for reference in (before, after))
    changes = diff(old, new)
    if as_json:
        sides = {
            name: {"name": policy.name, "version": policy.version, "digest": policy.digest}
            for name, policy in (("before", old), ("after", new))
        }
        options.print_json({"same": not changes, **sides, "changes": [asdict(change) for change in changes]})
    else:
        for change in changes:
            typer.echo(_line(change))
        if not changes:
            typer.echo(f"the same: {old.digest[:12]}")
    raise typer.Exit(1 if changes else 0)


def _line(change: Change) -> str:
    """Return *change* as a line or two: a sign, what it is about, and how it was and is."""
    where = f"{change.what} {change.name}" if change.name else change.what
    if change.kind == "added":
        return f"+ {where}: {_said(change)}"
    if change.kind == "removed":
        return f"- {where}: {_said(change)}"
    if change.kind == "moved":
        reworded = f"\n    now: {change.after}" if change.after != change.before else ""
        return f"> moved from {where} to {change.moved_to}: {change.before}{reworded}"
    if change.kind == "reworded":
        return f"~ {where} reworded: {change.before}\n    now: {change.after}"
    return f"~ {where} {change.kind}: {_value(change.before)} -> {_value(change.after)}"


def _said(change: Change) -> str:
    value: Any = change.after if change.after is not None else change.before
    if isinstance(value, dict):
        rest = {name: part for name, part in value.items() if name != "name"}
        return ", ".join(f"{name} {_value(part)}" for name, part in rest.items())
    return str(value)


def _value(value: Any) -> str:
    if value is None:
        return "(none)"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
