"""What is told of completeness: writers that have not ended, what is not sealed, gaps, hours without a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cached_property
from itertools import count as count_from
from typing import Any

from railscribe.audit.chain.checkpoint import key_id
from railscribe.audit.chain.links import Links
from railscribe.audit.evidence import Database
from railscribe.audit.findings import Report

_QUIET = timedelta(hours=1)
_LISTED = 100
_WRITER = ("host", "pid", "quiet_s", "railscribe_version")


class Sessions:
    """The writers of one chain, as its checkpoints tell of them."""

    def __init__(self, database: Database, report: Report) -> None:
        self._database = database
        self._report = report
        self._open: dict[str, int] = {}
        """The number that the next segment of each writer has that has not ended."""
        self._told = 0
        self._ending: str | None = None
        """The writer that ends with the last checkpoint: its segments come first."""
        self._at: str | None = None
        self.quiet: list[dict[str, str]] = []
        self.quiet_hours = 0

    def keys(self) -> dict[str, bytes]:
        """Return the keys that lie in the database, by id."""
        keys = {}
        for name, public in self._database.rows("SELECT id, public_key FROM signing_keys"):
            try:
                raw = bytes.fromhex(public)
            except (ValueError, TypeError):
                raw = b""
            if key_id(raw) == name and raw.hex() == public:
                keys[name] = raw
            else:
                self._report.add("key_altered", "It is not the key of its id.", key=name)
        return keys

    def take(self, said: dict[str, Any]) -> None:
        """Go on with a checkpoint."""
        self._note_quiet(said["at"])
        if (opens := said.get("opens")) is not None:
            self._check_writer(said, opens)
            self._open[said["writer"]] = 0
        self._ending = said.get("ends")

    def take_segment(self, writer: str, segment_id: str) -> None:
        """Go on with a segment that was sealed."""
        number = int(segment_id.rpartition(".")[2])
        expected = self._open.get(writer, 0)
        if number != expected:
            self._report.add(
                "segment_hole",
                f"Its writer's next was to be {writer}.{expected}.",
                segment=segment_id,
            )
        self._open[writer] = number + 1

    def _note_quiet(self, at: str) -> None:
        self._forget_ended()
        before, self._at = self._at, at
        if before is None or not self._open:
            return
        silence = _time(at) - _time(before)
        if silence > _QUIET:
            self.quiet_hours += int(silence / _QUIET)
            if len(self.quiet) < _LISTED:
                self.quiet.append({"since": before, "until": at})

    def _forget_ended(self) -> None:
        if self._ending is not None:
            self._open.pop(self._ending, None)
            self._ending = None

    def _check_writer(self, said: dict[str, Any], opens: dict[str, Any]) -> None:
        self._told += 1
        columns = ", ".join(_WRITER)
        at = self._database.time("opened_at")
        found = self._database.rows(f"SELECT {at}, {columns} FROM writers WHERE id = ?", [said["writer"]])  # noqa: S608
        try:
            there = {"opened_at": self._database.read_time(found[0][0])} if found else {}
        except ValueError:
            there = {}
        if found:
            there.update(zip(_WRITER, found[0][1:], strict=True))
        if there != opens:
            self._report.add(
                "writer_altered",
                "It is not what its first checkpoint says of it.",
                writer=said["writer"],
                checkpoint=said["number"],
            )

    @cached_property
    def _unsealed(self) -> list[tuple[str, int]]:
        self._forget_ended()
        found = []
        for writer, first in self._open.items():
            for number in count_from(first):
                segment = f"{writer}.{number}"
                sql = "SELECT count(*), max(position) FROM entries WHERE segment_id = ?"
                ((count, last),) = self._database.rows(sql, [segment])
                if not count:
                    break
                found.append((segment, max(count, last + 1)))
        return found

    def unsealed(self) -> Iterator[tuple[str, int]]:
        """Yield the segments of writers that have not ended that no checkpoint seals, with the places they have."""
        yield from self._unsealed

    def told(self) -> dict[str, Any]:
        """Return what there is to tell, once the chain is at its end."""
        ((writers,),) = self._database.rows("SELECT count(*) FROM writers")
        if writers != self._told:
            self._report.add("writer_beside", "There are writers that no checkpoint tells of.")
        return {
            "unsealed": sum(count for _, count in self._unsealed),
            "open_writers": sorted(self._open)[:_LISTED],
            "hours_without_checkpoint": self.quiet_hours,
            "quiet": self.quiet,
        }


def told_of(database: Database, sessions: Sessions, links: Links) -> dict[str, Any]:
    """Return what is told of completeness, and check what of it can be checked."""
    told = sessions.told()
    for (name,) in database.rows("SELECT id FROM signing_keys"):
        if name not in links.named:
            links.tell("key_beside", "No checkpoint tells of it.", key=name)
    ((gaps, missing),) = database.rows("SELECT count(*), coalesce(sum(count), 0) FROM gaps")
    if gaps < links.gaps:
        links.tell("gap_missing", f"{links.gaps} gaps were on record, and {gaps} are.")
    return {
        **told,
        "gaps": int(gaps),
        "missing_by_gaps": int(missing),
        "clock_went_back": links.clocks_back,
        "last_checkpoint": {"number": links.number, "at": links.at, "hash": links.hash},
    }


def prunes_of(database: Database) -> list[dict[str, Any]]:
    """Return the last prunes on record, oldest first: what they name is not there, and not missing."""
    at = database.time("pruned_at")
    columns = ("id", "retention_class", "segments", "entries", "records", "pruned_by", "checkpoint_number")
    sql = f"SELECT {at}, {', '.join(columns)} FROM prunes ORDER BY pruned_at DESC LIMIT {_LISTED}"  # noqa: S608
    found = [
        {"at": str(when), **dict(zip(columns, values, strict=True))} for when, *values in database.rows(sql)
    ]
    return found[::-1]


def _time(at: str) -> datetime:
    return datetime.fromisoformat(at.replace("Z", "+00:00"))
