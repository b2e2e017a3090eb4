"""``railscribe audit verify``, ``receipt``, ``verify-receipt`` and ``key`` on the shell."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from railscribe.audit import AuditStore, PolicyRegistry
from railscribe.policy.load import load_registration

Run = Callable[..., Any]


@pytest.fixture
def written(database_url: str) -> dict[str, str]:
    """The environment of a database with an entry in it; the entry's id is RECEIPT."""
    with AuditStore.open(database_url) as store:
        registered = PolicyRegistry(store).register(load_registration("default"), by="alice")
    return {"RAILSCRIBE_DATABASE_URL": database_url, "RECEIPT": registered.digest}


def test_verify(railscribe: Run, written: dict[str, str], tmp_path: Path) -> None:
    """A good database is ok, with its key given or not; one that was changed is not, and the place is named."""
    shown = railscribe("audit", "key", "show", "--json", "--out", "public.pem", **written)
    ran = railscribe("audit", "verify", "--public-key", "public.pem", "--json", **written)
    assert ran.code == 0, ran.err
    assert ran.json()["ok"] is True
    assert ran.json()["integrity"]["trust"] == "given"
    assert ran.json()["integrity"]["keys"] == [shown.json()["id"]]
    assert (ran.json()["completeness"]["ok"], ran.json()["records"]) == (True, 0)
    assert railscribe("audit", "verify", **written).out.endswith("ok\n")

    with closing(
        sqlite3.connect(written["RAILSCRIBE_DATABASE_URL"].removeprefix("sqlite:///"))
    ) as connection:
        connection.execute("DROP TRIGGER policy_registrations_no_update")
        connection.execute("UPDATE policy_registrations SET registered_by = 'mallory'")
        connection.commit()
    changed = railscribe("audit", "verify", **written)

    assert changed.code == 1
    assert f"FAILED  entry {written['RECEIPT']}" in changed.out
    assert changed.out.endswith("NOT OK\n")


def test_a_receipt_from_hand_to_hand(railscribe: Run, written: dict[str, str], tmp_path: Path) -> None:
    """A receipt is printed or written, holds for whoever has the public key, and not when it was changed."""
    railscribe("audit", "key", "show", "--out", "public.pem", **written)
    printed = railscribe("audit", "receipt", written["RECEIPT"], **written)
    kept = railscribe("audit", "receipt", written["RECEIPT"], "--out", "receipt.json", **written)

    assert printed.json() == json.loads((tmp_path / "receipt.json").read_text(encoding="utf-8"))
    good = railscribe("audit", "verify-receipt", "receipt.json", "--public-key", "public.pem")
    attested = good.out.removeprefix("ok: ")
    assert (good.code, good.out != attested) == (0, True)
    assert written["RECEIPT"] in attested
    assert kept.out.startswith(f"receipt.json: {attested}")

    text = (tmp_path / "receipt.json").read_text(encoding="utf-8").replace("alice", "malice")
    (tmp_path / "receipt.json").write_text(text, encoding="utf-8")
    bad = railscribe("audit", "verify-receipt", "receipt.json", "--public-key", "public.pem", "--json")
    assert (bad.code, bad.json()["ok"]) == (1, False)


def test_keys(railscribe: Run, written: dict[str, str], tmp_path: Path) -> None:
    """A key is made where the settings say, once; a rotation goes on with another, and both verify."""
    key = {"RAILSCRIBE_SIGNING_KEY": str(tmp_path / "mine.pem")}
    made = railscribe("audit", "key", "new", "--json", **key)
    assert made.json()["path"] == key["RAILSCRIBE_SIGNING_KEY"]
    again = railscribe("audit", "key", "new", **key)
    assert (again.code, "not written over" in again.err) == (3, True)

    url = {"RAILSCRIBE_DATABASE_URL": f"sqlite:///{tmp_path / 'rotated.db'}"}
    railscribe("db", "upgrade", **url)
    rotated = railscribe("audit", "key", "rotate", "--json", **url, **key)

    assert rotated.json()["id"] != made.json()["id"]
    assert rotated.json()["old"] == f"{key['RAILSCRIBE_SIGNING_KEY']}.{made.json()['id']}"
    verified = railscribe("audit", "verify", "--json", **url).json()
    assert (verified["ok"], len(verified["integrity"]["keys"])) == (True, 2)


def test_what_cannot_be_verified(railscribe: Run, tmp_path: Path) -> None:
    """A missing database, key or anchor is named, and is not a failed verification."""
    missing = railscribe("audit", "verify")
    assert (missing.code, "railscribe db upgrade" in missing.err) == (3, True)

    railscribe("db", "upgrade")
    for flag in ("--public-key", "--anchor"):
        ran = railscribe("audit", "verify", flag, "nowhere")
        assert (ran.code, "nowhere" in ran.err) == (3, True)
