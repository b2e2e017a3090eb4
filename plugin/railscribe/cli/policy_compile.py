"""``railscribe policy compile``: what somebody wrote for another tool, as one policy with sources.

The answer goes to standard output, diagnostics to standard error. Exit codes: 0 compiled, 1 errors stand in its way,
2 wrong usage, 3 NeMo Guardrails is not installed.
"""

from __future__ import annotations

import os
import tempfile
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from railscribe.cli import options
from railscribe.errors import PolicyError
from railscribe.policy.compile import compile_policy
from railscribe.policy.compiled import Compiled, parse_allowances
from railscribe.policy.diagnostics import Diagnostic, Severity
from railscribe.policy.gather import gather, library_flows
from railscribe.policy.writing import written

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


class ModeChoice(str, Enum):
    """The modes that can be forced."""

    POLICY = "policy"
    TAXONOMY = "taxonomy"
    BUILTIN = "builtin"


def compile_(
    path: Annotated[
        Path, typer.Argument(help="A NeMo configuration (folder, .co, .yml), or a policy's file.")
    ],
    mode: Annotated[
        ModeChoice | None,
        typer.Option(help="How the policy travels, instead of what fits it best.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the policy to this YAML file.", show_default=False)
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="Take on errors of this code, or CODE@file:line. May be repeated.", show_default=False
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The policy's name.", show_default=False)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no warnings and no notes.")] = False,
    as_json: options.Json = False,
) -> None:
    """Translate a NeMo configuration, or another tool's policy, into one policy; each clause with its source."""
    allowances = parse_allowances(allow or ())
    compiled = compile_policy(
        gather(path), library=library_flows, mode=mode.value if mode else None, name=name, allow=allowances
    )
    report(compiled, quiet=quiet)
    if out is not None and not compiled.failed:
        write_whole(out, written(compiled))
    if as_json:
        options.print_json(compiled.as_json())
    elif not compiled.failed and out is None:
        typer.echo(written(compiled), nl=False)
    if compiled.failed:
        raise typer.Exit(1)


def report(compiled: Compiled, *, quiet: bool = False) -> None:
    """Print the diagnostics of *compiled*, and a line that sums them up, on standard error."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    unallowed = set(compiled.errors)
    for found in compiled.diagnostics:
        if quiet and found.severity is not Severity.ERROR:
            continue
        console.print(_line(found, allowed=found.severity is Severity.ERROR and found not in unallowed))
        if found.hint:
            console.print(Text(f"    {found.hint}", style="dim"))
    console.print(Text(_summary(compiled), style="bold"))


def _line(found: Diagnostic, *, allowed: bool) -> Text:
    line = Text()
    if found.place:
        line.append(f"{found.place}: ")
    line.append(f"{found.severity.value} {found.code}", style=_STYLES[found.severity])
    line.append(f"{' (allowed)' if allowed else ''}: {found.message}")
    return line


def _summary(compiled: Compiled) -> str:
    kinds = [clause.kind for clause in compiled.clauses]
    counted = {
        "disallowed": kinds.count("disallowed"),
        "allowed": kinds.count("allowed"),
        "categories": kinds.count("category"),
    }
    said = ", ".join(f"{number} {kind}" for kind, number in counted.items() if number) or "no clauses"
    severities = [found.severity for found in compiled.diagnostics]
    noted = ", ".join(
        f"{severities.count(severity)} {severity.value}{'s' if severities.count(severity) != 1 else ''}"
        for severity in Severity
    )
    if compiled.failed:
        return f"{compiled.name}: not compiled ({noted})"
    digest = compiled.policy.digest[:12] if compiled.policy else ""
    return f"{compiled.name}: {said}; {noted}; mode {compiled.mode}, digest {digest}"


def write_whole(path: Path, text: str) -> None:
    """Write *text* to *path*, all of it or nothing.

    Raises:
        PolicyError: it could not be written.
    """
    temporary: str | None = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise PolicyError(f"Cannot write {path}: {error.strerror}.") from error
