"""``railscribe eval``: how well a guard does on labelled rows.

Every row walks the one road, audit included. The records go to a scratch database unless ``--database-url`` is
given: an evaluation is no traffic.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from railscribe.audit import schema
from railscribe.cli import options
from railscribe.cli.audit import print_rows
from railscribe.errors import ImageError, UsageError
from railscribe.guard import Caller, Guard
from railscribe.images import image_from_bytes
from railscribe.policy import Policy, load_policy
from railscribe.scoring import Judged, figures
from railscribe.settings import Settings
from railscribe.sync import run_sync
from railscribe.values import Cause, Exchange, Flags, Image, Label, Record

_COLUMNS = ("rows", "precision", "recall", "f1", "auroc", "undecided", "tp", "fp", "fn", "tn")


class _Row(NamedTuple):
    item: dict[str, Any]
    folder: Path
    number: int


def evaluate(
    file: Annotated[
        Path,
        typer.Argument(help="JSON lines: prompt, prompt_label, response?, response_label?, image?, policy?"),
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows.")] = None,
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
    rows = _rows(file)[:limit]
    with _scratch(database_url) as url:
        settings = options.settings_from(
            engine=engine,
            model=model,
            adapter=adapter,
            base_url=base_url,
            policy=policy,
            database_url=url,
            # In-process engines answer one after the other, so a row's wait grows with the rows before it.
            timeout_s=timeout_s or 30.0 * concurrency,
            think=think,
        )
        records = run_sync(_judge(rows, settings, concurrency))
    report = summary(rows, records)
    if as_json:
        options.print_json(report)
    else:
        _print(report)


def _rows(file: Path) -> list[_Row]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read {file} ({type(error).__name__}).") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            Label(item["prompt_label"])
            if not isinstance(item["prompt"], str):
                raise UsageError(f"{file}, line {number}: prompt is not text.")
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"{file}, line {number}: not a row.",
                hint='It needs "prompt" and "prompt_label" (safe or unsafe).',
            ) from None
        rows.append(_Row(item, file.parent, number))
    if not rows:
        raise UsageError(f"{file} holds no rows.")
    return rows


@contextmanager
def _scratch(database_url: str | None) -> Iterator[str]:
    if database_url is not None:
        yield database_url
        return
    with tempfile.TemporaryDirectory(prefix="railscribe-eval-") as folder:
        url = f"sqlite:///{Path(folder) / 'eval.db'}"
        schema.upgrade(url)
        yield url


async def _judge(rows: list[_Row], settings: Settings, concurrency: int) -> list[Record]:
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
            room = asyncio.Semaphore(concurrency)

            async def judge(row: _Row) -> Record:
                async with room:
                    record = await _judge_one(guard, row)
                progress.advance(bar)
                return record

            return list(await asyncio.gather(*(judge(row) for row in rows)))


async def _judge_one(guard: Guard, row: _Row) -> Record:
    item = row.item
    problem: Cause | None = None
    images: tuple[Image, ...] = ()
    if item.get("image"):
        try:
            images = (image_from_bytes((row.folder / item["image"]).read_bytes(), guard.settings),)
        except (ImageError, OSError):
            problem = Cause.BAD_IMAGE
    return await guard.check(
        Exchange(user=item["prompt"], response=item.get("response"), images=images),
        policy=_policy(item["policy"], row.folder) if item.get("policy") else None,
        flags=Flags(thinking=guard.settings.think),
        caller=Caller(rail="eval", host="railscribe-cli"),
        problem=problem,
    )


def _policy(name: str, folder: Path) -> Policy:
    """Return a row's policy: a ready one, or a file named relative to the rows' own."""
    beside = folder / name
    return load_policy(str(beside) if beside.is_file() else name)


def summary(rows: list[_Row], records: list[Record]) -> dict[str, Any]:
    """Return the figures of *records* against the labels of *rows*, whole and by language and category."""
    prompts, responses = [], []
    by: dict[str, dict[str, list[Judged]]] = {
        name: defaultdict(list) for name in ("language", "category", "source")
    }
    for row, record in zip(rows, records, strict=True):
        item, verdict = row.item, record.verdict
        judged = Judged(
            expected=Label(item["prompt_label"]), said=verdict.user.label, score=verdict.user.score
        )
        prompts.append(judged)
        by["language"][item.get("language", "?")].append(judged)
        by["source"][item.get("source", "?")].append(judged)
        for category in item.get("categories") or [item.get("source_category") or "none"]:
            by["category"][category].append(judged)
        if verdict.response is not None and item.get("response_label") in ("safe", "unsafe"):
            side = verdict.response
            responses.append(
                Judged(expected=Label(item["response_label"]), said=side.label, score=side.score)
            )
    return {
        "rows": len(rows),
        "prompt": figures(prompts),
        "response": figures(responses),
        "by": {
            name: {key: figures(judged) for key, judged in sorted(groups.items())}
            for name, groups in by.items()
        },
    }


def _print(report: dict[str, Any]) -> None:
    parts = [("prompt", report["prompt"]), ("response", report["response"])]
    for name, groups in report["by"].items():
        parts += [(f"{name} {key}", group) for key, group in groups.items()]
    print_rows(
        ("", *_COLUMNS), [[label, *(_cell(group[column]) for column in _COLUMNS)] for label, group in parts]
    )


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
