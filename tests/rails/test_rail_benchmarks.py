"""The measurements of what a rail costs, in short, so that they go on running (docs/rail-cost.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def rows_of(script: str, folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run *script* of the benchmarks and return what it wrote."""
    report = folder / "report.json"
    command = [sys.executable, "-W", "ignore", f"benchmarks/{script}", "--folder", str(folder)]

    ended = subprocess.run(
        [*command, "--json", str(report), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows: list[dict[str, Any]] = json.loads(report.read_text())
    table = [line for line in ended.stdout.splitlines() if line.startswith("|")]
    assert len(table) == len(rows) + 2  # and its head
    return rows


def test_the_cost_of_a_rail_can_be_measured(tmp_path: Path) -> None:
    """Both Colang versions, first and later turns, alone and together: each has the times of both sides."""
    rows = rows_of(
        *("rail_cost.py", tmp_path, "--delays", "0", "--turns", "1", "2"),
        *("--clients", "1", "2", "--seconds", "0", "--pairs", "1"),
    )

    cells = {(row["colang"], row["turns"], row["clients"]) for row in rows}
    assert cells == {
        (colang, turns, clients) for colang in ("1.0", "2.x") for turns in (1, 2) for clients in (1, 2)
    }
    # One pair each: what comes of dividing them is the ratio, but for rounding.
    assert all(abs(row["ours_ms"] / row["host_ms"] / row["ratio"] - 1) < 0.1 for row in rows)


def test_the_stalls_of_the_loop_can_be_measured(tmp_path: Path) -> None:
    """Without rails, with NeMo's, with ours and with ours alone there are beats, and turns between them."""
    rows = rows_of(
        *("rail_stalls.py", tmp_path, "--versions", "1.0", "--clients", "3"),
        *("--rounds", "1", "--seconds", "0.2", "--pace", "0.1", "--delay", "2"),
    )

    assert [row["rails"] for row in rows] == ["none", "host", "ours", "nothing", "ours alone"]
    assert all(row["turns"] >= 3 and row["beats"] for row in rows)
    assert all(row["p50_ms"] <= row["p99_ms"] <= row["worst_ms"] for row in rows)
