"""Exports: what an audit database holds, or a part of it, in a folder that anybody can read and verify.

    with AuditStore.open(url) as store, store.transaction("Exporting") as connection:
        write_bundle(connection, Path("export"), form=Format.PARQUET, selection=Selection(tenant="acme"))

The folder (docs/export.md)

    manifest.json    what is here: form, revision, what was asked for, each file's SHA-256, the chain's last checkpoint
    manifest.sig     the manifest's Ed25519 signature, where the chain's key was at hand
    public-key.pem   that key's public one
    data/            the rows of each table, in the form that was asked for
    proofs.jsonl     of a part: all leaves of every segment that an entry lies in, so that roots can be made anew
    views.sql        with Parquet: every view, for DuckDB

Rules

1. All is read in one snapshot. Memory does not grow with the number of records.
2. A folder is written once: one that is there and not empty is refused, and one half written has no manifest.
3. Nothing is left out silently: the manifest says what was asked for, and counts the rows of every table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.contents import iso
from railscribe.audit.duckdb_views import script
from railscribe.audit.evidence import Database, id_stored
from railscribe.audit.formats import Format, Sink, sink
from railscribe.audit.keys import SigningKey
from railscribe.audit.rows import railscribe_version
from railscribe.audit.selecting import Rows, Selection, Selector
from railscribe.audit.stored import time_for
from railscribe.errors import UsageError

FORMAT = "railscribe-bundle/1"
MANIFEST, SIGNATURE, PUBLIC_KEY, PROOFS, DATA = (
    *("manifest.json", "manifest.sig", "public-key.pem", "proofs.jsonl"),
    "data",
)
Progress = Callable[[int, int], object]
"""Told how many rows are written, of about how many."""


def write_bundle(
    connection: sa.Connection,
    folder: Path,
    *,
    form: Format,
    selection: Selection | None = None,
    key: SigningKey | None = None,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Write what *selection* chooses of the database of *connection* into *folder*; return the manifest.

    Raises:
        UsageError: *folder* is there and not empty.
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already.", hint="Name a new folder: an export is written once.")
    folder.mkdir(parents=True, exist_ok=True)
    return _Writer(connection, folder, form, selection or Selection(), progress).run(key)


class _Writer:
    def __init__(
        self,
        connection: sa.Connection,
        folder: Path,
        form: Format,
        selection: Selection,
        progress: Progress,
    ) -> None:
        self._database = Database(connection)
        self._folder = folder
        self._form = form
        self._selector = Selector(selection, on_sqlite=self._database.on_sqlite)
        self._selection = selection
        self._progress = progress
        self._counts: dict[str, int] = {}
        self._done = 0
        self._total = 0

    def run(self, key: SigningKey | None) -> dict[str, Any]:
        if not self._database.on_sqlite:
            self._database.connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        self._total = self._expected()
        rows = sink(self._form, self._folder / DATA)
        segments = self._entries(rows)
        for table, chosen in self._selector.tables():
            self._table(rows, table, chosen)
        if not self._selection.is_whole:
            self._proofs(segments)
        if self._form is Format.PARQUET:
            (self._folder / "views.sql").write_text(script(self._counts), encoding="utf-8")
        if key is not None:
            (self._folder / PUBLIC_KEY).write_text(key.public_pem(), encoding="ascii")
        return self._manifest(key)

    def _expected(self) -> int:
        """Return how many records will be written, which is what the progress goes by."""
        chosen = next(rows for name, _, rows in self._selector.heads() if name == "record")
        ((count,),) = self._database.rows(f"SELECT count(*) {chosen.sql}", chosen.parameters)
        return int(count)

    def _table(self, out: Sink, table: sa.Table, chosen: Rows) -> None:
        reader = self._database.reader(table)
        tenant = chosen.tenant or "NULL"
        order = ", ".join(f"t.{column.name}" for column in table.primary_key)
        sql = f"SELECT {tenant}, {reader.selection('t')} {chosen.sql} ORDER BY {order}"
        out.begin(table, of_records=chosen.tenant is not None)
        count = 0
        for whose, *values in self._database.stream(sql, chosen.parameters):
            out.write(reader.row(values), whose)
            count += 1
            if table is tables.records:
                self._done += 1
                if self._done % 1000 == 0:
                    self._progress(self._done, self._total)
        out.end()
        self._counts[table.name] = count
        self._progress(self._done, self._total)

    def _entries(self, out: Sink) -> set[str]:
        """Write the entries of what is exported; return the segments that they lie in."""
        segments: set[str] = set()
        out.begin(tables.entries, of_records=False)
        count = 0
        for row in self._chosen_entries():
            segments.add(row["segment_id"])
            out.write(row, None)
            count += 1
        out.end()
        self._counts[tables.entries.name] = count
        return segments

    def _chosen_entries(self) -> Iterator[dict[str, Any]]:
        reader = self._database.reader(tables.entries)
        if self._selection.is_whole:
            sql = f"SELECT {reader.selection('e')} FROM entries e ORDER BY e.at, e.kind, e.id"  # noqa: S608
            yield from map(reader.row, self._database.stream(sql))
            return
        for name, kind, chosen in self._selector.heads():
            head = kind.head
            if len(head.id) == 1:
                # The rows are a subquery, because a kind's rows may be chosen by a join.
                inner = f"SELECT t.{head.at} AS at, t.{head.id[0]} AS id {chosen.sql}"
                sql = (
                    f"SELECT {reader.selection('e')} FROM ({inner}) h JOIN entries e "  # noqa: S608
                    f"ON e.at = h.at AND e.kind = '{name}' AND e.id = h.id ORDER BY e.at, e.id"
                )
                yield from map(reader.row, self._database.stream(sql, chosen.parameters))
                continue
            columns = ", ".join([self._database.time(f"t.{head.at}"), *(f"t.{column}" for column in head.id)])
            for at, *values in self._database.rows(f"SELECT {columns} {chosen.sql}", chosen.parameters):
                time = time_for(self._database.read_time(at), on_sqlite=self._database.on_sqlite)
                found = f"SELECT {reader.selection('e')} FROM entries e WHERE e.at = ? AND e.kind = ? AND e.id = ?"  # noqa: S608
                yield from map(reader.row, self._database.rows(found, [time, name, id_stored(values)]))

    def _proofs(self, segments: set[str]) -> None:
        """Write all leaves of *segments*: hashes, which tell nothing of what is left out."""
        with (self._folder / PROOFS).open("w", encoding="ascii") as file:
            for segment in sorted(segments):
                sql = "SELECT leaf FROM entries WHERE segment_id = ? ORDER BY position"
                leaves = [leaf for (leaf,) in self._database.rows(sql, [segment])]
                file.write(json.dumps({"segment": segment, "leaves": leaves}) + "\n")

    def _manifest(self, key: SigningKey | None) -> dict[str, Any]:
        last = self._database.rows("SELECT number, hash FROM checkpoints ORDER BY number DESC LIMIT 1")
        made = {
            "format": FORMAT,
            "made_at": iso(datetime.now(timezone.utc)),
            "railscribe_version": railscribe_version(),
            "revision": tables.HEAD,
            "form": self._form.value,
            "selection": self._selection.as_json(),
            "whole": self._selection.is_whole,
            "last_checkpoint": {"number": last[0][0], "hash": last[0][1]} if last else None,
            "rows": dict(sorted(self._counts.items())),
            "files": dict(sorted(files_in(self._folder))),
            "signed_by": key.id if key else None,
        }
        data = (json.dumps(made, ensure_ascii=False, indent=1) + "\n").encode()
        if key is not None:
            (self._folder / SIGNATURE).write_text(key.sign_manifest(data) + "\n", encoding="ascii")
        (self._folder / MANIFEST).write_bytes(data)  # last: what has one is whole
        return made


def files_in(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every file in *folder* but the manifest and its signature: its path, and its size and SHA-256."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in (MANIFEST, SIGNATURE):
            with path.open("rb") as file:
                digest = (
                    hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else _digest(file)
                )
            yield name, {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _digest(file: Any) -> Any:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest
