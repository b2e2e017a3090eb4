"""The storm of kills in short: ten of them, on each database (benchmarks/kill_storm.py goes on to a thousand)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="no fork here")
def test_nothing_acknowledged_is_lost(any_url: str, tmp_path: Path) -> None:
    """Whoever is killed, and whenever: acknowledged records are there, once, attested, and what is not is a gap."""
    command = [sys.executable, "-W", "ignore", "benchmarks/kill_storm.py", "--kills", "10"]

    ended = subprocess.run(
        [*command, "--url", any_url, "--folder", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "failures         none" in ended.stdout
