"""``railscribe policy test``: does a policy do what its author expects?"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from railscribe.cli import options
from railscribe.cli.audit import print_rows
from railscribe.cli.evaluate import scratch_database
from railscribe.cli.policy_junit import require_junit, told, write_junit
from railscribe.errors import UsageError
from railscribe.evaluation import EvalRow, judge
from railscribe.guard import Guard
from railscribe.policy.cases import Case, Suite
from railscribe.policy.load import load_cases
from railscribe.policy.results import Ended, Result, Standing, as_item, compare, counts
from railscribe.settings import Settings
from railscribe.sync import run_sync


def run_cases(
    files: Annotated[
        list[str],
        typer.Argument(help="Files of cases (docs/policy-tests.md), or ready policies that have some."),
    ],
    name: Annotated[
        list[str],
        typer.Option("--name", "-k", help="Only cases whose name is like this: 'loan-*'. May be repeated."),
    ] = [],  # noqa: B006
    repeat: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="Run each case so often: what does not always end alike is flaky."
        ),
    ] = 1,
    min_pass: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Be content where at least this share of each file's cases passes, such as 0.85.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Let known failures that pass count as failed.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write the results here as JUnit XML.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Checks in flight.")] = 8,
    policy: Annotated[
        str | None, typer.Option("--policy", help="Test this policy instead of the one that each file names.")
    ] = None,
    engine: options.Engine = None,
    model: options.Model = None,
    adapter: options.Adapter = None,
    base_url: options.BaseUrl = None,
    database_url: options.DatabaseUrl = None,
    timeout_s: options.TimeoutS = None,
    as_json: options.Json = False,
) -> None:
    """Run a policy's cases through the guard and show what came otherwise; exit with 1 if anything did.

    The records go to a scratch database unless --database-url is given: a test is no traffic.
    """
    whole = [load_cases(file, policy=policy) for file in files]
    suites = [_chosen(suite, name) for suite in whole]
    if not any(suite.cases for suite in suites):
        raise UsageError(f"No case has a name like {' or '.join(name)}.")
    if junit is not None:
        require_junit()  # said now, not after the run
    with scratch_database(database_url) as url:
        settings = options.settings_from(
            engine=engine,
            model=model,
            adapter=adapter,
            base_url=base_url,
            database_url=url,
            timeout_s=timeout_s,
            in_flight=concurrency,
        )
        found = run_sync(_run(suites, settings, repeat=repeat, concurrency=concurrency))
    ended = [
        Ended(
            suite=suite,
            results=tuple(results),
            left_out=len(all_of.cases) - len(suite.cases),
            min_pass=min_pass,
            strict=strict,
        )
        for all_of, suite, results in zip(whole, suites, found, strict=True)
    ]
    ok = all(each.ok for each in ended)
    if junit is not None:
        write_junit(junit, ended)
    if as_json:
        options.print_json({"ok": ok, "files": [_report(each) for each in ended]})
    else:
        for each in ended:
            _print(each)
    raise typer.Exit(0 if ok else 1)


def _chosen(suite: Suite, names: Sequence[str]) -> Suite:
    fitting = [
        case for case in suite.cases if not names or any(fnmatchcase(case.name, each) for each in names)
    ]
    return Suite(file=suite.file, policy=suite.policy, cases=tuple(fitting))


async def _run(
    suites: Sequence[Suite], settings: Settings, *, repeat: int, concurrency: int
) -> list[list[Result]]:
    """Return the results of each of *suites*, in order; one engine judges them all."""
    asked = [(suite, case) for suite in suites for case in suite.cases for _ in range(repeat)]
    rows = [_row(suite, case) for suite, case in asked]
    columns = (
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("loading the guard", total=len(rows))
        async with Guard.open(settings) as guard:
            progress.reset(bar, description="judging")
            records = iter(
                await judge(
                    guard,
                    rows,
                    concurrency=concurrency,
                    rail="policy test",
                    done=lambda: progress.advance(bar),
                )
            )
    results = []
    for suite in suites:
        ended = []
        for case in suite.cases:
            own = tuple(next(records) for _ in range(repeat))
            differences = tuple(compare(case, record) for record in own)
            ended.append(Result(case=case, records=own, differences=differences))
        results.append(ended)
    return results


def _row(suite: Suite, case: Case) -> EvalRow:
    item = {"prompt": case.text, "response": case.response, "image": case.image}
    return EvalRow(item=item, file=Path(suite.file), line=case.line or 0, policy=suite.policy)


def _report(ended: Ended) -> dict[str, Any]:
    suite = ended.suite
    return {
        "file": suite.file,
        "policy": {"name": suite.policy.name, "version": suite.policy.version, "digest": suite.policy.digest},
        "ok": ended.ok,
        **counts(ended.results),
        "left_out": ended.left_out,
        "pass_rate": None if ended.share is None else round(ended.share, 4),
        "cases": [as_item(result) for result in ended.results],
    }


def _print(ended: Ended) -> None:
    suite, results = ended.suite, ended.results
    if ended.share is None:
        typer.echo(f"{suite.file}: none of its {ended.left_out} cases is chosen by -k")
        return
    for result in results:
        if result.standing is not Standing.PASSED:
            typer.echo("\n".join(told(suite, result)) + "\n")
    by_category: dict[str, list[Result]] = {}
    for result in results:
        for name in result.case.expected.categories or ("(no category)",):
            by_category.setdefault(name, []).append(result)
    rows = [(name, *_cells(kin)) for name, kin in sorted(by_category.items())]
    print_rows(("expects", "cases", "passed", "failed", "flaky", "known"), [*rows, ("all", *_cells(results))])
    policy = suite.policy
    rest = f"; -k left out {ended.left_out} others" if ended.left_out else ""
    typer.echo(
        f"{policy.name} {policy.version} ({policy.digest[:12]}): {ended.share:.0%} of the cases pass{rest}"
    )
    if ended.too_few:
        typer.echo(f"{suite.file}: {ended.too_few}")


def _cells(results: Sequence[Result]) -> list[str]:
    told = counts(results)
    numbers = (
        len(results),
        told["passed"] + told["unexpected_pass"],
        told["failed"],
        told["flaky"],
        told["known_failure"],
    )
    return [str(number) for number in numbers]
