"""`benchmarks/stream_delay.py` in short: every way shows the whole text, and the table says what it took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


async def test_every_way_shows_the_whole_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a rail as without, the text comes to its end, and a held stream shows its first words later."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import stream_delay

    given = [
        "--tokens",
        "30",
        "--token-ms",
        "1",
        "--check-ms",
        "30",
        "--rounds",
        "1",
        "--folder",
        str(tmp_path),
    ]
    rows: list[dict[str, Any]] = await stream_delay.measure(stream_delay.parser().parse_args(given))

    assert {row["host"] for row in rows} == {"1.0", "2.x", "plain", "LangChain"}
    for row in rows:
        assert row["total_ms"] >= row["first_ms"] > 0
        if row["rail"] == "ours, wrapped":
            assert row["first_added_ms"] >= 20
