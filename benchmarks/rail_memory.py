"""Does a rail make a long run grow? The same traffic with our rails and with rails that do nothing, a process each.

    python benchmarks/rail_memory.py                    # a day at one a second, through NeMo: most of an hour
    python benchmarks/rail_memory.py --direct           # the rails without NeMo around them: minutes
    python benchmarks/rail_memory.py --checks 8000 --trace 30

Both processes build the same app; in one of them the actions of our rails give way to actions that allow everything.
NeMo keeps the events of each conversation without end, so both grow; what ours adds is the difference. A check is a
call into a rail: two a turn, each turn a new conversation. Growth is of resident memory, since a tenth of the checks.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from databases import sqlite
from nemoguardrails import LLMRails
from nemoguardrails.actions.actions import ActionResult
from nemoguardrails.actions.rail_outcome import RailOutcome
from rail_tables import Row, run, show
from scripted_rails import ANSWER, VERSIONS, Conversation, build, open_guard, scripted_engine

from railscribe.audit.database import open_engine, parse_url
from railscribe.rails.binding import attach
from railscribe.values import Direction

RAILS = ("nothing", "ours")
SAMPLES = (10, 25, 50, 75, 100)
"""After which share of the checks memory is read; by the first all is warm."""
_DIRECTIONS = (Direction.INPUT, Direction.OUTPUT)

Turn = Callable[[], Awaitable[object]]


def resident_mb() -> float:
    """Return what this process holds of the machine's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def do_nothing(**_: Any) -> ActionResult:
    """Allow, without looking."""
    return ActionResult(return_value=RailOutcome.allow(metadata={}), context_updates={"policy": None})


def turns_of(app: LLMRails, asked: argparse.Namespace, judge: Turn | None) -> Turn:
    """Return what takes a turn, two checks: through *app*, or with ``--direct`` of *judge* alone."""
    numbers = itertools.count(1)

    async def through_host() -> None:
        answer = await Conversation(app, f"Conversation {next(numbers)}").turn()
        assert answer == ANSWER, answer

    if not asked.direct:
        return through_host
    return judge or (lambda: asyncio.gather(do_nothing(), do_nothing()))


async def grow(asked: argparse.Namespace) -> Row:
    """Return how this process grows over the checks (``--of``)."""
    with (
        tempfile.TemporaryDirectory(dir=asked.folder, ignore_cleanup_errors=True) as name,
        sqlite(Path(name)) as new,
    ):
        guard = open_guard(new(), scripted_engine(0.0))
        app = build("ours", asked.version, guard=guard)
        rails = attach(app, guard)
        if asked.of == "nothing":
            for direction in _DIRECTIONS:
                app.register_action(do_nothing, f"railscribe_check_{direction.value}")
        numbers = itertools.count(1)

        async def judge() -> None:
            said = {"user_message": f"Question {next(numbers)}: what does a savings account pay?"}
            for direction in _DIRECTIONS:
                outcome = await rails.judge(direction, {**said, "bot_message": ANSWER}, (), None)
                assert not outcome.is_blocked, outcome.reason

        turn = turns_of(app, asked, judge if asked.of == "ours" else None)
        measured = await _run(turn, asked)
        guard.store.close()
        assert _records(guard.settings.database_url) == (0 if asked.of == "nothing" else asked.checks)
    return {"rails": asked.of, "colang": "-" if asked.direct else asked.version, **measured}


def _records(url: str) -> int:
    engine = open_engine(parse_url(url))
    with engine.connect() as connection:
        count = connection.execute(sa.text("SELECT count(*) FROM records")).scalar_one()
    engine.dispose()
    return int(count)


async def _run(turn: Turn, asked: argparse.Namespace) -> Row:
    turns, began, taken = asked.checks // 2, time.perf_counter(), 0
    held: Row = {}
    for percent in SAMPLES:
        until = turns * percent // 100
        await _take(turn, until - taken, asked.clients)
        taken = until
        held[f"mb_at_{percent}_%"] = round(resident_mb(), 1)
        print(asked.of, taken * 2, "checks", round(resident_mb(), 1), "MB", file=sys.stderr, flush=True)
        if asked.trace and percent == SAMPLES[0]:
            tracemalloc.start(8)
            before = tracemalloc.take_snapshot()
    if asked.trace:
        for line in tracemalloc.take_snapshot().compare_to(before, "lineno")[: asked.trace]:
            print(line, file=sys.stderr)
    first, *_, last = held.values()
    seconds = round(time.perf_counter() - began)
    return {"checks": asked.checks, "seconds": seconds, **held, "growth_mb": round(last - first, 1)}


async def _take(turn: Turn, count: int, clients: int) -> None:
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            await turn()

    await asyncio.gather(*(client() for _ in range(clients)))


async def measure(asked: argparse.Namespace) -> list[Row]:
    """Run the one side that was asked for here, or both in processes of their own, and print the rows."""
    if asked.of:
        rows = [await grow(asked)]
        print(json.dumps(rows[0]))
        return rows
    rows = []
    for of in RAILS:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, *sys.argv[1:], "--of", of), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise SystemExit(process.returncode)
        rows.append(json.loads(said.splitlines()[-1]))
        show(rows)
    print(told(rows))
    return rows


def told(rows: list[Row]) -> str:
    """Return the difference in words."""
    nothing, ours = rows
    end = f"mb_at_{SAMPLES[-1]}_%"
    more = ours["growth_mb"] - nothing["growth_mb"]
    return (
        f"\nOurs grew by {more:+.1f} MB beside the {nothing['growth_mb']:.1f} MB of rails that do nothing, "
        f"and ended at {ours[end] / nothing[end]:.3f} times their memory."
    )


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    of = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    of.add_argument("--checks", type=int, default=86_400)
    of.add_argument("--clients", type=int, default=10)
    of.add_argument("--version", choices=VERSIONS, default="1.0")
    of.add_argument("--direct", action="store_true", help="ask the rails without NeMo around them")
    of.add_argument("--trace", type=int, default=0, help="print so many lines of code that hold what grew")
    of.add_argument("--of", choices=RAILS, help="run this side alone, in this process")
    of.add_argument("--folder", type=Path, help="for the databases")
    return of


if __name__ == "__main__":
    run(parser(), measure)
