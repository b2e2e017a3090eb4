"""What a rail costs: conversations with ours, durable audit included, against NeMo's own content safety, in turns.

    python benchmarks/rail_cost.py                          # all cells, about three minutes
    python benchmarks/rail_cost.py --versions 1.0 --turns 1 --clients 1 --delays 0 --seconds 20
    python benchmarks/rail_cost.py --side model             # our engine behind NeMo's own flows
    python benchmarks/rail_cost.py --json cost.json

What is compared stands in ``scripted_rails.py``. The two sides take turns in one process, and the ratio is the median
of those of neighbouring samples: what else the machine does hits both.

A sample is, with one turn, a new conversation of each client's, all at once; the time is until the last has its
answer. With more turns and one client it is a whole conversation, whose turns alternate with those of the other
side's. With more turns and many clients it is the last turn alone, of conversations with the same turns before it:
NeMo's own work on a history of that length is what makes anything more last an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from databases import sqlite
from nemoguardrails import LLMRails
from rail_tables import Row, run, show
from scripted_rails import ANSWER, VERSIONS, Conversation, build, open_guard, scripted_engine

SIDES = ("ours", "model")
"""Our rails, and our engine as the model behind NeMo's own (``engine: railscribe``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is measured together."""

    version: str
    delay_ms: float
    turns: int
    clients: int


async def say(conversation: Conversation) -> None:
    """Take one turn, and see that it is the main model's."""
    answer = await conversation.turn()
    assert answer == ANSWER, answer


class Spent(NamedTuple):
    """What a sample of one side took, in milliseconds."""

    ms: float = 0.0
    cpu_ms: float = 0.0
    """Of all threads: what other processes do to the clock hardly shows in it."""


async def at_once(conversations: list[Conversation]) -> Spent:
    """Give each of *conversations* a turn, and return what that took."""
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*map(say, conversations))
    return Spent((time.perf_counter() - began) * 1000, (time.process_time() - cpu) * 1000)


class Sampler:
    """Takes the samples of one cell."""

    def __init__(self, cell: Cell, apps: dict[str, LLMRails]) -> None:
        self._cell = cell
        self._apps = apps
        self._sides = tuple(apps)
        self._before: dict[str, Conversation] = {}
        self._number = 0

    def _new(self, side: str) -> Conversation:
        self._number += 1
        return Conversation(self._apps[side], f"Conversation {self._number}")

    async def prepare(self) -> None:
        """Warm up, and have the turns that come before the measured one."""
        for side in self._sides:
            await at_once([self._new(side) for _ in range(min(self._cell.clients, 4))])
        if self._cell.turns > 1 and self._cell.clients > 1:
            for side in self._sides:
                self._before[side] = self._new(side)
                for _ in range(self._cell.turns - 1):
                    await say(self._before[side])

    async def pair(self, *, ours_first: bool) -> dict[str, Spent]:
        """Return what one sample of each side took."""
        order = self._sides[::-1] if ours_first else self._sides
        cell = self._cell
        spent = dict.fromkeys(self._sides, Spent())
        if cell.clients == 1:
            talks = {side: self._new(side) for side in order}
            for number in range(cell.turns):
                for side in order if number % 2 else order[::-1]:
                    turn = await at_once([talks[side]])
                    spent[side] = Spent(spent[side].ms + turn.ms, spent[side].cpu_ms + turn.cpu_ms)
        else:
            for side in order:
                spent[side] = await at_once([self._one(side) for _ in range(cell.clients)])
        for app in self._apps.values():
            _forget(app)
        return spent

    def _one(self, side: str) -> Conversation:
        before = self._before.get(side)
        self._number += 1
        return before.fork(f"Conversation {self._number}") if before else self._new(side)


def _forget(app: LLMRails) -> None:
    """Keep what NeMo holds of the history from growing without end, but for conversations that go on."""
    cache = app.events_history_cache
    for key in list(cache)[:-40]:
        del cache[key]


async def measure(cell: Cell, apps: dict[str, LLMRails], seconds: float, pairs: int) -> Row:
    """Return the row of *cell*: as many pairs of samples as fit into *seconds*, *pairs* at least."""
    sampler = Sampler(cell, apps)
    await sampler.prepare()
    gc.collect()
    samples: list[dict[str, Spent]] = []
    until = time.perf_counter() + seconds
    while len(samples) < pairs or time.perf_counter() < until:
        samples.append(await sampler.pair(ours_first=bool(len(samples) % 2)))
    host, ours = apps
    ms = {side: statistics.median(sample[side].ms for sample in samples) for side in apps}
    return {
        "colang": cell.version,
        "delay_ms": cell.delay_ms,
        "turns": cell.turns,
        "clients": cell.clients,
        "pairs": len(samples),
        "host_ms": round(ms[host], 1),
        f"{ours}_ms": round(ms[ours], 1),
        "ratio": round(statistics.median(each[ours].ms / each[host].ms for each in samples), 3),
        "cpu_ratio": round(statistics.median(each[ours].cpu_ms / each[host].cpu_ms for each in samples), 3),
    }


def cells(asked: argparse.Namespace) -> Iterator[Cell]:
    """Yield what is to be measured."""
    for version in asked.versions:
        for delay_ms in asked.delays:
            for turns in asked.turns:
                for clients in asked.clients:
                    yield Cell(version=version, delay_ms=delay_ms, turns=turns, clients=clients)


async def measure_all(asked: argparse.Namespace) -> list[Row]:
    """Measure and print all cells, and return the rows."""
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(dir=asked.folder, ignore_cleanup_errors=True) as name,
        sqlite(Path(name)) as new,
    ):
        apps: dict[tuple[str, float], dict[str, LLMRails]] = {}
        for cell in cells(asked):
            key = (cell.version, cell.delay_ms)
            if key not in apps:
                delay_s = cell.delay_ms / 1000
                guard = open_guard(new(), scripted_engine(delay_s))
                apps[key] = {
                    "host": build("host", cell.version, delay_s=delay_s),
                    asked.side: build(asked.side, cell.version, guard=guard),
                }
            rows.append(await measure(cell, apps[key], asked.seconds, asked.pairs))
            show(rows)
    return rows


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    of = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    of.add_argument("--versions", nargs="+", choices=VERSIONS, default=list(VERSIONS))
    of.add_argument("--delays", nargs="+", type=float, default=[0.0, 20.0], help="of the safety model, in ms")
    of.add_argument("--turns", nargs="+", type=int, default=[1, 20])
    of.add_argument("--clients", nargs="+", type=int, default=[1, 50])
    of.add_argument("--seconds", type=float, default=5.0, help="for one cell, at least")
    of.add_argument("--pairs", type=int, default=2, help="of samples in one cell, at least")
    of.add_argument("--folder", type=Path, help="for the database, on the disk to be measured")
    of.add_argument("--side", choices=SIDES, default="ours", help="what is held against NeMo's own")
    return of


if __name__ == "__main__":
    run(parser(), measure_all)
