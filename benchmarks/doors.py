"""Every door by which content passes: with nothing before it, with the host's own rail, with ours.

    python benchmarks/doors.py                  # a table in Markdown, under a minute
    python benchmarks/doors.py --json doors.json --repeats 30

``door_apps.py``, ``door_server.py`` and ``door_agents.py`` say what is tried. *Blocked*: what is bad was not seen
behind the door. The record: its direction and outcome. *ms added*: the median of harmless passages, less that with
nothing before the door; the kinds take turns in one process. The safety models answer at once, so this is what rails
cost and not what models do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from databases import sqlite
from door_agents import LANGCHAIN
from door_apps import BAD, GOOD, KINDS, NEMO, Bench, Door
from door_server import SERVER

from railscribe.audit import AuditStore

DOORS = (*NEMO, *SERVER, *LANGCHAIN)


async def tried(bench: Bench, url: str, door: Door, repeats: int) -> dict[str, Any]:
    """Return the row of *door*."""
    kinds = [kind for kind in KINDS if kind != "host" or door.host_has]
    row: dict[str, Any] = {"door": door.name}
    for kind in kinds:
        before = _records(url)
        row[kind] = {"blocked": not await door.try_it(bench, kind, BAD)}
        if kind == "ours":
            new = [record for record in _records(url) if record not in before]
            row[kind]["recorded"] = [
                f"{way}, {outcome}" for _, way, outcome in new if way == door.direction.value
            ]
    for kind, ms in (await _times(bench, door, kinds, repeats)).items():
        row[kind]["ms"] = round(ms, 1)
    return row


def _records(url: str) -> list[tuple[str, str, str]]:
    with AuditStore.open(url) as store:
        return [(row["id"], row["direction"], row["outcome"]) for row in store.records(limit=50)]


async def _times(bench: Bench, door: Door, kinds: Iterable[str], repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(repeats + 1):
        for kind, some in times.items():
            began = time.perf_counter()
            assert not await door.try_it(bench, kind, GOOD), door.name
            if number:  # the first builds and warms up
                some.append((time.perf_counter() - began) * 1000)
    return {kind: statistics.median(some) for kind, some in times.items()}


def line(row: dict[str, Any]) -> str:
    """Return *row* as a line of the table."""
    none, host, ours = row["none"], row.get("host"), row["ours"]
    said = {True: "blocked", False: "**passes**"}
    added = [f"{side['ms'] - none['ms']:.1f}" if side else "" for side in (host, ours)]
    cells = [
        row["door"],
        said[none["blocked"]],
        said[host["blocked"]] if host else "no such rail",
        said[ours["blocked"]],
        "; ".join(dict.fromkeys(ours["recorded"])) or "**not recorded**",
        *added,
    ]
    return f"| {' | '.join(cells)} |"


HEAD = """\
| door | nothing | the host's rail | ours | our record | ms added, host | ms added, ours |
|---|---|---|---|---|---:|---:|"""


async def main(names: list[str] | None, repeats: int) -> list[dict[str, Any]]:
    """Try the doors whose names hold one of *names*, print the table, and return the rows."""
    rows = []
    print(HEAD)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        sqlite(Path(folder)) as new,
    ):
        url = new()
        bench = Bench(url)
        for door in DOORS:
            if not names or any(name in door.name for name in names):
                rows.append(await tried(bench, url, door, repeats))
                print(line(rows[-1]), flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("doors", nargs="*", help="parts of their names")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write the rows here")
    asked = parser.parse_args()
    for name in (None, "nemoguardrails"):  # the server's module turns the root up to INFO
        logging.getLogger(name).setLevel(logging.ERROR)
    print(f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC\n")
    found = asyncio.run(main(asked.doors, asked.repeats))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
