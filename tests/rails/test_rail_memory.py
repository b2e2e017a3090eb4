"""`benchmarks/rail_memory.py` in short: both sides run, each check of ours is recorded, and the difference is told."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize("more", [[], ["--direct"]])
async def test_both_sides_run_and_are_compared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, more: list[str]
) -> None:
    """What grew is read of both sides, and put into words."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import rail_memory

    given = ["--checks", "20", "--clients", "2", "--folder", str(tmp_path), *more]
    rows = [
        (await rail_memory.measure(rail_memory.parser().parse_args([*given, "--of", of])))[0]
        for of in rail_memory.RAILS
    ]

    assert [row["rails"] for row in rows] == ["nothing", "ours"]
    assert all(row["checks"] == 20 and row["growth_mb"] < 50 for row in rows)
    assert "times their memory" in rail_memory.told(rows)
