"""``railscribe audit erase``, ``hold``, ``prune``, ``content-key``."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from typer.testing import CliRunner

from railscribe.audit import AuditStore, open_store
from railscribe.cli.main import app
from railscribe.policy import load_policy, render
from railscribe.settings import load_settings
from railscribe.values import (
    Cause,
    Decision,
    Direction,
    Enforcement,
    EngineInfo,
    Exchange,
    Flags,
    Identity,
    Label,
    Outcome,
    Record,
    Side,
    SideVerdict,
    Verdict,
)

runner = CliRunner()
WHO = ["--by", "dpo", "--reason", "Art. 17"]


def record(number: int = 0) -> Record:
    """Return the least a record can be, of long ago, about somebody."""
    return Record(
        id=f"019ced4f-0000-7000-8000-{number:012x}",
        checked_at=datetime.now(tz=timezone.utc) - timedelta(days=400),
        identity=Identity(tenant="acme", subject="user-42"),
        direction=Direction.INPUT,
        rail="guard",
        host="python",
        exchange=Exchange(user="my secret"),
        rendering=render(load_policy("default")),
        engine=EngineInfo(name="openai_compatible", model="guard"),
        flags=Flags(),
        neutralised=(),
        completion=None,
        verdict=Verdict(user=SideVerdict(label=Label.UNREADABLE, cause=Cause.TIMEOUT)),
        decision=Decision(outcome=Outcome.UNDECIDED, sides=(Side.USER,), cause=Cause.TIMEOUT),
        enforcement=Enforcement.REFUSED,
        image=None,
        latency_ms={},
    )


def run(*words: str, url: str) -> str:
    """Run a verb under ``audit`` that succeeds, and return what it printed."""
    result = runner.invoke(app, ["audit", *words, "--database-url", url], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_content_from_key_to_erasure(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key is made, content is encrypted under it, shown with it, held, erased once released."""
    key = tmp_path / "content.key"
    assert runner.invoke(app, ["audit", "content-key", "new", str(key)]).exit_code == 0
    monkeypatch.setenv("RAILSCRIBE_CONTENT_KEY_FILE", str(key))
    monkeypatch.setenv("RAILSCRIBE_CONTENT_MODE", "encrypted")
    with open_store(load_settings({"database_url": database_url})) as store:
        store.append(record())
    shown = json.loads(run("show", record().id, "--json", url=database_url))
    held = json.loads(run("hold", "add", "--subject", "user-42", *WHO, "--json", url=database_url))["hold"]
    refused = runner.invoke(
        app, ["audit", "erase", "--subject", "user-42", *WHO, "--database-url", database_url]
    )
    run("hold", "release", held, *WHO, url=database_url)

    would = json.loads(run("erase", "--subject", "user-42", *WHO, "--dry-run", "--json", url=database_url))
    words = run("erase", "--subject", "user-42", *WHO, url=database_url)
    again = json.loads(run("erase", "--subject", "user-42", *WHO, "--json", url=database_url))

    after = json.loads(run("show", record().id, "--json", url=database_url))
    assert shown["content"]["user"]["text"] == "my secret"
    assert type(refused.exception).__name__ == "HeldError"
    assert (would["contents"], would["keys"], would["erasures"]) == (1, 1, [])
    assert "erased 1 contents of 1 records, and 1 keys" in words
    assert (
        "Backups, and exports with content, that were made before this still hold it (backups: what was"
        in words
    )
    assert "with the keys of their day" not in again["copies"]  # none was destroyed
    assert "still hold it. Let them expire" in again["copies"]
    assert after["content"]["user"]["state"] == "erased"
    assert "released" in run("hold", "list", url=database_url)


def test_pruning_by_command(database_url: str) -> None:
    """What is over its term is told of, then pruned, and a class without a term is refused."""
    with AuditStore.open(database_url) as store:
        store.append(record())

    would = json.loads(run("prune", *WHO, "--dry-run", "--json", url=database_url))
    narrowed = run("prune", *WHO, "--before", "2000-01-01", url=database_url)
    words = run("prune", *WHO, "--class", "default", url=database_url)

    assert would["classes"][0]["records"] == 1
    assert "pruned 0 records" in narrowed
    assert "default (183 days): pruned 1 records in 1 segments; 0 segments are held" in words
    result = runner.invoke(app, ["audit", "prune", *WHO, "--class", "mine", "--database-url", database_url])
    assert type(result.exception).__name__ == "UsageError"
