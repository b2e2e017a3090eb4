"""Verifies an audit database, live or a backup, without changing it: is what lies there what was attested?

    report = verify_database("sqlite:///railscribe.db", trusted=[read_public(path)])
    assert report.ok, report.failures

Rules

1. Everything that is there is checked in one snapshot: every checkpoint and its link to the one before, every
   segment's root, every entry's leaf anew from its evidence, every shared row's digest, every content's commitment;
   and that nothing lies there beside it.
2. Nothing is believed because the database says so, but for the first key where the caller names none.
3. Memory does not grow with the number of records.
4. Every failure names its place, and none ends the verification.
5. What is gone is explained by what is attested (an erasure, a prune), or by the caller, who knows that it was never
   brought along; else it is a failure.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from railscribe.audit import tables
from railscribe.audit.chain.links import Links
from railscribe.audit.chain.merkle import Tree, leaf_hash
from railscribe.audit.completeness import Sessions, prunes_of, told_of
from railscribe.audit.database import open_engine, parse_url, reading, translated
from railscribe.audit.evidence import KINDS, Database, Key, bytes_of_rows, without_entry
from railscribe.audit.findings import Report
from railscribe.audit.revision import require_head
from railscribe.audit.rows import OPERATIONS
from railscribe.audit.shared import Shared
from railscribe.audit.stored import time_for
from railscribe.audit.vouching import check_contents
from railscribe.audit.walking import Expected, Found, Slice, Walk, content_beside, find_beside, set_up
from railscribe.errors import AuditError

Progress = Callable[[int, int], None]
"""Told how many entries are done, of how many."""

_CHECKPOINT = ("number", "writer", "reason", "ends", "key_id", "hash", "body", "signature")
_SEGMENT = ("id", "writer", "number", "retention_class", "month", "entry_count", "root", "checkpoint_number")
_OF_RECORD = ("record", "late_trace")
_KEYS = 4096  # of subjects, whose state is remembered
LONGEST = 10_000
"""Entries in a segment, at most: what says that it has more is no segment of ours."""


def verify_database(
    url: str,
    *,
    trusted: Sequence[bytes] = (),
    anchors: Sequence[Path] = (),
    progress: Progress | None = None,
    is_part: bool = False,
    left_out: Collection[str] = (),
) -> Report:
    """Verify the database at *url*, its keys by those that are *trusted*, its end by *anchors*.

    Of a part, entries that are not there are no failure. Of the tables *left_out* nothing was brought along.

    Raises:
        SchemaRevisionError: it does not exist or is at another revision.
        AuditError: it, or an anchor, cannot be read.
    """
    parsed = parse_url(url)
    engine = open_engine(parsed)
    snapshot = reading(engine)
    if engine.dialect.name == "postgresql":
        snapshot = snapshot.execution_options(isolation_level="REPEATABLE READ")
    try:
        with translated(parsed, "Verifying"), snapshot.begin() as connection:
            return verify(
                connection,
                parsed,
                trusted=trusted,
                anchors=anchors,
                progress=progress,
                is_part=is_part,
                left_out=left_out,
            )
    finally:
        engine.dispose()


def verify(
    connection: sa.Connection,
    url: URL,
    *,
    trusted: Sequence[bytes] = (),
    anchors: Sequence[Path] = (),
    progress: Progress | None = None,
    is_part: bool = False,
    left_out: Collection[str] = (),
) -> Report:
    """Verify the database of *connection*, in its transaction."""
    require_head(connection, url)
    set_up(connection)
    verifier = _Verifier(Database(connection), trusted, progress, is_part=is_part, left_out=left_out)
    return verifier.run(anchors)


class _Verifier:
    def __init__(
        self,
        database: Database,
        trusted: Sequence[bytes],
        progress: Progress | None,
        *,
        is_part: bool,
        left_out: Collection[str],
    ) -> None:
        self._is_part = is_part
        self._gone = "left_out" if tables.contents.name in left_out else "missing"
        self._has_keys = tables.subject_keys.name not in left_out
        self._key_state = lru_cache(_KEYS)(self._ask_key_state)
        self._database = database
        self._report = Report(trust="given" if trusted else "database")
        self._progress = progress or (lambda done, total: None)
        self._walk = Walk(database)
        self._sessions = Sessions(database, self._report)
        self._links = Links(tell=self._report.add, keys=self._sessions.keys(), trusted=trusted)
        self._shared = Shared(database, self._report)
        self._pruned = 0

    def run(self, anchors: Sequence[Path]) -> Report:
        report = self._report
        ((total,),) = self._database.rows("SELECT count(*) FROM entries")
        done = 0
        tree, segment_is_whole = Tree(), True
        for batch in self._walk.go(self._segments()):
            for part, found in batch:
                if part.start == 0:
                    tree, segment_is_whole = Tree(), True
                segment_is_whole &= self._take(part, found, tree)
                if part.stop == part.segment.count and segment_is_whole:
                    self._check_root(part.segment, tree)
                done += len(found)
            self._progress(done, total)
        self._links.finish()
        self._look_beside()
        self._shared.finish()
        for path in anchors:
            self._check_anchor(path)
        report.keys = sorted(self._links.named)
        report.checked["segments_pruned"] = self._pruned
        report.checked["signatures"] = sum(self._links.signed.values())
        report.told = told_of(self._database, self._sessions, self._links)
        report.told["prunes"] = prunes_of(self._database)
        return report

    def _segments(self) -> Iterator[Expected]:
        """Yield what the chain says of segments, checking its links on the way; then those that are not sealed."""
        rows = self._segment_rows()
        waiting = next(rows, None)
        at = self._database.time("at")
        sql = f"SELECT {at}, {', '.join(_CHECKPOINT)} FROM checkpoints ORDER BY number"  # noqa: S608
        for when, *values in self._database.stream(sql):
            row = dict(zip(_CHECKPOINT, values, strict=True))
            row["at"] = self._time(when)
            row["body"] = row["body"] if isinstance(row["body"], str) else repr(row["body"])
            self._report.checked["checkpoints"] += 1
            said = self._links.take(row)
            there = {}
            while waiting is not None and waiting["checkpoint_number"] <= row["number"]:
                there[waiting["id"]] = waiting
                waiting = next(rows, None)
            if said is not None:
                self._sessions.take(said)
                yield from self._sealed(said, there)
        while waiting is not None:
            self._unnamed(waiting)
            waiting = next(rows, None)
        for segment_id, count in self._sessions.unsealed():
            yield Expected(id=segment_id, count=count, retention_class=None, month=None, root=None)

    def _time(self, value: Any) -> str:
        try:
            return self._database.read_time(value)
        except ValueError:
            return str(value)

    def _segment_rows(self) -> Iterator[dict[str, Any]]:
        sql = f"SELECT {', '.join(_SEGMENT)} FROM segments ORDER BY checkpoint_number, number"  # noqa: S608
        for values in self._database.stream(sql):
            yield dict(zip(_SEGMENT, values, strict=True))

    def _sealed(self, said: dict[str, Any], there: dict[str, dict[str, Any]]) -> Iterator[Expected]:
        """Yield the segments that a checkpoint says it seals, compared with their rows."""
        number = said["number"]
        writer = said["ends"] if said["reason"] == "recovered" else said["writer"]
        for sealed in said["segments"]:
            expected = Expected(
                id=sealed["id"],
                count=min(sealed["count"], LONGEST),
                retention_class=sealed["class"],
                month=sealed["month"],
                root=sealed["root"],
                is_adopted=said["reason"] == "adopted",
            )
            row = there.pop(expected.id, None)
            self._report.checked["segments"] += 1
            self._sessions.take_segment(writer, sealed["id"])
            if row is None:
                self._report.add(
                    "segment_missing",
                    "Its checkpoint names it, and it is not there.",
                    segment=sealed["id"],
                    checkpoint=number,
                )
            elif not _same(sealed, row, writer):
                self._report.add(
                    "segment_altered",
                    "It is not what its checkpoint says of it.",
                    segment=sealed["id"],
                    checkpoint=number,
                )
            if not self._is_pruned(expected):
                yield expected
        for row in there.values():
            self._unnamed(row)

    def _is_pruned(self, segment: Expected) -> bool:
        """Return whether an entry says that *segment* was pruned; that entry is checked as all others are."""
        named = self._database.rows(
            "SELECT prune_id, root, entry_count FROM pruned_segments WHERE segment_id = ?", [segment.id]
        )
        if not named:
            return False
        self._pruned += 1
        for prune, root, count in named:
            if (root, count) != (segment.root, segment.count) or segment.retention_class == OPERATIONS:
                says = "It is not what the prune says that it pruned, or may not be pruned."
                self._report.add("prune_wrong", says, segment=segment.id, prune=prune)
        ((left,),) = self._database.rows("SELECT count(*) FROM entries WHERE segment_id = ?", [segment.id])
        if left:
            self._report.add(
                "entry_beside", f"It was pruned, and {left} entries lie there.", segment=segment.id
            )
        return True

    def _is_gone_along(self, key: Key) -> bool:
        """Return whether a prune says that the evidence of *key* went with that of another entry."""
        sql = "SELECT 1 FROM pruned_entries WHERE at = ? AND kind = ? AND id = ?"
        at = time_for(key.at, on_sqlite=self._database.on_sqlite)
        return bool(self._database.rows(sql, [at, key.kind, key.id]))

    def _unnamed(self, row: dict[str, Any]) -> None:
        self._report.add(
            "segment_unnamed",
            "No checkpoint names it.",
            segment=row["id"],
            checkpoint=row["checkpoint_number"],
        )

    def _take(self, part: Slice, found: Sequence[Found], tree: Tree) -> bool:
        """Check the entries of *part* of a segment; return whether none is missing or doubled."""
        is_whole, position, segment = True, part.start, part.segment
        for one in found:
            if one.position != position:
                is_whole = False
                self._misplaced(segment, one, position)
            position = one.position + 1
            self._check_entry(segment, one)
            tree.add(_leaf(one))
        if position < part.stop:
            is_whole = False
            self._missing(segment, position, part.stop)
        return is_whole

    def _missing(self, segment: Expected, start: int, stop: int) -> None:
        if self._is_part:
            return
        which = f"entry {start} is" if stop == start + 1 else f"entries {start} to {stop - 1} are"
        says = f"Of its {segment.count} entries (from 0), {which} missing."
        self._report.add("entry_missing", says, segment=segment.id)

    def _misplaced(self, segment: Expected, one: Found, expected: int) -> None:
        if one.position > expected:
            self._missing(segment, expected, one.position)
        else:
            self._report.add("entry_beside", "Its place is another's.", **_place(one.key, segment.id))

    def _check_entry(self, segment: Expected, one: Found) -> None:
        report, key = self._report, one.key
        report.entries[key.kind] += 1
        place = _place(key, segment.id)
        kind = KINDS.get(key.kind)
        if kind is None or not one.rows.get(kind.head.table.name):
            if kind is not None and not one.is_odd and self._is_gone_along(key):
                report.checked["entries_pruned"] += 1
                return
            code = "evidence_altered" if one.is_odd else "evidence_missing"
            report.add(code, "Its evidence is not there, or not as it was stored.", **place)
            return
        try:
            leaf = "" if one.is_odd else leaf_hash(bytes_of_rows(key.kind, one.rows)).hex()
        except ValueError:
            leaf = ""
        if leaf != one.leaf:
            report.add("evidence_altered", "Its evidence is not what was attested.", **place)
        if segment.month is not None and key.at[:7] != segment.month:
            report.add("entry_misplaced", "It is of another month than its segment.", **place)
        head = one.rows[kind.head.table.name][0]
        self._check_class(segment, one, head, place)
        self._shared.refer(head, place)
        if key.kind in _OF_RECORD:
            check_contents(
                report, one, place, self._key_state, gone=self._gone, is_adopted=segment.is_adopted
            )

    def _ask_key_state(self, digest: str) -> str:
        """Return what can be said of content under a key: it is not asked for here, only looked for."""
        ask = self._database.rows
        if not self._has_keys or any(
            _digest_of(wrapped) == digest
            for (wrapped,) in ask("SELECT wrapped FROM subject_keys WHERE digest = ?", [digest])
        ):
            return "encrypted"
        erased = ask("SELECT 1 FROM erased_keys WHERE key_digest = ? LIMIT 1", [digest])
        return "erased" if erased else "key_missing"

    def _check_class(
        self, segment: Expected, one: Found, head: dict[str, Any], place: dict[str, Any]
    ) -> None:
        if segment.retention_class is None or one.key.kind == "late_trace":
            return
        expected = head.get("retention_class") if one.key.kind == "record" else OPERATIONS
        if expected != segment.retention_class:
            self._report.add("entry_misplaced", "It is of another class than its segment.", **place)

    def _check_root(self, segment: Expected, tree: Tree) -> None:
        if segment.root is not None and tree.root().hex() != segment.root:
            self._report.add(
                "segment_root",
                "Its entries are not those that were sealed: some were replaced together with their leaves.",
                segment=segment.id,
            )

    def _look_beside(self) -> None:
        """Find what lies in the tables and no entry leads to."""
        seen = self._walk.seen
        if self._count("entries") != seen["entries"]:
            self._entries_beside()
        for name, kind in KINDS.items():
            head, *others = kind.parts
            if self._count(head.table.name) != seen[head.table.name]:
                for key in without_entry(self._database, [name], limit=1000):
                    self._report.add("entry_none", "No entry attests it.", **_place(key, None))
            for part in others:
                if self._count(part.table.name) != seen[part.table.name]:
                    for of in find_beside(self._database, part, name):
                        self._report.add(
                            "entry_none",
                            "No entry attests what it has here.",
                            record=of,
                            table=part.table.name,
                        )
        if self._count("contents") != seen["contents"]:
            for record in content_beside(self._database):
                self._report.add("content_beside", "There is content that no entry leads to.", record=record)

    def _count(self, table: str) -> int:
        ((count,),) = self._database.rows(f"SELECT count(*) FROM {table}")  # noqa: S608
        return int(count)

    def _entries_beside(self) -> None:
        at = self._database.time("e.at")
        sql = (
            f"SELECT {at}, e.kind, e.id, e.segment_id FROM entries e LEFT JOIN segments s ON s.id = e.segment_id "  # noqa: S608
            "WHERE s.id IS NULL OR e.position < 0 OR e.position >= s.entry_count"
        )
        unsealed = {segment for segment, _ in self._sessions.unsealed()}
        for when, kind, entry_id, segment in self._database.stream(sql):
            if segment not in unsealed:
                key = Key(kind=kind, at=self._time(when), id=entry_id)
                self._report.add(
                    "entry_beside", "It lies where no segment has a place.", **_place(key, segment)
                )

    def _check_anchor(self, path: Path) -> None:
        """Check that every checkpoint that was carried outside is in the chain."""
        try:
            with path.open(encoding="ascii", errors="replace") as lines:
                for line in lines:
                    if line.strip():
                        self._check_anchored(line.split(), path)
        except OSError as error:
            raise AuditError(f"The anchor {path} cannot be read ({type(error).__name__}).") from error

    def _check_anchored(self, words: list[str], path: Path) -> None:
        self._report.checked["anchored"] += 1
        if len(words) < 2 or not words[0].isdigit():
            self._report.add("anchor_unreadable", f"{path.name} has a line that is no anchor's.")
            return
        number = int(words[0])
        found = self._database.rows("SELECT hash FROM checkpoints WHERE number = ?", [number])
        if not found:
            self._report.add(
                "anchored_missing",
                f"Checkpoint {number} was carried outside and is not in the chain any more.",
                checkpoint=number,
            )
        elif found[0][0] != words[1]:
            self._report.add(
                "anchored_other",
                f"Checkpoint {number} is not the one that was carried outside.",
                checkpoint=number,
            )


def _digest_of(wrapped: Any) -> str | None:
    """Return the digest that the key *wrapped* lies under; ``None`` where it is in no form that was ever stored."""
    try:
        return hashlib.sha256(base64.b64decode(wrapped, validate=True)).hexdigest()
    except (ValueError, TypeError):
        return None


def _leaf(one: Found) -> bytes:
    try:
        return bytes.fromhex(one.leaf)
    except (ValueError, TypeError):
        return b""


def _same(sealed: dict[str, Any], row: dict[str, Any], writer: str) -> bool:
    of, _, number = sealed["id"].rpartition(".")
    said = (sealed["class"], sealed["month"], sealed["count"], sealed["root"], writer, str(row["number"]))
    there = (row["retention_class"], row["month"], row["entry_count"], row["root"], row["writer"], number)
    return said == there and of == writer


def _place(key: Key, segment: str | None) -> dict[str, Any]:
    """Return what names an entry: its record where it has one."""
    place: dict[str, Any] = {"kind": key.kind, "at": key.at}
    place["record" if key.kind in _OF_RECORD else "entry"] = key.id
    return place if segment is None else {**place, "segment": segment}
