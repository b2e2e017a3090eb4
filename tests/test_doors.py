"""The table of doors, tried for a few of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FEW = ("two user messages in a row", "the answer's reasoning", "a call of a tool", "agent: an answer")


def test_what_passes_the_host_does_not_pass_us(tmp_path: Path) -> None:
    """The benchmark runs, its doors are open where nothing guards them, and ours are closed and on record."""
    found = tmp_path / "doors.json"
    subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "doors.py"), *FEW, "--repeats", "1", "--json", str(found)],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
        capture_output=True,
        timeout=120,
    )

    rows = {row["door"]: row for row in json.loads(found.read_text())}
    of_a_model = rows.pop("1.0: the answer's reasoning, engine: railscribe behind NeMo's own flow")
    assert len(rows) == len(FEW) + 1  # of agents as well
    assert not [name for name, row in rows.items() if row["none"]["blocked"] or not row["ours"]["blocked"]]
    assert all(any(record.endswith("block") for record in row["ours"]["recorded"]) for row in rows.values())
    assert not [name for name, row in rows.items() if row.get("host", {}).get("blocked")]
    assert not of_a_model["ours"]["blocked"]  # docs/doors.md says so


def test_the_tests_that_the_page_names_are_there() -> None:
    """Each trap on docs/doors.md names a test, by its file."""
    page = (ROOT / "docs" / "doors.md").read_text(encoding="utf-8")
    rows = [line for line in page.partition("| trap |")[2].splitlines() if line.startswith("| ")][1:]
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", page)

    assert len(rows) > 40
    assert all("::test_" in row for row in rows)
    assert not re.findall(r"`test_\w+`", page)  # without its file
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), name
