"""Gives entries their places in segments, and seals segments under signed checkpoints.

    with sealer.tentative():                        # one transaction that writes
        with engine.begin() as connection:
            sealer.enter(connection, now)           # before anything else
            rows_of_entries = [sealer.place(rows) for rows in batch]
            ...                                     # insert them first, then their evidence
    made = sealer.take_made()                       # committed: these checkpoints may be anchored

Rules

1. A sealer belongs to one thread, or is used under one lock. Its places are those of committed entries: what fails is
   undone in memory, too (:meth:`Sealer.tentative`).
2. A writer has one open segment for each retention class and month. Whatever is in them when a checkpoint is made is
   sealed by it, and the next entry begins a new segment.
3. A transaction that seals does so before it inserts anything: all writers take the chain's lock first and other
   locks after it, so none waits in a circle.
4. The chain has one lock for all writers. Each new checkpoint is made upon the last one in the database, which must
   still descend from the last one this writer knew.
5. A writer that was killed is brought to its end by the next that comes: its entries are sealed as they lie. It is
   dead when its process is gone from this machine, or when it was silent five times as long as it promised. Should it
   live after all, the database refuses its entries into sealed segments, and it begins anew. So is one that the own
   process gave up (*left*): it knows that nothing more will come of it.
6. Evidence from before there was a chain is taken in before the first ``opened``, and never after.
"""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any

import sqlalchemy as sa

from railscribe.audit import keys, tables
from railscribe.audit.chain.checkpoint import Checkpoint, Reason, SealedSegment, body_of, read
from railscribe.audit.chain.merkle import Tree, leaf_hash
from railscribe.audit.contents import Row, iso
from railscribe.audit.leftovers import class_of, dead_writers, entries_left, older_evidence, silence_s
from railscribe.audit.locks import take_chain
from railscribe.audit.rows import Rows, railscribe_version
from railscribe.audit.stored import Stored, bytes_of
from railscribe.errors import AuditError, ChainError, SigningKeyError

SEGMENT = 10_000
"""Entries in one segment, at most."""


@dataclass(slots=True, kw_only=True)
class _Open:
    """A segment that still takes entries, or waits full for its checkpoint."""

    id: str
    number: int
    retention_class: str
    month: str
    tree: Tree = field(default_factory=Tree)


@dataclass(slots=True, kw_only=True)
class _State:
    """All that a failed transaction must leave as it was."""

    writer: str
    is_open: bool = False
    is_known: bool = False
    """Whether the chain names this writer."""
    segments: dict[tuple[str, str], _Open] = field(default_factory=dict)
    full: list[_Open] = field(default_factory=list)
    next_number: int = 0
    sealed_at: datetime | None = None
    head: tuple[int, str] | None = None
    """Number and hash of the last checkpoint seen."""
    made: list[Checkpoint] = field(default_factory=list)

    def copy(self) -> _State:
        segments = {key: replace(some, tree=some.tree.copy()) for key, some in self.segments.items()}
        return replace(self, segments=segments, full=list(self.full), made=list(self.made))


