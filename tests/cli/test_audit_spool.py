"""``railscribe audit spool`` on the shell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from railscribe.audit.database import parse_url
from railscribe.audit.rows import probe_rows
from railscribe.audit.spool import Spool, folder_for
from railscribe.values import EngineInfo, Probe, ProbeName, ProbeResult

Run = Callable[..., Any]
"""The fixture ``railscribe``: runs the command line and returns its code, out and err."""
FIRST = datetime(2026, 3, 14, 23, 59, 58, tzinfo=timezone.utc)


def leave_behind(folder: Path, *names: ProbeName) -> None:
    """Leave probes in the spool, as a process that was killed would."""
    spool = Spool(folder, max_bytes=1_000_000)
    for name in names:
        probe = Probe(
            name=name,
            result=ProbeResult.HONOURED,
            detail="it does",
            engine=EngineInfo(name="scripted", model="scripted"),
            address=None,
            probed_at=FIRST,
        )
        spool.append([probe_rows(probe)])
    spool.close()


def test_what_waits_is_shown_and_brought_in(railscribe: Run, tmp_path: Path) -> None:
    """The command says how many entries wait and since when; --replay brings them in, once."""
    there = {
        "RAILSCRIBE_SPOOL_DIR": str(tmp_path / "spool"),
        "RAILSCRIBE_DATABASE_URL": f"sqlite:///{tmp_path / 'audit.db'}",
    }
    assert railscribe("db", "upgrade", **there).code == 0
    assert railscribe("audit", "spool", **there).out.startswith("0 entries wait in ")
    folder = folder_for(parse_url(there["RAILSCRIBE_DATABASE_URL"]), tmp_path / "spool")
    leave_behind(folder, ProbeName.POLICY, ProbeName.THINKING)

    words = railscribe("audit", "spool", **there).out
    shown = railscribe("audit", "spool", "--json", **there).json()
    replayed = railscribe("audit", "spool", "--replay", "--json", **there).json()
    again = railscribe("audit", "spool", "--replay", "--json", **there).json()

    assert words.startswith("2 entries wait in ")
    assert "the oldest of 2026-03-14 23:59:58 UTC." in words
    assert (shown["waiting"], shown["oldest"]) == (2, "2026-03-14T23:59:58+00:00")
    assert [(each["entries"], each["in_use"]) for each in shown["files"]] == [(2, False)]
    assert (replayed["replayed"], replayed["waiting"], replayed["files"]) == (2, 0, [])
    assert again["replayed"] == 0
