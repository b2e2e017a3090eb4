"""Kills writers at random moments under load, and then asks the database for everything that was acknowledged.

    python benchmarks/kill_storm.py --kills 1000 --folder storm     # goes on where it was stopped
    python benchmarks/kill_storm.py --kills 10 --database sqlite

Several writers append to one database at once, each from eight tasks of an event loop, and tell this process of every
append that returned. Each is killed (SIGKILL) after a random while and replaced. Now and then another process locks
the database for longer than the writers wait, so that entries go to the spool; every fourth writer has no spool and
fails closed meanwhile. In the end a last writer brings in what lies in the spool, seals, and everything is checked:

1. *lost*: acknowledged, and not on record. 2. *doubled*: on record twice. 3. *refused aside*: by the database, when
the spool was replayed; *torn* are writes to the spool that a kill cut off, of which nobody had been told.
4. *unaccounted*: of what a writer reported as not recorded before a later append of its own returned, more than the
gaps on record say. 5. *failures*: what ``railscribe audit verify`` finds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import selectors
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from databases import DATABASES
from made_records import made_record

from railscribe.audit import AuditStore, database, keys
from railscribe.audit.spool import set_aside, waiting
from railscribe.audit.verify import verify_database
from railscribe.errors import AuditError, NotRecordedError

WRITERS = 3
TASKS = 8
LIVES_S = (0.0, 1.2)
DIES_EARLY = 0.2
"""So many draw their moment when they begin, the others when they have had their first append."""
OUTAGE_EVERY_S = (0.5, 4.0)
OUTAGE_S = (0.2, 1.5)


@dataclass(slots=True)
class _Child:
    """A writer under load, and what it said so far."""

    process: int
    pipe: int
    dies_at: float
    unread: bytes = b""
    is_doomed: bool = False
    refused: int = 0
    """Reported as not recorded, with nothing acknowledged since."""

    def settle_death(self) -> None:
        """Draw when it is killed, once."""
        if not self.is_doomed:
            self.is_doomed, self.dies_at = True, time.monotonic() + random.uniform(*LIVES_S)


@dataclass(slots=True)
class Tally:
    """What the storm has seen; kept in a file, so that it can go on."""

    kills: int = 0
    acknowledged: int = 0
    owed: int = 0
    """Not recorded, and the same writer wrote something later: a gap must say so."""
    refused: int = 0
    outages: int = 0
    errors: dict[str, int] = field(default_factory=dict)


class Storm:
    """One database, its writers, and what they said."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.spool_dir = folder / "spool"
        self.key = folder / "signing-key.pem"
        if not self.key.exists():
            keys.create(self.key)
        self._acknowledged = (folder / "acknowledged").open("a+b")
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._state = folder / "tally.json"
        self.tally = Tally(**json.loads(self._state.read_text())) if self._state.exists() else Tally()

    def run(self, kills: int) -> None:
        """Go on until *kills* writers have been killed in all."""
        outage_at, blocker = time.monotonic() + random.uniform(*OUTAGE_EVERY_S), 0
        number = self.tally.kills
        while self.tally.kills < kills or self._children:
            while len(self._children) < WRITERS and number < kills:
                self._start(number)
                number += 1
            now = time.monotonic()
            if now > outage_at:
                blocker = self._block(blocker)
                outage_at = now + random.uniform(*OUTAGE_EVERY_S)
            for child in [child for child in self._children.values() if now > child.dies_at]:
                self._kill(child)
            self._listen(0.005)
        _reap(blocker)

    def _start(self, number: int) -> None:
        reads, writes = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reads)
            load(self.url, None if number % 4 == 3 else self.spool_dir, self.key, writes)
        os.close(writes)
        child = _Child(process=process, pipe=reads, dies_at=time.monotonic() + 60)
        self._children[reads] = child
        self._selector.register(reads, selectors.EVENT_READ, child)

    def _block(self, last: int) -> int:
        _reap(last)
        process = os.fork()
        if process == 0:
            block(self.url, random.uniform(*OUTAGE_S))
        self.tally.outages += 1
        return process

    def _kill(self, child: _Child) -> None:
        os.kill(child.process, signal.SIGKILL)
        os.waitpid(child.process, 0)
        while self._hear(child):
            pass
        self._selector.unregister(child.pipe)
        os.close(child.pipe)
        del self._children[child.pipe]
        self.tally.kills += 1
        self._acknowledged.flush()
        self._state.write_text(json.dumps({name: getattr(self.tally, name) for name in Tally.__slots__}))
        if self.tally.kills % 50 == 0:
            print(f"  {self.tally.kills} kills, {self.tally.acknowledged} acknowledged", flush=True)

    def _listen(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            self._hear(key.data)

    def _hear(self, child: _Child) -> bool:
        data = os.read(child.pipe, 1 << 16)
        *lines, child.unread = (child.unread + data).split(b"\n")
        for line in lines:
            what, _, said = line.partition(b" ")
            if what == b"begun" and random.random() < DIES_EARLY:
                child.settle_death()
            elif what == b"begun":
                pass
            elif what == b"ack":
                child.settle_death()
                self._acknowledged.write(said + b"\n")
                self.tally.acknowledged += 1
                self.tally.owed += child.refused
                child.refused = 0
            elif what == b"refused":
                child.refused += 1
                self.tally.refused += 1
            else:
                self.tally.errors[line.decode()] = self.tally.errors.get(line.decode(), 0) + 1
        return bool(data)

    def check(self) -> dict[str, Any]:
        """Bring in what waits, and compare what is on record with what was acknowledged."""
        with AuditStore.open(self.url, spool_dir=self.spool_dir, signing_key=self.key) as store:
            store.append(made_record())
            replayed = store.replay()
        self._acknowledged.seek(0)
        acknowledged = [line.decode() for line in self._acknowledged.read().splitlines()]
        with AuditStore.open(self.url, spool_dir=self.spool_dir) as store:
            assert store.spool is not None
            folder = store.spool.folder
            counts = dict(store.select("SELECT id, count(*) FROM records GROUP BY id")[1])
            entries = dict(
                store.select("SELECT id, count(*) FROM entries WHERE kind = 'record' GROUP BY id")[1]
            )
            gaps = store.select('SELECT cause, sum("count") FROM gaps GROUP BY cause')[1]
        missing_by_cause = {str(cause): int(count) for cause, count in gaps}
        return {
            "kills": self.tally.kills,
            "outages": self.tally.outages,
            "acknowledged": len(acknowledged),
            "on_record": len(counts),
            "lost": sum(each not in counts for each in acknowledged),
            "doubled": sum(count > 1 for count in (*counts.values(), *entries.values())),
            "without_entry": sum(each not in entries for each in counts),
            "replayed_last": replayed,
            "still_waiting": sum(found.entries for found in waiting(folder)),
            "torn": len([path for path in set_aside(folder) if path.suffix == ".torn"]),
            "refused_aside": len([path for path in set_aside(folder) if path.suffix == ".refused"]),
            "not_recorded": self.tally.refused,
            "owed": self.tally.owed,
            "gaps": missing_by_cause,
            "unaccounted": max(0, self.tally.owed - missing_by_cause.get("held_back", 0)),
            "errors": self.tally.errors,
            **verified(self.url, self.key),
        }


def verified(url: str, key: Path) -> dict[str, Any]:
    """Return what ``railscribe audit verify`` says of the database at *url*."""
    report = verify_database(url, trusted=[keys.read_public(key)])
    return {
        "verified": report.records,
        "failures": [f"{failure.code}: {failure.says}" for failure in report.failures[:20]],
    }


def _impatient(url: str) -> str:
    database._POSTGRESQL_SETTINGS = database._POSTGRESQL_SETTINGS.replace("'5s'", "'100ms'")
    return f"{url}?timeout=0.1" if url.startswith("sqlite") else url


def load(url: str, spool_dir: Path | None, key: Path, pipe: int) -> None:
    """Be a writer that is going to be killed."""
    random.seed()

    def say(words: str) -> None:
        os.write(pipe, f"{words}\n".encode())

    async def task(store: AuditStore) -> None:
        while True:
            record = made_record(name=f"{os.getpid()}")
            try:
                await store.append_async(record)
            except NotRecordedError:
                say("refused")
            except AuditError as error:
                say(f"{type(error).__name__}: {error}")
            else:
                say(f"ack {record.id}")
            await asyncio.sleep(random.uniform(0, 0.02))

    async def tasks() -> None:
        with AuditStore.open(_impatient(url), spool_dir=spool_dir, signing_key=key) as store:
            say("begun")
            await asyncio.gather(*(task(store) for _ in range(TASKS)))

    try:
        asyncio.run(tasks())
    except BaseException as error:  # noqa: BLE001 - a child has nobody to raise to
        say(f"{type(error).__name__}: {error}")
    os._exit(1)


def block(url: str, seconds: float) -> None:
    """Hold the database's lock for a while."""
    engine = database.writing(database.open_engine(database.parse_url(url)))
    with contextlib.suppress(Exception), engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("LOCK TABLE records IN SHARE MODE"))
        time.sleep(seconds)
    os._exit(0)


