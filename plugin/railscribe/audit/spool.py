"""The spool: where entries are durable while the database is away.

Rules

1. A folder holds the files of one database; each writer has a file of its own, mode 0600, and holds a lock on it
   for as long as it lives. Whoever gets the lock of a file that is not theirs may replay it: its writer is dead.
2. Writing returns when the frames are flushed to the disk. What cannot be written whole is cut off again.
3. Entries are read in the order in which they were written. What was read is forgotten by deleting the file, once
   all of it is in the database; a crash before that has it replayed again, and the database knows its entries.
4. A torn tail is cut and reported; damaged frames are counted. A file that had either is kept aside, renamed to
   ``*.damaged``, and so is one with entries that the database refuses, ``*.refused``: a person has to look.
5. Nothing here is encrypted: the folder holds what the database would hold, content included.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from sqlalchemy.engine import URL
from typing_extensions import Self

from railscribe.audit.database import place
from railscribe.audit.frames import dump, framed, frames, head, load, revision_of
from railscribe.audit.rows import Rows
from railscribe.audit.tables import HEAD
from railscribe.errors import SpoolError

try:
    import fcntl
except ImportError:  # without locks two processes would replay one file, so there is no spool
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

_NAME = "*.spool"
_SURELY_DEAD_S = 3600.0


def folder_for(url: URL, spool_dir: Path) -> Path:
    """Return where the entries of the database at *url* wait: a folder of *spool_dir* of its own."""
    where = place(url) + str(url.query.get("options", "") if url.drivername != "sqlite" else "")
    if url.drivername == "sqlite":
        where = str(Path(where).absolute())
    return spool_dir / hashlib.sha256(where.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What waits in one file."""

    file: Path
    entries: int
    oldest: datetime | None
    size_bytes: int
    revision: str | None
    """Which its rows were made for; ``None`` where the file cannot be read."""
    damaged: int
    """Frames whose sum is wrong."""
    torn_bytes: int
    """Behind the last whole frame; while its writer lives, perhaps one that is just being written."""
    in_use: bool
    """Its writer lives, and will replay it itself."""


