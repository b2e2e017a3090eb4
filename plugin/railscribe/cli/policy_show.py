"""``railscribe policy show``: what the model reads, and where each line of it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from railscribe.cli import options
from railscribe.cli.policy_compile import report
from railscribe.policy import load_policy, ready_policies
from railscribe.policy.compile import compile_policy
from railscribe.policy.compiled import Compiled
from railscribe.policy.gather import gather, library_flows


def show(
    policy: Annotated[str, typer.Argument(help="A ready policy's name, or a YAML or JSON file.")],
    as_json: options.Json = False,
) -> None:
    """Print the text of a policy as the model reads it, each clause with its source."""
    path = ready_policies().get(policy, Path(policy))
    load_policy(policy)  # says what is wrong with a file that no engine would take
    compiled = compile_policy(gather(path), library=library_flows)
    if compiled.failed:
        report(compiled)
        raise typer.Exit(1)
    if as_json:
        options.print_json(compiled.as_json())
    else:
        typer.echo("\n".join(_lines(compiled)))


def _lines(compiled: Compiled) -> list[str]:
    sources = {clause.text: clause.source for clause in compiled.clauses if clause.source}
    found = []
    for line in compiled.text.split("\n"):
        source = sources.get(line.removeprefix("- ").removeprefix("Description: "))
        found.append(line)
        if source is not None:
            indent = "  " if line.startswith("- ") else ""
            found.append(f"{indent}    <- {source.place} {source.construct}".rstrip())
    digest = compiled.policy.digest if compiled.policy else ""
    return [*found, "", f"mode {compiled.mode}, digest {digest}"]