def _reap(process: int) -> None:
    if process:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, 0)


@contextlib.contextmanager
def storm(name: str, folder: Path) -> Iterator[Storm]:
    """Give a storm over a database of the kind *name* in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    with DATABASES[name](folder) as new:
        yield Storm(new("storm"), folder)


def print_table(name: str, found: dict[str, Any]) -> None:
    """Print what was found on the database *name*."""
    print(f"{name}:")
    for what, value in found.items():
        print(f"  {what.replace('_', ' '):<16} {value if value != [] else 'none'}")


def is_well(found: dict[str, Any]) -> bool:
    """Return whether nothing was lost, doubled, unaccounted for or broken."""
    wrong = (
        "lost",
        "doubled",
        "without_entry",
        "still_waiting",
        "refused_aside",
        "unaccounted",
        "errors",
        "failures",
    )
    return not any(found[what] for what in wrong)


def _rage(name: str, raging: Storm, kills: int) -> bool:
    raging.run(kills)
    found = raging.check()
    print_table(name, found)
    return is_well(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--kills", type=int, default=1000, help="on each database, those of earlier runs included"
    )
    parser.add_argument("--database", choices=list(DATABASES))
    parser.add_argument(
        "--url", help="of one database that is there, for its spool and key to lie in the folder"
    )
    parser.add_argument("--folder", type=Path, help="kept, and gone on with; else a temporary one")
    asked = parser.parse_args()
    logging.disable()
    well = True
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = (asked.folder or Path(temporary)).absolute()
        if asked.url:
            well = _rage(asked.url, Storm(asked.url, folder), asked.kills)
        for name in [] if asked.url else [asked.database] if asked.database else DATABASES:
            with storm(name, folder / name) as raging:
                well &= _rage(name, raging, asked.kills)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
