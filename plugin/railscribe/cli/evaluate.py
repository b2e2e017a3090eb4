"""``railscribe eval``: how well a guard does on labelled rows.

Every row walks the one road, audit included. The records go to a scratch database unless ``--database-url`` is
given: an evaluation is no traffic.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from railscribe import __version__
from railscribe.audit import schema
from railscribe.cli import options
from railscribe.cli.audit import print_rows
from railscribe.errors import UsageError
from railscribe.evaluation import EvalRow, judge, read_rows, score_lines, summary
from railscribe.evaluation.page import Run, Source, render_page
from railscribe.guard import Guard
from railscribe.settings import Settings
from railscribe.sync import run_sync
from railscribe.values import Flags, Record

_COLUMNS = {
    "rows": "rows",
    "precision": "prec.",
    "recall": "recall",
    "f1": "f1",
    "auroc": "auroc",
    "undecided": "undec.",
}
_COUNTS = {"tp": "tp", "fp": "fp", "fn": "fn", "tn": "tn"}
_WIDE = 126
"""Columns of a terminal that has room for the counts and for whole names."""


def evaluate(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="JSON lines: prompt, prompt_label, response?, response_label?, image?, policy?, and categories?, "
            "language?, source?, group? to tell them apart by. Patterns such as 'sets/*.jsonl' are taken too."
        ),
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows of each file.")] = None,
    group: Annotated[
        list[str], typer.Option(help="Only rows whose group is like this: 'refund-*'. May be repeated.")
    ] = [],  # noqa: B006
    policies: Annotated[
        list[Path], typer.Option(help="A JSON list of policies that rows refer to by name.")
    ] = [],  # noqa: B006
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write a page with curves, thresholds and the worst mistakes here, self-contained. The mistakes are "
            "quoted: what the rows say goes into this file."
        ),
    ] = None,
    mistakes: Annotated[
        int, typer.Option(min=0, max=1000, help="How many mistakes of each kind the report quotes.")
    ] = 20,
    false_positive_rate: Annotated[
        list[float],
        typer.Option(
            min=0, max=1, help="Mark the threshold that keeps to it in the report. May be repeated."
        ),
    ] = [0.01, 0.05, 0.1],  # noqa: B006
    scores: Annotated[
        Path | None,
        typer.Option(help="Write label, score and decision of each row here, as JSON lines without content."),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Checks in flight.")] = 8,
    policy: options.Policy = None,
    think: Annotated[
        bool | None, typer.Option("--think/--no-think", help="Ask the model for its reasoning.")
    ] = None,
    engine: options.Engine = None,
    model: options.Model = None,
    adapter: options.Adapter = None,
    base_url: options.BaseUrl = None,
    database_url: options.DatabaseUrl = None,
    timeout_s: options.TimeoutS = None,
    as_json: options.Json = False,
) -> None:
    """Judge labelled rows and print precision, recall, F1 and AUROC, by language and category too."""
    for target in (report, scores):
        if target is not None and not target.absolute().parent.is_dir():
            raise UsageError(f"There is no folder for {target}.")  # said now, not after an hour of judging
    files = _expanded(files)
    sources = [Source(name=str(file), sha256=_sha256(file)) for file in files]
    rows = read_rows(files, policies=policies, groups=group, limit=limit)
    began = datetime.now(timezone.utc)
    with scratch_database(database_url) as url:
        settings = options.settings_from(
            engine=engine,
            model=model,
            adapter=adapter,
            base_url=base_url,
            policy=policy,
            database_url=url,
            timeout_s=timeout_s,
            think=think,
            in_flight=concurrency,
        )
        records = run_sync(_judge(rows, settings, concurrency))
    found = summary(rows, records)
    if as_json:
        options.print_json(found)
    else:
        _print(found)
    if scores is not None:
        lines = (json.dumps(line, ensure_ascii=False) for line in score_lines(rows, records))
        _write(scores, "".join(f"{line}\n" for line in lines))
    if report is not None:
        run = Run(
            began=began,
            ended=datetime.now(timezone.utc),
            command=_command(),
            version=str(__version__),
            sources=sources,
        )
        page = render_page(rows, records, found, run=run, mistakes=mistakes, rates=false_positive_rate)
        _write(report, page)


def _expanded(files: Sequence[Path]) -> list[Path]:
    """Return *files* with patterns resolved that no shell has resolved before."""
    found: list[Path] = []
    for file in files:
        fitting = [] if file.exists() else sorted(Path(file.anchor).glob(str(file.relative_to(file.anchor))))
        found += fitting or [file]
    return list(dict.fromkeys(found))


def _sha256(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"Cannot read {file}: {error.strerror}.") from error


def _command() -> str:
    """Return the command that is running, without the passwords of its addresses."""
    return re.sub(r"(://[^/@:\s]*):[^/@\s]+@", r"\1:***@", shlex.join(["railscribe", *sys.argv[1:]]))


def _write(path: Path, text: str) -> None:
    try:
        # A lone surrogate, which JSON can carry, has no UTF-8.
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror}.") from error
    typer.echo(f"wrote {path}", err=True)


@contextmanager
def scratch_database(database_url: str | None) -> Iterator[str]:
    """Give *database_url*, or else a new database that is gone afterwards."""
    if database_url is not None:
        yield database_url
        return
    with tempfile.TemporaryDirectory(prefix="railscribe-eval-") as folder:
        url = f"sqlite:///{Path(folder) / 'eval.db'}"
        schema.upgrade(url)
        yield url


async def _judge(rows: list[EvalRow], settings: Settings, concurrency: int) -> list[Record]:
    columns = (
        "[progress.description]{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        bar = progress.add_task("loading the guard", total=len(rows))
        async with Guard.open(settings) as guard:
            progress.reset(bar, description="judging")
            return await judge(
                guard,
                rows,
                concurrency=concurrency,
                flags=Flags(thinking=settings.think),
                done=lambda: progress.advance(bar),
            )


def _print(found: dict[str, Any]) -> None:
    columns = _COLUMNS | (_COUNTS if Console().width >= _WIDE else {})
    cells = [_line("prompt", found["prompt"], columns), _interval_line(found["prompt"], columns)]
    if found["response"]["rows"]:
        cells += [_line("response", found["response"], columns), _interval_line(found["response"], columns)]
    for name, groups in found["by"].items():
        if name != "group":  # many and small: --json and --report have them
            cells += [_line(f"{name} {key}", part, columns) for key, part in groups.items()]
    print_rows(("", *columns.values()), cells)


def _line(label: str, part: dict[str, Any], columns: Collection[str]) -> list[str]:
    short = label if "tp" in columns or len(label) <= 21 else f"{label[:20]}\N{HORIZONTAL ELLIPSIS}"
    return [short, *(_cell(part[column]) for column in columns)]


def _interval_line(part: dict[str, Any], columns: Collection[str]) -> list[str]:
    intervals = part["ci95"]
    return ["  95 %", *(_interval(intervals.get(column)) for column in columns)]


def _interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else "-".join(_bound(bound) for bound in bounds)


def _bound(value: float) -> str:
    return f"{value:.2f}".removeprefix("0").replace("1.00", "1.0")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
