"""The README's program runs as it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from railscribe.audit.schema import upgrade

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.embedded
@pytest.mark.usefixtures("embedded_weights")
def test_the_whole_program_runs(tmp_path: Path) -> None:
    """The first program of the README prints a decision, a label and the id of a record."""
    program = re.search(r"```python\n(import asyncio.*?)```", README, re.DOTALL)
    assert program is not None
    upgrade(f"sqlite:///{tmp_path / 'railscribe.db'}")

    ran = subprocess.run(
        [sys.executable, "-c", program[1]], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )

    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"allow safe [0-9a-f-]{36}\n", ran.stdout)
