"""``railscribe audit summarise``, ``export`` and ``verify`` of an export, on the shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
"""The fixture ``railscribe``: runs the command line and returns its code, out and err."""


@pytest.fixture
def recorded(railscribe: Run, tmp_path: Path) -> dict[str, str]:
    """Settings of a database with one record in it, which an engine that is away made undecided."""
    settings = {
        "RAILSCRIBE_ENGINE": "openai_compatible",
        "RAILSCRIBE_BASE_URL": "http://127.0.0.1:1/v1",
        "RAILSCRIBE_MODEL": "guard",
        "RAILSCRIBE_SIGNING_KEY": str(tmp_path / "chain.pem"),
    }
    assert railscribe("audit", "key", "new", **settings).code == 0
    assert railscribe("db", "upgrade", **settings).code == 0
    assert railscribe("check", "Hello?", **settings).code == 3
    return settings


def test_an_export_is_verified_elsewhere(railscribe: Run, recorded: dict[str, str], tmp_path: Path) -> None:
    """What was exported verifies without the database; one changed byte fails, and names the file."""
    made = railscribe("audit", "export", "out", "--format", "csv", "--json", **recorded)
    (tmp_path / "railscribe.db").unlink()
    good = railscribe("audit", "verify", "out", "--json")
    records = tmp_path / "out" / "data" / "records.csv"
    records.write_bytes(records.read_bytes().replace(b"refused", b"granted"))
    bad = railscribe("audit", "verify", "out")

    assert (made.code, made.json()["rows"]["records"]) == (0, 1)
    assert (good.code, good.json()["ok"], good.json()["records"]) == (0, True, 1)
    assert good.json()["completeness"]["export"]["whole"] is True
    assert bad.code == 1
    assert "data/records.csv is not the file that was written" in bad.out


def test_a_folder_that_is_there_is_left_alone(railscribe: Run, recorded: dict[str, str]) -> None:
    """Exporting into the same folder again is refused."""
    railscribe("audit", "export", "out", **recorded)

    again = railscribe("audit", "export", "out", **recorded)

    assert again.code == 2
    assert "is there already" in again.err


def test_summing_up(railscribe: Run, recorded: dict[str, str]) -> None:
    """Sums are brought up to the last checkpoint, and hold against the records."""
    taken = railscribe("audit", "summarise", "--json", **recorded)
    checked = railscribe("audit", "summarise", "--check", "--json", **recorded)
    anew = railscribe("audit", "summarise", "--anew", **recorded)

    assert taken.json()["entries"] == 1
    assert (checked.code, checked.json()) == (0, {"ok": True, "differences": []})
    assert "1 entries summed up" in anew.out