class Sealer:
    """One writer's place in the chain."""

    def __init__(
        self,
        key: keys.SigningKey,
        writer_id: str | None = None,
        *,
        seal_every_s: float = 60.0,
        left: Sequence[str] = (),
        tell: Callable[[], Any] = lambda: None,
    ) -> None:
        """*tell* gives what failed of anchoring since it was last asked, for the next checkpoint to say."""
        self.key = key
        self._tell = tell
        self._lost: str | None = None
        """The key that was lost, while its successor takes over."""
        self.seal_every_s = seal_every_s
        self._left = left
        self._state = _State(writer=writer_id or new_writer_id())

    @property
    def writer_id(self) -> str:
        """This writer's name in the chain."""
        return self._state.writer

    @property
    def is_open(self) -> bool:
        """Whether this writer has begun and not ended."""
        return self._state.is_open

    @property
    def open_segments(self) -> list[str]:
        """The segments that have entries and no checkpoint yet."""
        return [some.id for some in self._unsealed()]

    @contextmanager
    def tentative(self) -> Iterator[None]:
        """Undo in memory what happens inside where it ends in an exception (rule 1)."""
        before = self.snapshot()
        try:
            yield
        except BaseException:
            self.restore(before)
            raise

    def snapshot(self) -> object:
        """Return what :meth:`restore` takes."""
        return self._state.copy()

    def restore(self, snapshot: object) -> None:
        """Be again as when *snapshot* was taken, once."""
        assert isinstance(snapshot, _State)  # noqa: S101 - of our own making
        self._state = snapshot

    def take_made(self) -> list[Checkpoint]:
        """Return the checkpoints made since the last call. Call it when they are committed."""
        made, self._state.made = self._state.made, []
        return made

    def due(self, now: datetime) -> bool:
        """Return whether a checkpoint should be made: time is up, the clock was set back, or a segment is full."""
        at = self._state.sealed_at
        if at is None or self._state.full:
            return self._state.is_open
        return not at <= now < at + timedelta(seconds=self.seal_every_s)

    def due_s(self, now: datetime) -> float:
        """Return after how many seconds one is due."""
        at = self._state.sealed_at
        if at is None or self.due(now):
            return 0.0
        return (at + timedelta(seconds=self.seal_every_s) - now).total_seconds()

    def enter(self, connection: sa.Connection, now: datetime) -> None:
        """Do what comes before entries are placed: begin or go on as this writer, and seal what is due (rule 3).

        Raises:
            SigningKeyError: the chain is signed with another key.
            ChainError: the chain has lost what this writer saw of it.
        """
        state = self._state
        if state.is_open and self._has_been_ended(connection, now):
            self._state = state = _State(writer=new_writer_id(), head=state.head, made=state.made)
        if not state.is_open:
            if state.sealed_at is not None:  # it has ended, and its name with it
                self._state = _State(writer=new_writer_id(), head=state.head, made=state.made)
            take_chain(connection)
            self.recover(connection, now)
            self._state.is_open = True
            self.seal(connection, Reason.OPENED, now)
        elif self.due(now):
            self.seal(connection, Reason.SCHEDULED, now)

    def place(self, rows: Rows, stored: Stored | None = None) -> Row:
        """Return the row of ``entries`` for *rows*, in canonical form, in a transaction that was entered.

        Their rows in canonical form may be at hand.

        Raises:
            AuditError: a value in it is no finite number.
        """
        try:
            data = bytes_of(rows, stored)
        except ValueError:
            raise AuditError("A number in it is not a number, and cannot be kept.") from None
        at = iso(rows.at.astimezone(timezone.utc))
        placed = self._place(leaf_hash(data), at, tables.storable(rows.retention_class))
        return {"at": at, "kind": rows.kind.value, "id": tables.storable(rows.id), **placed}

    def _place(self, leaf: bytes, at: str, retention_class: str) -> Row:
        """Give *leaf* its place among entries of its class and month (rule 2)."""
        state, key = self._state, (retention_class, at[:7])
        segment = state.segments.get(key)
        if segment is None or segment.tree.count >= SEGMENT:
            if segment is not None:
                state.full.append(segment)
            segment = state.segments[key] = _Open(
                id=f"{state.writer}.{state.next_number}",
                number=state.next_number,
                retention_class=retention_class,
                month=at[:7],
            )
            state.next_number += 1
        position = segment.tree.count
        segment.tree.add(leaf)
        return {"segment_id": segment.id, "position": position, "leaf": leaf.hex()}

    def seal(self, connection: sa.Connection, reason: Reason, now: datetime, **more: Any) -> Checkpoint:
        """Make a checkpoint over all that is unsealed, before anything else in its transaction (rule 3).

        Raises:
            SigningKeyError: the chain is signed with another key.
            ChainError: the chain has lost what this writer saw of it.
        """
        if reason is Reason.CLOSED:
            more["ends"] = self._state.writer
        made = self._link(connection, reason, now, self._unsealed(), self._state.writer, **more)
        self._state.segments.clear()
        self._state.full.clear()
        self._state.sealed_at = now
        if reason is Reason.CLOSED:
            self._state.is_open = False
        return made

    def hand_over(
        self, connection: sa.Connection, new: keys.SigningKey, now: datetime, *, lost: bool = False
    ) -> None:
        """Have *new* sign from the next checkpoint on, named by this key, or in spite of it where it is *lost*.

        Raises:
            SigningKeyError: this key is not the one that signs now.
        """
        more: dict[str, Any] = {"next_key": {"id": new.id, "public_key": new.public.hex()}}
        if lost:
            take_chain(connection)
            last = self._last(connection)
            more["lost_key"] = self._lost = signs_next(last) if last else None
            self.key = new
        else:
            self.enter(connection, now)
            connection.execute(sa.insert(tables.signing_keys), key_row(new))
        self.seal(connection, Reason.ROTATED, now, **more)
        self._lost = None
        self.key = new
        self.seal(connection, Reason.CLOSED, now)

    def _unsealed(self) -> list[_Open]:
        return sorted([*self._state.full, *self._state.segments.values()], key=lambda some: some.number)

    def _link(
        self,
        connection: sa.Connection,
        reason: Reason,
        now: datetime,
        segments: list[_Open],
        of: str,
        **more: Any,
    ) -> Checkpoint:
        """Add a link to the chain, sealing *segments* of writer *of* (rule 4)."""
        take_chain(connection)
        last = self._last(connection)
        self._require_key(last)
        if not self._state.is_known:
            more["opens"] = self._introduce(connection, now)
        number = last["number"] + 1 if last else 1
        sealed = [
            SealedSegment(
                id=some.id,
                retention_class=some.retention_class,
                month=some.month,
                count=some.tree.count,
                root=some.tree.root().hex(),
            )
            for some in segments
        ]
        body = body_of(
            {
                "number": number,
                "previous": last["hash"] if last else None,
                "at": iso(now),
                "writer": self._state.writer,
                "reason": reason.value,
                "segments": [some.as_json() for some in sealed],
                "gaps": connection.execute(sa.select(sa.func.count()).select_from(tables.gaps)).scalar_one(),
                "key": self.key.id,
                "anchor_failures": self._tell(),
                **more,
            }
        )
        made = self.key.sign(body)
        connection.execute(
            sa.insert(tables.checkpoints),
            {
                "number": number,
                "at": now,
                "writer": self._state.writer,
                "reason": reason.value,
                "ends": more.get("ends"),
                "key_id": self.key.id,
                "hash": made.hash,
                "body": body,
                "signature": made.signature,
            },
        )
        rows = [
            {
                "id": some.id,
                "writer": of,
                "number": some.number,
                "retention_class": some.retention_class,
                "month": some.month,
                "entry_count": some.tree.count,
                "root": some.tree.root().hex(),
                "checkpoint_number": number,
            }
            for some in segments
        ]
        if rows:
            connection.execute(sa.insert(tables.segments), rows)
        self._state.head = (number, made.hash)
        self._state.made.append(made)
        return made

    def _last(self, connection: sa.Connection) -> Row | None:
        """Return the last checkpoint, upon which the next is made (rule 4)."""
        checkpoints, last = tables.checkpoints, last_checkpoint(connection)
        if self._state.head is not None:
            number, known = self._state.head
            seen = sa.select(checkpoints.c.hash).where(checkpoints.c.number == number)
            if connection.execute(seen).scalar() != known:
                raise ChainError(
                    f"Checkpoint {number}, which this writer saw, is not in the chain any more.",
                    hint="Somebody took it out or changed it: compare with a backup and with the anchors.",
                )
        return last

    def _require_key(self, last: Row | None) -> None:
        """Check that the next checkpoint is this key's to sign; look whether the key's file was rotated."""
        if last is None:
            return
        expected = signs_next(last)
        if expected == self._lost:
            return
        if self.key.id != expected:
            self.key = keys.load(self.key.path)
        if self.key.id != expected:
            raise SigningKeyError(
                f"The chain is signed with the key {expected}, and the one at {self.key.path} is {self.key.id}.",
                hint="Put the chain's key in its place; if it is lost: railscribe audit key rotate --lost.",
            )

    def _introduce(self, connection: sa.Connection, now: datetime) -> dict[str, Any]:
        """Make this writer and its key known; return what its first checkpoint says of it."""
        there = sa.select(tables.signing_keys.c.id).where(tables.signing_keys.c.id == self.key.id)
        if connection.execute(there).first() is None:
            connection.execute(sa.insert(tables.signing_keys), key_row(self.key))
        row = {
            "host": platform.node(),
            "pid": os.getpid(),
            "quiet_s": self._quiet_s(),
            "railscribe_version": railscribe_version(),
        }
        connection.execute(sa.insert(tables.writers), {"id": self._state.writer, "opened_at": now, **row})
        self._state.is_known = True
        return {**row, "opened_at": iso(now)}

    def _quiet_s(self) -> int:
        return max(1, round(self.seal_every_s))

    def _has_been_ended(self, connection: sa.Connection, now: datetime) -> bool:
        """Return whether another took this writer for dead (rule 5): it can only be after a long silence."""
        at = self._state.sealed_at
        if at is None or abs((now - at).total_seconds()) < silence_s(self._quiet_s()) / 2:
            return False
        query = sa.select(tables.checkpoints.c.number).where(tables.checkpoints.c.ends == self._state.writer)
        return connection.execute(query).first() is not None

    def adopt(self, connection: sa.Connection, now: datetime, *, limit: int = SEGMENT) -> int:
        """Take up to *limit* pieces of evidence from before there was a chain into segments (rule 6); return how many.

        In a transaction of its own, again and again until there are none.
        """
        take_chain(connection)
        entries = []
        for row, data in islice(older_evidence(connection, limit), limit):
            retention_class = class_of(connection, row)
            entries.append({**row, **self._place(leaf_hash(data), iso(row["at"]), retention_class)})
        if entries:
            connection.execute(sa.insert(tables.entries), entries)
            self.seal(connection, Reason.ADOPTED, now)
        return len(entries)

    def recover(self, connection: sa.Connection, now: datetime) -> int:
        """Bring writers to their end that died before they could (rule 5); return how many."""
        take_chain(connection)
        dead = dead_writers(connection, now, self._left)
        for writer in dead:
            segments = [self._as_it_lies(connection, *left) for left in entries_left(connection, writer)]
            self._link(connection, Reason.RECOVERED, now, segments, writer, ends=writer)
        return len(dead)

    @staticmethod
    def _as_it_lies(connection: sa.Connection, segment_id: str, rows: list[Row]) -> _Open:
        segment = _Open(
            id=segment_id,
            number=int(segment_id.rpartition(".")[2]),
            retention_class=class_of(connection, rows[0]),
            month=iso(rows[0]["at"])[:7],
        )
        for row in rows:
            segment.tree.add(bytes.fromhex(row["leaf"]))
        return segment


def new_writer_id() -> str:
    """Return a name that no other writer has."""
    return secrets.token_hex(6)


def key_row(key: keys.SigningKey) -> Row:
    """Return the row of ``signing_keys`` for *key*."""
    return {"id": key.id, "public_key": key.public.hex()}


def last_checkpoint(connection: sa.Connection) -> Row | None:
    """Return the row of the chain's last checkpoint, if it has begun."""
    checkpoints = tables.checkpoints
    query = sa.select(checkpoints).order_by(checkpoints.c.number.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return dict(row) if row else None


def signs_next(last: Row) -> str:
    """Return the key that must sign the checkpoint after *last*."""
    said = read(last["body"])
    return str(said["next_key"]["id"] if "next_key" in said else said["key"])
