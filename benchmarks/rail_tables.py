"""What benchmarks of rails print: a table in Markdown, row by row, and the same as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from scripted_rails import markdown_heading, markdown_row

Row = dict[str, Any]


def show(rows: Sequence[Row]) -> None:
    """Print the last of *rows*, with the heading above the first."""
    if len(rows) == 1:
        print(f"\n{markdown_heading(rows[0])}")
    print(markdown_row(rows[-1]), flush=True)


def run(
    parser: argparse.ArgumentParser, measure: Callable[[argparse.Namespace], Awaitable[Sequence[Row]]]
) -> None:
    """Read the command line, measure, and write the rows where --json says."""
    parser.add_argument("--json", type=Path, help="write the rows here")
    asked = parser.parse_args()
    logging.getLogger("nemoguardrails").setLevel(logging.ERROR)
    print(f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC", flush=True)

    async def measured() -> Sequence[Row]:
        return await measure(asked)

    rows = asyncio.run(measured())
    if asked.json:
        asked.json.write_text(json.dumps(list(rows), indent=1), encoding="utf-8")
