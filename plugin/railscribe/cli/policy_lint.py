"""``railscribe policy lint``: what of a policy will not work as its author means it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from railscribe.cli import options
from railscribe.engines.facts import FACTS, policy_tokens
from railscribe.errors import PolicyError
from railscribe.policy import load_policy, ready_policies
from railscribe.policy.diagnostics import Diagnostic, Severity
from railscribe.policy.lint import Reader, lint
from railscribe.policy.load import is_loadable, read_document
from railscribe.settings import Settings


def lint_policies(
    files: Annotated[list[str], typer.Argument(help="Policy files, or ready policies by name.")],
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on warnings, too.")] = False,
    no_scores: Annotated[
        bool, typer.Option("--no-scores", help="The server returns no log-probabilities.")
    ] = False,
    context_tokens: Annotated[
        int | None, typer.Option(min=64, help="What the model reads in all; by the engine if left out.")
    ] = None,
    engine: options.Engine = None,
    model: options.Model = None,
    base_url: options.BaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Look for what a guard model is known to get wrong in a policy (docs/diagnostics.md); exit with 1 on errors."""
    settings = options.settings_from(engine=engine, model=model, base_url=base_url)
    reader = _reader(settings, gives_scores=not no_scores, context_tokens=context_tokens)
    found = [(name, _linted(name, reader)) for name in files]
    severities = {each.severity for _, told in found for each in told}
    failed = Severity.ERROR in severities or (strict and Severity.WARNING in severities)
    if as_json:
        listed = [{"file": name, "diagnostics": [as_item(each) for each in told]} for name, told in found]
        options.print_json({"ok": not failed, "engine": reader.name, "files": listed})
    else:
        for name, told in found:
            _print(name, told)
    raise typer.Exit(1 if failed else 0)


def _linted(name: str, reader: Reader) -> list[Diagnostic]:
    if not is_loadable(name):
        load_policy(name)  # there is none of that name, and it says which there are
    path = ready_policies().get(name, Path(name))
    document, lines = read_document(path, of_policy=True)
    if not isinstance(document, dict):
        raise PolicyError(
            f"{path} does not hold a policy.", hint="Its top level must be fields such as name: and version:."
        )
    return lint(document, lines=lines, file=str(path), reader=reader)


def _reader(settings: Settings, *, gives_scores: bool, context_tokens: int | None) -> Reader:
    return Reader(
        name=settings.engine,
        scores=gives_scores,
        scores_categories=FACTS[settings.engine].scores_categories,
        context_tokens=context_tokens or policy_tokens(settings),
        count_tokens=_tokenizer(settings),
    )


def _tokenizer(settings: Settings) -> Callable[[str], int] | None:
    """Return the embedded guard's count of tokens, if its base lies unpacked here and can be read: a lint waits for
    no unpacking, and needs no engine's packages."""
    if settings.engine != "embedded":
        return None
    unpacked = sorted(settings.cache_dir.glob("gemma-3-270m-*/tokenizer.json"))
    if not unpacked:
        return None
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    tokenizer: Any = Tokenizer.from_file(str(unpacked[-1]))
    return lambda text: len(tokenizer.encode(text).ids)


def as_item(diagnostic: Diagnostic) -> dict[str, Any]:
    """Return *diagnostic* as ``--json`` promises it."""
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "file": diagnostic.file,
        "line": diagnostic.line,
        "hint": diagnostic.hint,
    }


def _print(name: str, told: Sequence[Diagnostic]) -> None:
    for each in told:
        typer.echo(f"{each.place}: {each.severity.value} {each.code}: {each.message}")
        if each.hint:
            typer.echo(f"    {each.hint}")
    counted = [
        f"{number} {severity.value}{'s' if number != 1 else ''}"
        for severity in Severity
        if (number := sum(each.severity is severity for each in told))
    ]
    typer.echo(f"{name}: {', '.join(counted) or 'nothing to say'}")
