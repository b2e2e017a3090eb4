"""What became of a policy's cases, for people and as JUnit XML.

The file and the exit code tell one story: what the run does not hold against the policy is no failure in the file,
and where too few pass, a case of its own says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from railscribe.errors import MissingExtraError, UsageError
from railscribe.policy.cases import Suite
from railscribe.policy.results import Ended, Result, Standing

_SHOWN = 160
"""Characters of a text that are quoted."""
_NOT_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")
"""What XML 1.0 cannot hold."""


def require_junit() -> Any:
    """Return the package that writes JUnit files.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import junitparser
    except ImportError as error:
        raise MissingExtraError(
            "JUnit files are written with junitparser.", hint="pip install 'railscribe[junit]'"
        ) from error
    return junitparser


def write_junit(path: Path, ended: Sequence[Ended]) -> None:
    """Write *ended* as other tools read it: known failures, and failures that --min-pass tolerates, are skipped.

    Raises:
        UsageError: it cannot be written there.
    """
    junit = require_junit()
    report = junit.JUnitXml("railscribe policy test")
    for each in ended:
        policy = each.suite.policy
        suite = junit.TestSuite(policy.name)
        suite.add_property("policy_digest", policy.digest)
        suite.add_property("cases_left_out", str(each.left_out))
        suite.add_testcases([_case(junit, each, result) for result in each.results])
        if each.min_pass is not None and each.results:
            share = junit.TestCase(f"--min-pass {each.min_pass:g}", classname=policy.name)
            if each.too_few:
                share.result = [junit.Failure(each.too_few, "min_pass")]
            suite.add_testcase(share)
        report.add_testsuite(suite)
    try:
        report.write(str(path), pretty=True)
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror}.") from error
    typer.echo(f"wrote {path}", err=True)


def _case(junit: Any, ended: Ended, result: Result) -> Any:
    time_s = sum(record.latency_ms.get("engine", 0.0) for record in result.records) / 1000
    case = junit.TestCase(
        _printable(result.case.name), classname=ended.suite.policy.name, time=round(time_s, 3)
    )
    standing = result.standing
    if ended.fails(result):
        case.result = [junit.Failure(_why(result), standing.value)]
        case.system_out = _printable("\n".join(told(ended.suite, result)))
    elif standing is Standing.KNOWN_FAILURE:
        case.result = [junit.Skipped(f"known failure: {_why(result)}")]
    elif standing in (Standing.FAILED, Standing.FLAKY):
        case.result = [junit.Skipped(f"{standing.value}, tolerated by --min-pass: {_why(result)}")]
    return case


def _why(result: Result) -> str:
    if result.standing is Standing.UNEXPECTED_PASS:
        return "passed, although it is noted as a known failure"
    first = next(filter(None, result.differences), ())
    return _printable("; ".join(f"{each.field}: expected {each.expected}, got {each.got}" for each in first))


def _printable(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def told(suite: Suite, result: Result) -> Iterator[str]:
    """Yield what is to be said of *result*, line by line."""
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