class SpoolFile:
    """One file of frames, locked for whoever holds this (rule 1). Not for several threads."""

    def __init__(self, path: Path, file: BinaryIO, end: int) -> None:
        self.path = path
        self.damaged = 0
        self.torn_bytes = 0
        self.odd = False
        """Whether a person has to look at it (rule 4)."""
        self._file = file
        self._end = end
        self._read_to = 0
        self._next = 0
        self._next_damaged = 0

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Make a new file in *folder*, and the folder where it is missing.

        Raises:
            SpoolError: it cannot be made.
        """
        _require_locks()
        name = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%f}-{os.getpid()}-{secrets.token_hex(4)}"
        path, hidden = folder / f"{name}.spool", folder / f"{name}.new"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.fdopen(os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "r+b", buffering=0)
        except OSError as error:
            raise _failed(folder, error) from error
        made = cls(path, file, 0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            made._write(framed(head(HEAD)))
            hidden.rename(path)  # only now can others see it, and it is locked
            _flush_folder(folder)
        except (OSError, SpoolError) as error:
            file.close()
            for left in (hidden, path):
                with suppress(OSError):
                    left.unlink()
            raise error if isinstance(error, SpoolError) else _failed(folder, error) from error
        return made

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Open the file at *path* whose writer is dead; ``None`` where it lives, or another took it.

        Raises:
            SpoolError: it cannot be read.
        """
        _require_locks()
        try:
            file = path.open("r+b", buffering=0)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed(path.parent, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        found = os.fstat(file.fileno())
        if found.st_nlink == 0:  # replayed and deleted between finding it and locking it
            file.close()
            return None
        return cls(path, file, found.st_size)

    def append(self, entries: Sequence[Rows]) -> None:
        """Make *entries* durable, all or none (rule 2).

        Raises:
            SpoolError: they could not be written, or another disk error came before them.
        """
        self._write(b"".join(framed(dump(rows)) for rows in entries))

    @property
    def size_bytes(self) -> int:
        """How much has been written to it."""
        return self._end

    @property
    def is_read(self) -> bool:
        """Whether nothing waits in it that :meth:`forget` was not told about."""
        return self._read_to >= self._end

    def peek(self, limit: int) -> list[Rows]:
        """Return the next entries, at most *limit*, without taking them off (rules 3 and 4).

        Raises:
            SpoolError: the file cannot be read, or a newer version wrote it for a schema that this one does not know.
        """
        found: list[Rows] = []
        try:
            self._next, self._next_damaged = self._read_to, 0
            for frame in frames(self._file, self._read_to, self._end):
                is_head, self._next = self._next == 0, frame.end
                if is_head:
                    self._check_head(frame.payload)
                    continue
                try:
                    found.append(load(frame.payload or b""))
                except ValueError:
                    self._next_damaged += 1
                if len(found) == limit:
                    break
            else:
                self._cut_tail()
        except OSError as error:
            raise _failed(self.path.parent, error) from error
        return found

    def forget(self) -> None:
        """Take off what :meth:`peek` returned last: it is in the database."""
        self._read_to = self._next
        if self._next_damaged:
            self.damaged += self._next_damaged
            self.odd = True
            logger.error("%s damaged entries in the spool file %s", self._next_damaged, self.path.name)

    def refuse(self, rows: Rows) -> None:
        """Keep aside *rows*, which the database refuses (rule 4).

        Raises:
            SpoolError: they cannot be written.
        """
        path = self.path.with_suffix(".refused")
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(number, "wb") as file:
                if not path.stat().st_size:
                    file.write(framed(head(HEAD)))
                file.write(framed(dump(rows)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _failed(path.parent, error) from error

    def discard(self) -> None:
        """Let go of a file that is read to its end: deleted, or kept aside (rules 3 and 4)."""
        with suppress(OSError):
            if self.odd:
                self.path.rename(self.path.with_suffix(".damaged"))
            else:
                self.path.unlink()
        self.close()

    def close(self) -> None:
        """Let go of the file and its lock; what waits in it waits for the next who comes."""
        with suppress(OSError):
            self._file.close()

    def _check_head(self, payload: bytes | None) -> None:
        revision = revision_of(payload)
        if revision is not None and revision > HEAD:
            raise SpoolError(
                f"The spool file {self.path.name} was written for revision {revision}, newer than this version's "
                f"{HEAD}.",
                hint="Upgrade Railscribe: pip install --upgrade railscribe",
            )
        self.odd |= revision is None

    def _cut_tail(self) -> None:
        torn = self._end - self._next
        if torn:
            logger.error("a torn tail of %s bytes cut from the spool file %s", torn, self.path.name)
            self.torn_bytes += torn
            self.odd = True
            kept = self.path.with_suffix(".torn")
            self._file.seek(self._next)
            with suppress(OSError):
                kept.touch(mode=0o600)
                kept.write_bytes(self._file.read(torn))
            os.ftruncate(self._file.fileno(), self._next)
            self._end = self._next

    def _write(self, data: bytes) -> None:
        number = self._file.fileno()
        try:
            os.lseek(number, self._end, os.SEEK_SET)
            left = memoryview(data)
            while left:
                left = left[os.write(number, left) :]
            os.fsync(number)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(number, self._end)
            raise _failed(self.path.parent, error) from error
        self._end += len(data)


class Spool:
    """The spool of one database, as one writer sees it."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._own: SpoolFile | None = None

    @property
    def own(self) -> SpoolFile | None:
        """The writer's own file, where something waits in it."""
        return self._own

    def append(self, entries: Sequence[Rows]) -> None:
        """Make *entries* durable in the writer's own file, all or none.

        Raises:
            SpoolError: the spool is full, or cannot be written to.
        """
        if self.size_bytes() >= self._max_bytes:
            raise SpoolError(f"The spool in {self.folder} is full ({self._max_bytes // 1_000_000} MB).")
        fresh = self._own is None
        own = self._own or SpoolFile.create(self.folder)
        try:
            own.append(entries)
        except SpoolError:
            if fresh:
                own.discard()
            raise
        self._own = own

    def size_bytes(self) -> int:
        """Return how much the folder holds, of all its writers."""
        total = 0
        with suppress(OSError):
            for path in self.folder.iterdir():
                with suppress(OSError):
                    total += path.stat().st_size
        return total

    def discard_own(self) -> None:
        """Let go of the writer's own file, all of which is in the database."""
        if self._own is not None:
            self._own.discard()
            self._own = None

    def orphans(self) -> Iterator[SpoolFile]:
        """Yield the files of writers that are dead, the oldest first, locked."""
        own = self._own.path if self._own else None
        _sweep(self.folder)
        for path in sorted(self.folder.glob(_NAME)):
            if path != own:
                taken = SpoolFile.take(path)
                if taken is not None:
                    yield taken

    def close(self) -> None:
        """Let go of the writer's own file; what waits in it waits for the next who comes."""
        if self._own is not None:
            self._own.close()
            self._own = None


def _sweep(folder: Path) -> None:
    """Remove what was left by those that died while they made a file: nothing was written to it yet."""
    with suppress(OSError):
        for path in folder.glob("*.new"):
            if time.time() - path.stat().st_mtime > _SURELY_DEAD_S:
                path.unlink()


def waiting(folder: Path) -> list[Waiting]:
    """Return what waits in *folder*, by file, the oldest first. Takes no lock that it keeps.

    Raises:
        SpoolError: a file cannot be read.
    """
    return [found for path in sorted(folder.glob(_NAME)) if (found := _look(path)) is not None]


def set_aside(folder: Path) -> list[Path]:
    """Return the files in *folder* that a person has to look at (rule 4)."""
    return sorted(path for ending in ("damaged", "refused", "torn") for path in folder.glob(f"*.{ending}"))


def _look(path: Path) -> Waiting | None:
    revision, oldest = None, None
    entries = damaged = end = 0
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            for frame in frames(file, 0, size):
                if end == 0:
                    revision = revision_of(frame.payload)
                else:
                    try:
                        at = load(frame.payload or b"").at
                        oldest, entries = min(oldest or at, at), entries + 1
                    except ValueError:
                        damaged += 1
                end = frame.end
            in_use = not _lockable(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failed(path.parent, error) from error
    return Waiting(
        file=path,
        entries=entries,
        oldest=oldest,
        size_bytes=size,
        revision=revision,
        damaged=damaged,
        torn_bytes=size - end,
        in_use=in_use,
    )


def _lockable(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


def _flush_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _require_locks() -> None:
    if fcntl is None:
        raise SpoolError("This system has no file locks that the spool can use.")


def _failed(folder: Path, error: OSError) -> SpoolError:
    return SpoolError(f"The spool in {folder} cannot be used ({error.strerror or type(error).__name__}).")
