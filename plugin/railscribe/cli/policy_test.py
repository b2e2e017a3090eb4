"""``railscribe policy test``: does a policy do what its author expects?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from railscribe.cli import options
from railscribe.cli.audit import print_rows
from railscribe.cli.evaluate import scratch_database
from railscribe.errors import MissingExtraError, UsageError
from railscribe.evaluation import EvalRow, judge
from railscribe.guard import Guard
from railscribe.policy.cases import Case, Result, Standing, Suite, as_item, compare, counts
from railscribe.policy.load import load_cases
from railscribe.settings import Settings
from railscribe.sync import run_sync

_SHOWN = 160
"""Characters of a text that are quoted."""
_BAD = (Standing.FAILED, Standing.FLAKY)


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
    suites = [_chosen(load_cases(file, policy=policy), name) for file in files]
    if not any(suite.cases for suite in suites):
        raise UsageError(f"No case has a name like {' or '.join(name)}.")
    if junit is not None:
        _writer()  # said now, not after the run
    with scratch_database(database_url) as url:
        settings = options.settings_from(
            engine=engine,
            model=model,
            adapter=adapter,
            base_url=base_url,
            database_url=url,
            timeout_s=timeout_s or 30.0 * concurrency,
        )
        found = run_sync(_run(suites, settings, repeat=repeat, concurrency=concurrency))
    good = [_content(results, min_pass=min_pass, strict=strict) for results in found]
    if junit is not None:
        _write_junit(junit, suites, found)
    if as_json:
        listed = zip(suites, found, good, strict=True)
        options.print_json({"ok": all(good), "files": [_report(*each) for each in listed]})
    else:
        for suite, results in zip(suites, found, strict=True):
            _print(suite, results)
    raise typer.Exit(0 if all(good) else 1)


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


def _content(results: Sequence[Result], *, min_pass: float | None, strict: bool) -> bool:
    """Whether *results* are good enough."""
    standings = [result.standing for result in results]
    if strict and Standing.UNEXPECTED_PASS in standings:
        return False
    if min_pass is not None:
        return _share(results) >= min_pass
    return not any(standing in _BAD for standing in standings)


def _share(results: Sequence[Result]) -> float:
    """Return the share of *results* that are as expected, known failures counted as what they are."""
    passed = sum(result.standing in (Standing.PASSED, Standing.UNEXPECTED_PASS) for result in results)
    return passed / max(1, len(results))


def _report(suite: Suite, results: Sequence[Result], good: bool) -> dict[str, Any]:
    return {
        "file": suite.file,
        "policy": {"name": suite.policy.name, "version": suite.policy.version, "digest": suite.policy.digest},
        "ok": good,
        **counts(results),
        "pass_rate": round(_share(results), 4),
        "cases": [as_item(result) for result in results],
    }


def _print(suite: Suite, results: Sequence[Result]) -> None:
    for result in results:
        if result.standing is not Standing.PASSED:
            typer.echo("\n".join(_told(suite, result)) + "\n")
    by_category: dict[str, list[Result]] = {}
    for result in results:
        for name in result.case.expected.categories or ("(no category)",):
            by_category.setdefault(name, []).append(result)
    rows = [(name, *_cells(kin)) for name, kin in sorted(by_category.items())]
    print_rows(("expects", "cases", "passed", "failed", "flaky", "known"), [*rows, ("all", *_cells(results))])
    policy = suite.policy
    typer.echo(
        f"{policy.name} {policy.version} ({policy.digest[:12]}): {_share(results):.0%} of the cases pass"
    )


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


def _told(suite: Suite, result: Result) -> Iterator[str]:
    case, standing = result.case, result.standing.value.replace("_", " ")
    place = f"{suite.file}:{case.line}" if case.line else suite.file
    yield f"{standing.upper()}  {case.name}  ({place})"
    yield f"  text:     {_short(case.text)}"
    if case.response is not None:
        yield f"  response: {_short(case.response)}"
    failed = [(each, record) for each, record in zip(result.differences, result.records, strict=True) if each]
    if len(result.records) > 1 and failed:
        yield f"  {len(failed)} of {len(result.records)} runs came otherwise{_range(result.scores)}"
    for differences, record in failed[:1]:
        for each in differences:
            yield f"  {each.field + ':':<9} expected {each.expected}, got {each.got}"
        yield f"  verdict:  {_said(record)}"
        if getattr(record.decision, "rule", ""):
            yield f"  rule:     {record.decision.rule}"
        if record.verdict.trace:
            yield f"  trace:    {_short(record.verdict.trace)}"
    if case.reason:
        yield f"  expected because: {case.reason}"
    name = result.records[0].engine.name
    if name in case.known_failures:
        yield f"  known failure of {name}: {case.known_failures[name]}"


def _said(record: Any) -> str:
    sides = {"user": record.verdict.user, "response": record.verdict.response}
    told = [
        f"{name} {side.label.value}{'' if side.score is None else f' {side.score:.3f}'}"
        for name, side in sides.items()
        if side is not None
    ]
    return ", ".join(told)


def _range(scores: Sequence[float]) -> str:
    return f", scores {min(scores):.3f} to {max(scores):.3f}" if scores else ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}\N{HORIZONTAL ELLIPSIS}"


def _writer() -> Any:
    try:
        import junitparser
    except ImportError as error:
        raise MissingExtraError(
            "JUnit files are written with junitparser.", hint="pip install 'railscribe[junit]'"
        ) from error
    return junitparser


def _write_junit(path: Path, suites: Sequence[Suite], found: Sequence[Sequence[Result]]) -> None:
    """Write *found* as other tools read it: a flaky case is a failure, a known failure is skipped."""
    junit = _writer()
    report = junit.JUnitXml("railscribe policy test")
    for suite, results in zip(suites, found, strict=True):
        told = junit.TestSuite(suite.policy.name)
        told.add_property("policy_digest", suite.policy.digest)
        for result in results:
            time_s = sum(record.latency_ms.get("engine", 0.0) for record in result.records) / 1000
            case = junit.TestCase(result.case.name, classname=suite.policy.name, time=round(time_s, 3))
            text = _printable("\n".join(_told(suite, result)))
            if result.standing in _BAD:
                case.result = [junit.Failure(_printable(_why(result)), result.standing.value)]
                case.system_out = text
            elif result.standing is Standing.KNOWN_FAILURE:
                case.result = [junit.Skipped(f"known failure: {_printable(_why(result))}")]
            told.add_testcase(case)
        report.add_testsuite(told)
    try:
        report.write(str(path), pretty=True)
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror}.") from error
    typer.echo(f"wrote {path}", err=True)


def _why(result: Result) -> str:
    first = next(filter(None, result.differences), ())
    return "; ".join(f"{each.field}: expected {each.expected}, got {each.got}" for each in first)


def _printable(text: str) -> str:
    """Return *text* without what XML 1.0 cannot hold."""
    return "".join(
        char if char in "\t\n" or char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text
    )
