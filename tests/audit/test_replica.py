"""A real read-only replica: what it serves, what it refuses, and what becomes of it as the next primary."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore, keys
from railscribe.audit.schema import upgrade
from railscribe.audit.verify import verify_database
from railscribe.errors import ReadOnlyDatabaseError
from railscribe.values import Record

pytestmark = pytest.mark.postgres

RecordFactory = Callable[..., Record]
_PORT = 5433  # of a socket in a folder of the test's own


@pytest.fixture
def replicated(postgres_server: Any, empty_postgres_url: str) -> Iterator[str]:
    """The URL of a database at head of which a standby can be made."""
    upgrade(empty_postgres_url)
    yield empty_postgres_url
    if (postgres_server.folder / "standby").exists():
        postgres_server.run("pg_ctl", "-m", "immediate", "stop", data="standby")


def stand_by(server: Any, url: str) -> str:
    """Copy the server, have the copy follow it, and return the URL of the same database there."""
    at = str(server.folder)
    server.run(
        "pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-h", at, "-U", "postgres", data="standby"
    )
    options = f"-h '' -k {at} -p {_PORT} -c fsync=off -c hot_standby=on"
    server.run("pg_ctl", "-w", "-l", f"{at}/standby.log", "-o", options, "start", data="standby")
    return url.replace(f"host={at}", f"host={at}&port={_PORT}")


def ask(url: str, question: str) -> Any:
    """Return the one value that *question* has for an answer."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return connection.execute(sa.text(question)).scalar_one()


def follow(primary: str, standby: str) -> None:
    """Wait until the standby has all that was committed before."""
    at = ask(primary, "SELECT pg_current_wal_flush_lsn()::text")
    behind, until = f"SELECT pg_last_wal_replay_lsn() >= '{at}'", time.monotonic() + 20
    while not ask(standby, behind):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_replica_is_read_and_verified_and_goes_on_once_it_is_promoted(
    postgres_server: Any, replicated: str, undecided: RecordFactory, tmp_path: Path
) -> None:
    """A standby serves and verifies what the primary sealed, refuses an append by name and keeps nothing of it in the
    spool, and takes up the chain where it stands when it becomes the primary."""
    trusted = [keys.load(keys.default_path()).public] if keys.default_path().exists() else []
    with AuditStore.open(replicated) as store:
        store.append(undecided(0))
    standby = stand_by(postgres_server, replicated)
    assert ask(standby, "SELECT pg_is_in_recovery()") is True

    with AuditStore.open(standby, spool_dir=tmp_path) as store:
        assert store.record(undecided(0).id)["content"]["user"]["state"] == "intact"
        with AuditStore.open(replicated) as primary:
            primary.append(undecided(1))
        follow(replicated, standby)
        assert len(store.records()) == 2
        assert verify_database(standby, trusted=trusted).records == 2

        with pytest.raises(ReadOnlyDatabaseError, match=r"is read-only.*that it is no replica"):
            store.append(undecided(2))
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]

        postgres_server.run("pg_ctl", "-w", "promote", data="standby")
        store.append(undecided(2))

    report = verify_database(standby, trusted=trusted)
    assert (report.failures, report.records, report.told["unsealed"]) == ([], 3, 0)
    assert verify_database(replicated, trusted=trusted).records == 2
