"""How long the event loop is held up while fifty conversations run: without rails, with NeMo's own, with ours.

    python benchmarks/rail_stalls.py                    # a scripted engine, a minute and a half
    python benchmarks/rail_stalls.py --embedded         # the embedded guard, which takes a while to start

A heartbeat sleeps a millisecond and notes how late it wakes. Each conversation takes a turn every two seconds: 25
turns and 50 checks a second, which NeMo can just do. NeMo runs its flows on the loop, so it holds it up on its
own: the line *none* is what its app without rails does under the same load. The line *ours alone* has the same checks,
durable, asked of the rails without NeMo around them: what is late there is ours, but for what the machine does to the
line *nothing*, where as many clients only sleep.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import logging
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from databases import sqlite
from nemoguardrails import LLMRails
from scripted_rails import (
    ANSWER,
    VERSIONS,
    Conversation,
    MainModel,
    build,
    markdown_heading,
    markdown_row,
    open_guard,
    scripted_engine,
)

from railscribe.engines import Engine, open_engine
from railscribe.rails.acting import Rails
from railscribe.rails.binding import attach
from railscribe.settings import load_settings
from railscribe.standing import StandingGuard
from railscribe.values import Direction

KINDS = ("none", "host", "ours")
BEAT_S = 0.001

Turn = Callable[[], Awaitable[object]]


async def beat(late_ms: list[float]) -> None:
    """Note how late each beat is, until cancelled."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(BEAT_S)
        late_ms.append((time.perf_counter() - began - BEAT_S) * 1000)


async def watch(turn: Turn, clients: int, *, seconds: float, pace_s: float) -> tuple[int, list[float]]:
    """Return how many turns *clients* took, one each every *pace_s* for *seconds*, and how late the heartbeat was."""
    await asyncio.gather(*(turn() for _ in range(min(clients, 8))))  # what is made once is made here
    gc.collect()
    gc.freeze()  # as servers do: a collection of NeMo's modules and flows takes longer than anything here
    late_ms: list[float] = []
    turns = 0
    heart = asyncio.create_task(beat(late_ms))
    begins = time.perf_counter()

    async def client(number: int) -> None:
        nonlocal turns
        next_s = begins + pace_s * number / clients
        while next_s < begins + seconds:
            await asyncio.sleep(next_s - time.perf_counter())
            await turn()
            turns += 1
            next_s = max(next_s + pace_s, time.perf_counter())

    await asyncio.gather(*map(client, range(clients)))
    heart.cancel()
    gc.unfreeze()
    return turns, late_ms


def summary(rounds: list[tuple[int, list[float]]]) -> dict[str, Any]:
    """Return what *rounds* add up to."""
    late_ms = sorted(late for _, lates in rounds for late in lates)

    def percentile(share: float) -> float:
        return round(late_ms[min(len(late_ms) - 1, int(share * len(late_ms)))], 2)

    return {
        "turns": sum(turns for turns, _ in rounds),
        "beats": len(late_ms),
        "p50_ms": percentile(0.5),
        "p99_ms": percentile(0.99),
        "worst_ms": round(late_ms[-1], 2),
        "worst_of_a_round_ms": round(statistics.median(max(lates) for _, lates in rounds), 2),
    }


def talks(app: LLMRails) -> Turn:
    """Return what takes the first turn of a new conversation with *app*."""
    numbers = itertools.count(1)

    async def turn() -> None:
        answer = await Conversation(app, f"Conversation {next(numbers)}").turn()
        assert answer == ANSWER, answer
        app.events_history_cache.clear()

    return turn


def checks(rails: Rails) -> Turn:
    """Return what asks *rails* for both checks of a turn, as the flows do."""
    numbers = itertools.count(1)

    async def turn() -> None:
        said = {"user_message": f"Question {next(numbers)}: what does a savings account pay?"}
        for direction in (Direction.INPUT, Direction.OUTPUT):
            outcome = await rails.judge(direction, {**said, "bot_message": ANSWER}, (), None)
            assert not outcome.is_blocked, outcome.reason

    return turn


@asynccontextmanager
async def guards(asked: argparse.Namespace) -> AsyncIterator[Callable[[], StandingGuard]]:
    """Give what opens a guard on a database of its own, all with one engine."""
    with (
        tempfile.TemporaryDirectory(dir=asked.folder, ignore_cleanup_errors=True) as name,
        sqlite(Path(name)) as new,
    ):
        engine: Engine
        if asked.embedded:
            engine = open_engine(load_settings({"engine": "embedded", "timeout_s": 60}))
        else:
            engine = scripted_engine(asked.delay / 1000)
        # Whatever the embedded guard thinks of the questions, the turns go on.
        yield lambda: open_guard(new(), engine, rollout="observe" if asked.embedded else "enforce")
        await engine.aclose()


async def main(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all lines in turns, print them, and return the rows."""
    async with guards(asked) as new:
        lines = {
            (version, kind): _talks_with(kind, version, asked.delay / 1000, new)
            for version in asked.versions
            for kind in KINDS
        }
        lines["-", "nothing"] = partial(asyncio.sleep, asked.delay / 1000)
        lines["-", "ours alone"] = checks(attach(build("none", "1.0"), new()))
        rounds: dict[tuple[str, str], list[tuple[int, list[float]]]] = {line: [] for line in lines}
        for _ in range(asked.rounds):
            for line, turn in lines.items():
                rounds[line].append(
                    await watch(turn, asked.clients, seconds=asked.seconds, pace_s=asked.pace)
                )
    engine = "embedded" if asked.embedded else "scripted"
    rows = [
        {"colang": version, "rails": kind, "engine": engine, **summary(rounds[version, kind])}
        for version, kind in lines
    ]
    print(markdown_heading(rows[0]), *map(markdown_row, rows), sep="\n")
    return rows


def _talks_with(kind: str, version: str, delay_s: float, new: Callable[[], StandingGuard]) -> Turn:
    main = MainModel(delay_s=delay_s)  # one that answers at once would never let go of the loop
    return talks(build(kind, version, guard=new() if kind == "ours" else None, delay_s=delay_s, main=main))


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    of = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    of.add_argument("--embedded", action="store_true", help="judge with the embedded guard")
    of.add_argument("--versions", nargs="+", choices=VERSIONS, default=list(VERSIONS))
    of.add_argument("--clients", type=int, default=50)
    of.add_argument(
        "--pace", type=float, default=2.0, help="seconds from one turn of a client to its next; 0: none"
    )
    of.add_argument("--seconds", type=float, default=2.0, help="for one line in one round")
    of.add_argument("--rounds", type=int, default=4)
    of.add_argument("--delay", type=float, default=20.0, help="of the scripted models, in ms")
    of.add_argument("--folder", type=Path, help="for the database, on the disk to be measured")
    of.add_argument("--json", type=Path, help="write the rows here")
    return of


if __name__ == "__main__":
    given = parser().parse_args()
    logging.getLogger("nemoguardrails").setLevel(logging.ERROR)
    print(f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC\n")
    result = asyncio.run(main(given))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
