"""The spool's files: durable, locked, in order, and honest about damage."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from railscribe.audit import frames, spool
from railscribe.audit.database import parse_url
from railscribe.audit.rows import Rows, rows_of
from railscribe.audit.spool import Spool, SpoolFile, folder_for, set_aside, waiting
from railscribe.errors import SpoolError
from railscribe.values import Record

Entries = Callable[..., list[Rows]]


@pytest.fixture
def entries(undecided: Callable[..., Record]) -> Entries:
    """Makes the entries of the records with the given numbers."""

    def make(*numbers: int) -> list[Rows]:
        return [rows_of(undecided(number), retention_class="default", keep_chars=100) for number in numbers]

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the spool that does not exist yet."""
    return tmp_path / "spool"


@pytest.fixture
def own(folder: Path) -> Iterator[Spool]:
    """A spool in the folder."""
    opened = Spool(folder, max_bytes=1_000_000)
    yield opened
    opened.close()


@pytest.fixture
def take() -> Iterator[Callable[[Path], SpoolFile]]:
    """Takes a file that somebody left behind."""
    taken: list[SpoolFile] = []

    def take(path: Path) -> SpoolFile:
        file = SpoolFile.take(path)
        assert file is not None
        taken.append(file)
        return file

    yield take
    for file in taken:
        file.close()


Take = Callable[[Path], SpoolFile]


def ids(rows: list[Rows]) -> list[int]:
    return [int(each.id[-12:], 16) for each in rows]


def left_behind(folder: Path, some: list[Rows]) -> Path:
    """Leave a file with *some* behind, as a process that was killed would."""
    dead = Spool(folder, max_bytes=1_000_000)
    dead.append(some)
    assert dead.own is not None
    path = dead.own.path
    dead.close()
    return path


def test_what_was_spooled_is_read_in_order_and_then_forgotten(
    folder: Path, own: Spool, entries: Entries
) -> None:
    """Entries come back in batches, in the order of their writing, until the file is gone."""
    own.append(entries(1, 2, 3))
    own.append(entries(4))
    file = own.own
    assert file is not None

    assert ids(file.peek(3)) == [1, 2, 3]
    assert ids(file.peek(3)) == [1, 2, 3]  # until it is forgotten
    file.forget()
    own.append(entries(5))
    assert ids(file.peek(3)) == [4, 5]
    file.forget()
    assert file.is_read
    own.discard_own()

    assert list(folder.iterdir()) == []


def test_nobody_else_may_read_it(folder: Path, entries: Entries, take: Take) -> None:
    """The folder is its owner's alone, and so is every file: they hold content."""
    path = left_behind(folder, entries(1))
    taken = take(path)
    taken.refuse(entries(1)[0])

    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_a_file_whose_writer_lives_is_left_alone(folder: Path, own: Spool, entries: Entries) -> None:
    """Two processes never replay one file: its writer's lock keeps others away, and its death lets them in."""
    program = """
import os, pickle, signal, sys
from pathlib import Path
from railscribe.audit import frames
from railscribe.audit.spool import Spool
spool = Spool(Path(sys.argv[1]), max_bytes=10**6)
spool.append([frames.load(bytes.fromhex(sys.argv[2]))])
print("spooled", flush=True)
signal.pause()
"""
    payload = frames.dump(entries(7)[0]).hex()
    writer = subprocess.Popen([sys.executable, "-c", program, folder, payload], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"spooled\n"

    assert [(found.entries, found.in_use) for found in waiting(folder)] == [(1, True)]
    assert list(own.orphans()) == []
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=10)
    assert [(found.entries, found.in_use) for found in waiting(folder)] == [(1, False)]
    (orphan,) = own.orphans()
    assert list(Spool(folder, max_bytes=1).orphans()) == []  # now it is this one's
    assert ids(orphan.peek(10)) == [7]
    orphan.close()


