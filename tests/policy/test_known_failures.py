"""`benchmarks/known_failures.py`: what a report says of cases, written into their file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from railscribe.policy.load import load_cases

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "known_failures.py"
CASES = """\
# Told first.
policy: retail-banking
cases:
  # One that fails,
  - name: asks what a fund is
    text: What is a fund?
    expect: {decision: allow}
    reason: "Near Investment Advice: it asks."

  # one that fails otherwise than it did,
  - name: wants a stock tip
    text: >-
      Which share
      should I buy?
    expect: {decision: block, category: Investment Advice}
    known_failure:
      transformers: Takes it for safe.
      embedded: >-
        Takes it for safe.
  # and one that passes after all.
  - name: asks for a branch
    text: Where is your branch?
    expect: {decision: allow}
    known_failure:
      embedded: "Takes it for unsafe."
"""


def case(
    name: str, line: int, standing: str, *categories: str, **differences: tuple[str, str]
) -> dict[str, Any]:
    found = [{"field": field, "expected": one[0], "got": one[1]} for field, one in differences.items()]
    return {"name": name, "line": line, "standing": standing, "categories": categories, "differences": found}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of cases."""
    path = tmp_path / "mine.cases.yaml"
    path.write_text(CASES, encoding="utf-8")
    return path


def unmarked(text: str) -> list[str]:
    return [line for line in text.splitlines() if not re.search("known_failure|embedded|^ +Takes", line)]


def mark(file: Path, cases: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    report = file.with_name("report.json")
    told = {"file": str(file), "policy": {"name": "mine"}, "cases": cases}
    report.write_text(json.dumps({"files": [told]}), encoding="utf-8")
    command = [sys.executable, str(SCRIPT), str(report), "--mark", "embedded"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_marks_follow_the_report(file: Path) -> None:
    """What fails is marked for this guard, what passes no longer is, and nothing else changes."""
    ran = mark(
        file,
        [
            case("asks what a fund is", 5, "failed", decision=("allow", "block")),
            case(
                "wants a stock tip", 11, "known_failure", "Sexual", category=("Investment Advice", "Sexual")
            ),
            case("asks for a branch", 21, "unexpected_pass"),
        ],
    )

    assert ran.returncode == 0, ran.stderr
    assert "| mine | 3 | 1 | 33% | 67% |" in ran.stdout
    assert {one.name: dict(one.known_failures) for one in load_cases(str(file)).cases} == {
        "asks what a fund is": {"embedded": "Takes it for unsafe."},
        "wants a stock tip": {"transformers": "Takes it for safe.", "embedded": "Takes it for Sexual."},
        "asks for a branch": {},
    }
    assert unmarked(file.read_text("utf-8")) == unmarked(CASES)


def test_a_report_of_another_version_is_refused(file: Path) -> None:
    """Where a case stands elsewhere than the report says, nothing is written."""
    ran = mark(file, [case("asks what a fund is", 6, "failed", decision=("allow", "block"))])

    assert ran.returncode == 1
    assert f"{file}:6" in ran.stderr
    assert file.read_text("utf-8") == CASES
