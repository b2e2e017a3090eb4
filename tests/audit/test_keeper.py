"""Where entries go while the database takes none: nothing acknowledged is lost, doubled or out of order."""

from __future__ import annotations

import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore, database, keys, ledger, tables
from railscribe.audit.attesting import now
from railscribe.audit.gaps import GapReason
from railscribe.audit.keeper import Keeper
from railscribe.audit.ledger import Ledger
from railscribe.audit.rows import Rows, rows_of
from railscribe.audit.spool import Spool, SpoolFile, set_aside, waiting
from railscribe.errors import (
    AuditError,
    DatabaseUnavailableError,
    NotRecordedError,
    ReadOnlyDatabaseError,
    SchemaRevisionError,
    SigningKeyError,
    SpoolError,
)
from railscribe.values import Exchange, Outcome, Record, Stage

RecordFactory = Callable[..., Record]
Away = Callable[[str], AbstractContextManager[None]]


@pytest.fixture
def impatient_url(any_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a fresh database whose locks are waited for a tenth of a second."""
    monkeypatch.setattr(
        database, "_POSTGRESQL_SETTINGS", database._POSTGRESQL_SETTINGS.replace("'5s'", "'100ms'")
    )
    return any_url if any_url.startswith("postgresql") else f"{any_url}?timeout=0.1"


@contextmanager
def away(url: str) -> Iterator[None]:
    """Keep the database from taking anything, as another's lock does."""
    if url.startswith("sqlite"):
        other = sqlite3.connect(url.removeprefix("sqlite:///").partition("?")[0], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        yield
        other.close()
        return
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE records IN SHARE MODE"))
        yield


def numbers(store: AuditStore) -> list[int]:
    return sorted(int(row["id"][-12:], 16) for row in store.records(limit=1000))


def soon(condition: Callable[[], bool], limit_s: float = 15.0) -> None:
    """Wait until *condition* holds."""
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def waits(store: AuditStore) -> int:
    assert store.spool is not None
    return sum(found.entries for found in waiting(store.spool.folder))


def test_entries_wait_in_the_spool_and_come_in_once(
    impatient_url: str, undecided: RecordFactory, tmp_path: Path
) -> None:
    """While the database is away appends are durable; when it is back all are there once, and the spool is empty."""
    with AuditStore.open(impatient_url, spool_dir=tmp_path) as store:
        store.append(undecided(0))
        with away(impatient_url):
            for number in range(1, 6):
                store.append(undecided(number))
            assert numbers(store) == [0]
            assert waits(store) == 5

        soon(lambda: numbers(store) == list(range(6)))
        store.append(undecided(6))
        soon(lambda: not waits(store))
        assert numbers(store) == list(range(7))
        assert store.spool is not None
        assert list(store.spool.folder.iterdir()) == []


def test_only_the_first_waits_for_the_time_out(
    impatient_url: str, undecided: RecordFactory, tmp_path: Path
) -> None:
    """A database that is known to be away is not waited for again by each check."""
    with AuditStore.open(impatient_url, spool_dir=tmp_path) as store:
        store.append(undecided(0))
        with away(impatient_url):
            store.append(undecided(1))
            asked: list[object] = []
            sa.event.listen(store._engine, "begin", asked.append)
            for number in range(2, 32):
                store.append(undecided(number))

            assert len(asked) < 10


def test_the_next_process_brings_in_what_a_killed_one_left(
    any_url: str, undecided: RecordFactory, tmp_path: Path
) -> None:
    """What a process had acknowledged and was killed over is replayed by the next one, without being asked."""
    program = """
import os, pickle, signal, sys
from pathlib import Path
from railscribe.audit import AuditStore
from railscribe.errors import DatabaseUnavailableError
store = AuditStore.open(sys.argv[1], spool_dir=Path(sys.argv[2]))
def away(*_):
    raise DatabaseUnavailableError
store._ledger.append = away
for record in pickle.loads(bytes.fromhex(sys.argv[3])):
    store.append(record)
os.kill(os.getpid(), signal.SIGKILL)
"""
    left = pickle.dumps([undecided(1), undecided(2)]).hex()
    ended = subprocess.run([sys.executable, "-c", program, any_url, tmp_path, left], timeout=60)
    assert ended.returncode == -signal.SIGKILL

    with AuditStore.open(any_url, spool_dir=tmp_path) as store:
        assert (numbers(store), waits(store)) == ([], 2)
        store.append(undecided(3))

        soon(lambda: numbers(store) == [1, 2, 3])
        soon(lambda: not waits(store))


class _Unheard(Ledger):
    """A database whose connection breaks after its commit and before the answer."""

    def append(self, entries: object, doing: str) -> None:
        super().append(entries, doing)  # type: ignore[arg-type]
        raise DatabaseUnavailableError(f"{doing}: the connection broke.")


@pytest.fixture
def entries(undecided: RecordFactory) -> Callable[..., list[Rows]]:
    """Makes the entries of the records with the given numbers."""

    def make(*some: int) -> list[Rows]:
        return [rows_of(undecided(number), retention_class="default", keep_chars=100) for number in some]

    return make


def test_a_commit_whose_end_was_not_heard_of_is_not_doubled(
    any_store: AuditStore, entries: Callable[..., list[Rows]], tmp_path: Path
) -> None:
    """Entries of which nobody knows whether they were committed go to the spool, and in again only where missing."""
    spool = Spool(tmp_path / "spool", max_bytes=1_000_000)
    unheard = Keeper(
        _Unheard(any_store._engine, any_store._url, any_store._ledger._attestation), spool, fail_open=False
    )
    assert unheard.keep([entries(1), entries(2)], "Appending") == [None, None]
    assert numbers(any_store) == [1, 2]
    spool.append(entries(3))
    spool.close()

    assert Keeper(any_store._ledger, spool, fail_open=False).replay() == 1
    assert numbers(any_store) == [1, 2, 3]
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_comes_during_a_replay_waits_for_a_batch_and_not_for_all(
    any_store: AuditStore,
    entries: Callable[..., list[Rows]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """New entries go behind those that wait, so order stays, and are acknowledged between two batches."""
    monkeypatch.setattr("railscribe.audit.keeper.BATCH", 2)
    spool = Spool(tmp_path, max_bytes=1_000_000)
    spool.append(entries(1, 2, 3, 4))
    keeper = Keeper(any_store._ledger, spool, fail_open=False)

    keeper.chores()
    assert numbers(any_store) == [1, 2]
    assert keeper.keep([entries(5)], "Appending") == [None]
    assert numbers(any_store) == [1, 2]
    while spool.own is not None:
        keeper.chores()

    assert numbers(any_store) == [1, 2, 3, 4, 5]
    assert keeper.keep([entries(6)], "Appending") == [None]
    assert numbers(any_store)[-1] == 6


def test_what_the_database_refuses_is_kept_aside(
    any_store: AuditStore, entries: Callable[..., list[Rows]], undecided: RecordFactory, tmp_path: Path
) -> None:
    """An entry that was acknowledged and does not fit holds up nobody, is not thrown away, and is a gap."""
    broken = undecided(2, decision=undecided().decision.__class__(outcome=Outcome.UNDECIDED, sides=()))
    spool = Spool(tmp_path, max_bytes=1_000_000)
    spool.append([*entries(1), rows_of(broken, retention_class="default", keep_chars=9), *entries(3, 3)])
    spool.close()
    keeper = Keeper(any_store._ledger, spool, fail_open=False)

    assert keeper.replay() == 2

    assert numbers(any_store) == [1, 3]
    (aside,) = set_aside(tmp_path)
    assert aside.suffix == ".refused"
    file = SpoolFile.take(aside)
    assert file is not None
    assert [rows.id for rows in file.peek(10)] == [broken.id]
    file.close()


def test_one_bad_entry_fails_alone(
    any_store: AuditStore, entries: Callable[..., list[Rows]], undecided: RecordFactory
) -> None:
    """In a group the entry at fault is found, and all others are kept."""
    broken = undecided(4, decision=undecided().decision.__class__(outcome=Outcome.UNDECIDED, sides=()))
    bad = [rows_of(broken, retention_class="default", keep_chars=9)]
    batches = [entries(number) for number in range(4)] + [bad] + [entries(5, 6), entries(1)]

    results = any_store._keeper.keep(batches, "Appending a record")

    assert [type(result) for result in results] == [type(None)] * 4 + [AuditError, type(None), AuditError]
    assert numbers(any_store) == [0, 1, 2, 3, 5, 6]


def test_when_both_fail_nothing_is_released(
    impatient_url: str, undecided: RecordFactory, tmp_path: Path
) -> None:
    """Closed is the default: the append says what is wrong with the database and with the spool."""
    (tmp_path / "file").write_text("no folder")
    with AuditStore.open(impatient_url, spool_dir=tmp_path / "file") as store:
        with away(impatient_url), pytest.raises(NotRecordedError, match=r"locked.*spool.*Not a directory"):
            store.append(undecided(1))
        assert [(gap.reason, gap.missing) for gap in store._keeper._gaps.open] == [(GapReason.HELD_BACK, 1)]

        store.append(undecided(2))
        assert numbers(store) == [2]
        assert store._keeper._gaps.open == ()


def test_when_both_fail_open_lets_it_go_and_counts(
    impatient_url: str, undecided: RecordFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the operator chose it, checks go on; each is counted, and the log says so once."""
    (tmp_path / "file").write_text("no folder")
    with AuditStore.open(impatient_url, spool_dir=tmp_path / "file", fail_open=True) as store:
        with away(impatient_url):
            for number in range(3):
                store.append(undecided(number))
            assert [(gap.reason, gap.missing) for gap in store._keeper._gaps.open] == [(GapReason.LET_GO, 3)]

        assert caplog.text.count("entries are not recorded") == 1


def test_a_read_only_database_is_a_mistake_at_the_beginning_and_an_outage_later(
    database_url: str, undecided: RecordFactory, tmp_path: Path
) -> None:
    """A replica in the settings is said at once; one that a primary has become is waited out."""
    path = database_url.removeprefix("sqlite:///")
    with AuditStore.open(f"sqlite:///file:{path}?mode=ro&uri=true", spool_dir=tmp_path) as store:
        with pytest.raises(ReadOnlyDatabaseError, match="is read-only"):
            store.append(undecided())
        assert waits(store) == 0

        store._keeper._is_proven = True
        store.append(undecided())
        assert waits(store) == 1


@pytest.mark.postgres
def test_a_read_only_server_is_named(postgres_url: str, undecided: RecordFactory) -> None:
    """PostgreSQL's own refusal of what would write."""
    with AuditStore.open(postgres_url) as store:
        sa.event.listen(
            store._engine, "begin", lambda connection: connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        )
        with pytest.raises(ReadOnlyDatabaseError, match="is read-only"):
            store.append(undecided())


@pytest.mark.parametrize("revision", ["0004", "9999"])
def test_a_schema_that_moves_underneath(
    own_url: str,
    undecided: RecordFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    revision: str,
) -> None:
    """A program that runs on while the schema changes writes nothing into it, says why, and loses nothing."""
    monkeypatch.setattr(ledger, "ASK_AGAIN_S", 0.0)
    with AuditStore.open(own_url, spool_dir=tmp_path) as spooling, AuditStore.open(own_url) as bare:
        for number, store in enumerate([spooling, bare]):
            store.append(undecided(number))
        _set_revision(own_url, revision)

        with pytest.raises(SchemaRevisionError, match=f"is at revision {revision}"):
            bare.append(undecided(2))
        spooling.append(undecided(3))
        assert (numbers(bare), waits(spooling)) == ([0, 1], 1)

        _set_revision(own_url, tables.HEAD)
        soon(lambda: numbers(bare) == [0, 1, 3])


def _set_revision(url: str, revision: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        statement = sa.text("UPDATE railscribe_alembic_version SET version_num = :revision")
        connection.execute(statement, {"revision": revision})
    engine.dispose()


def test_a_spool_that_cannot_be_read_is_left_alone(
    any_store: AuditStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: Callable[..., list[Rows]]
) -> None:
    """A newer program's file waits for that program, and nothing of this one stops."""
    monkeypatch.setattr("railscribe.audit.spool.HEAD", "9999")
    spool = Spool(tmp_path, max_bytes=1_000_000)
    spool.append(entries(1))
    spool.close()
    monkeypatch.undo()
    keeper = Keeper(any_store._ledger, spool, fail_open=False)

    assert keeper.keep([entries(2)], "Appending") == [None]
    keeper.chores()
    assert numbers(any_store) == [2]
    with pytest.raises(SpoolError, match="revision 9999"):
        keeper.replay()
    assert [found.entries for found in waiting(tmp_path)] == [1]


def test_accepted_is_not_durable(any_url: str, undecided: RecordFactory, tmp_path: Path) -> None:
    """A caller who waits for less gets it: accepted returns while the database is still being waited for."""
    with AuditStore.open(any_url, spool_dir=tmp_path, wait_for=Stage.ACCEPTED) as store:
        with away(any_url):
            store.append(undecided(1))
            assert (numbers(store), waits(store)) == ([], 0)
        soon(lambda: numbers(store) == [1])


def test_sealed_waits_for_the_checkpoint(any_url: str, undecided: RecordFactory) -> None:
    """A caller who waits for sealed has a signed checkpoint over the record when the append returns."""
    with AuditStore.open(any_url, wait_for=Stage.SEALED) as store:
        store.append(undecided(1))

        found = store.select("""
            SELECT checkpoints.reason FROM entries
            JOIN segments ON segments.id = entries.segment_id
            JOIN checkpoints ON checkpoints.number = segments.checkpoint_number
        """)
        assert found[1] == [("requested",)]


def test_a_checkpoint_comes_when_nothing_happens(any_url: str, undecided: RecordFactory) -> None:
    """The chain goes on by the clock: whoever looks sees that the writer lives and that nothing was missing."""
    with AuditStore.open(any_url, seal_every_s=0.2) as store:
        store.append(undecided(1))

        count = "SELECT count(*) FROM checkpoints WHERE reason = 'scheduled'"
        soon(lambda: int(store.select(count)[1][0][0]) >= 3)

    with AuditStore.open(any_url) as store:
        assert store.select("SELECT reason FROM checkpoints ORDER BY number DESC LIMIT 1")[1] == [("closed",)]


def test_a_gap_is_on_record_with_how_many_and_why(impatient_url: str, undecided: RecordFactory) -> None:
    """What nobody took is one row as soon as anything can be written: how many, since when, until when, why."""
    with AuditStore.open(impatient_url) as store:
        store.append(undecided(0))
        with away(impatient_url):
            for number in range(1, 4):
                with pytest.raises(NotRecordedError):
                    store.append(undecided(number))
        store.append(undecided(4))

        columns, rows = store.select("SELECT * FROM gaps")
        gap = dict(zip(columns, rows[0], strict=True))
        assert len(rows) == 1
        assert (gap["count"], gap["cause"]) == (3, "held_back")
        assert "locked by another process" in str(gap["detail"])
        assert str(gap["since"]) < str(gap["until"]) < str(gap["at"])
        assert gap["writer"] == store._ledger.writer
        assert store.select("SELECT count(*) FROM entries WHERE kind = 'gap'")[1] == [(1,)]


def test_a_clock_that_is_set_back_is_on_record(
    any_url: str, undecided: RecordFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times repeat, and nothing else is wrong: entries keep their order, and the record says what happened."""
    with AuditStore.open(any_url) as store:
        store.append(undecided(1))
        monkeypatch.setattr("railscribe.audit.keeper.now", lambda: now() - timedelta(hours=1))
        store.append(undecided(2))

        ((count, detail, since, until),) = store.select("SELECT count, detail, since, until FROM gaps")[1]
        assert (count, detail[:12]) == (0, "Set back by ")
        assert str(since) < str(until)
        assert numbers(store) == [1, 2]


def test_a_lost_commit_goes_on_as_another_writer(
    any_store: AuditStore, entries: Callable[..., list[Rows]], tmp_path: Path
) -> None:
    """Nobody knows which places a commit took whose end was not heard of, so none of them is given twice."""
    any_store._keeper.keep([entries(1)], "Appending")
    first = any_store._ledger.writer

    def broken(connection: sa.Connection) -> None:
        connection.connection.commit()
        raise sa.exc.OperationalError(
            "COMMIT", {}, Exception("the connection broke"), connection_invalidated=True
        )

    sa.event.listen(any_store._engine, "commit", broken)
    keeper = Keeper(any_store._ledger, Spool(tmp_path / "spool", max_bytes=1_000_000), fail_open=False)
    assert keeper.keep([entries(2)], "Appending") == [None]
    sa.event.remove(any_store._engine, "commit", broken)
    while keeper._spool is not None and keeper._spool.own is not None:
        keeper.chores()
    assert keeper.keep([entries(3)], "Appending") == [None]

    assert any_store._ledger.writer != first
    places = any_store.select("SELECT segment_id, position FROM entries")[1]
    assert len(places) == len(set(places)) == 3
    assert any_store.select("SELECT reason, ends FROM checkpoints WHERE ends IS NOT NULL")[1] == [
        ("recovered", first)
    ]


def test_a_key_that_is_not_the_chains_is_said_at_once(
    any_url: str, undecided: RecordFactory, tmp_path: Path
) -> None:
    """A mistake in the settings does not fill the spool with entries that nobody can seal."""
    key, other = (keys.create(tmp_path / name) for name in ("key.pem", "other.pem"))
    with AuditStore.open(any_url, signing_key=key.path) as store:
        store.append(undecided(1))
    with (
        AuditStore.open(any_url, signing_key=other.path, spool_dir=tmp_path / "spool") as store,
        pytest.raises(SigningKeyError, match="The chain is signed with the key"),
    ):
        store.append(undecided(2))


def test_a_database_whose_disk_is_full_is_waited_out(
    database_url: str, undecided: RecordFactory, tmp_path: Path
) -> None:
    """What finds no room in the database is durable in the spool, and comes in when there is room again."""
    limit = ["PRAGMA max_page_count=1"]  # SQLite's own way of having no room: no fewer than are there
    with AuditStore.open(database_url, spool_dir=tmp_path) as store:
        store.append(undecided(0))
        store._engine.dispose()
        sa.event.listen(
            store._engine, "connect", lambda connection, _: [connection.execute(each) for each in limit]
        )
        big = undecided(1, exchange=Exchange(user="x" * 100_000))

        store.append(big)
        store.append(undecided(2))
        assert (numbers(store), waits(store)) == ([0], 2)

        limit.clear()
        store._engine.dispose()
        soon(lambda: numbers(store) == [0, 1, 2])
        assert store.record(big.id)["content"]["user"]["state"] == "intact"