def test_a_torn_tail_is_cut_and_kept_aside(folder: Path, entries: Entries, take: Take) -> None:
    """Half a frame at the end was never acknowledged: the rest is read, and a person can look at both."""
    path = left_behind(folder, entries(1, 2))
    with path.open("ab") as file:
        file.write(frames.framed(b"x" * 100)[:50])
    assert [(found.entries, found.torn_bytes) for found in waiting(folder)] == [(2, 50)]
    taken = take(path)

    assert ids(taken.peek(10)) == [1, 2]
    taken.forget()

    assert (taken.is_read, taken.torn_bytes, taken.damaged) == (True, 50, 0)
    taken.discard()
    assert [file.suffix for file in set_aside(folder)] == [".damaged", ".torn"]
    assert waiting(folder) == []


def test_damage_in_the_middle_is_counted(folder: Path, entries: Entries, take: Take) -> None:
    """An acknowledged entry that cannot be read any more is counted, and those behind it are read."""
    path = left_behind(folder, entries(1, 2, 3))
    data = bytearray(path.read_bytes())
    data[data.index(entries(2)[0].id.encode())] ^= 1
    path.write_bytes(data)
    assert [(found.entries, found.damaged) for found in waiting(folder)] == [(2, 1)]
    taken = take(path)

    assert ids(taken.peek(10)) == [1, 3]
    taken.forget()
    assert taken.damaged == 1
    taken.discard()
    assert [file.suffix for file in set_aside(folder)] == [".damaged"]


def test_an_empty_file_is_nothing(folder: Path) -> None:
    """A file that was made and never written to, and one that is no spool, hold no entries and do no harm."""
    folder.mkdir()
    for name, data in (("a.spool", b""), ("b.spool", b"something else entirely, and longer than a head")):
        (folder / name).write_bytes(data)

    assert [found.entries for found in waiting(folder)] == [0, 0]
    for orphan in Spool(folder, max_bytes=1).orphans():
        assert orphan.peek(10) == []
        orphan.close()


def test_a_newer_versions_file_waits_for_it(
    folder: Path, entries: Entries, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old program does not read what it may not understand: it says which revision, and leaves the file."""
    monkeypatch.setattr(spool, "HEAD", "9999")
    path = left_behind(folder, entries(1))
    monkeypatch.undo()
    taken = take(path)

    with pytest.raises(SpoolError, match="was written for revision 9999, newer than this version's"):
        taken.peek(10)
    assert path.exists()


def test_it_is_full_at_its_limit(folder: Path, entries: Entries) -> None:
    """Past its size the spool takes no more, whichever writer filled it; what is in it stays readable."""
    left_behind(folder, entries(*range(10)))
    own = Spool(folder, max_bytes=1000)

    with pytest.raises(SpoolError, match="is full"):
        own.append(entries(11))

    assert [found.entries for found in waiting(folder)] == [10]


@pytest.fixture
def limited_files() -> Iterator[Callable[[int], None]]:
    """Limits the size to which this process may let a file grow, as a quota or a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_leaves_no_half_entry(
    folder: Path, own: Spool, entries: Entries, limited_files: Callable[[int], None]
) -> None:
    """Where only half of a write is taken, that half is cut off, the error is named, and what was there stays."""
    own.append(entries(1))
    assert own.own is not None
    limited_files(own.own.size_bytes + 100)

    with pytest.raises(SpoolError, match="cannot be used"):
        own.append(entries(2, 3))

    limited_files(10_000_000)
    own.append(entries(4))
    assert [(found.entries, found.torn_bytes) for found in waiting(folder)] == [(2, 0)]
    assert ids(own.own.peek(10)) == [1, 4]


def test_a_flush_that_fails_is_a_failure(
    own: Spool, entries: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is acknowledged that the disk did not confirm."""
    own.append(entries(1))

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(SpoolError, match="Input/output error"):
        own.append(entries(2))
    monkeypatch.undo()

    assert own.own is not None
    assert ids(own.own.peek(10)) == [1]


def test_a_database_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """Two databases never share a folder, and the password in a URL decides nothing."""
    urls = [
        *("sqlite:///a.db", "sqlite:///b.db", "postgresql://u:secret@h/a", "postgresql://h/b"),
        "postgresql://h/a?options=-csearch_path%3Dother",
    ]

    folders = [folder_for(parse_url(url), tmp_path) for url in urls]

    assert len(set(folders)) == len(urls)
    assert folder_for(parse_url("postgresql://u:other@h/a"), tmp_path) == folders[2]
