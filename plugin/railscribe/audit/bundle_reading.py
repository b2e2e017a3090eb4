"""Verifies an export with nothing but itself and the public key.

    report = verify_bundle(Path("export"), trusted=[read_public(path)])

Rules

1. The files are what the manifest says, and the manifest what the chain's key signed. An unsigned one is told, and is
   no failure: what the chain attests, it attests without.
2. The rows, in whatever form, are put into a database of their own that is thrown away afterwards, and verified
   there as in the database they came from: one verifier, and memory that does not grow with their number.
3. Of a part, entries that were left out are no failure; those that are there are leaves of trees whose roots are made
   anew from the proofs, and are under the same signed checkpoints.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from railscribe.audit import schema, tables
from railscribe.audit.bundle import DATA, FORMAT, MANIFEST, PROOFS, SIGNATURE, files_in
from railscribe.audit.chain.checkpoint import key_id
from railscribe.audit.chain.merkle import root_of
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.audit.findings import Report
from railscribe.audit.formats import Format, read
from railscribe.audit.keys import MANIFEST_DOMAIN
from railscribe.audit.stored import time_for
from railscribe.audit.verify import verify_database
from railscribe.errors import AuditError, UsageError

_AT_ONCE = 1000  # rows
Progress = Callable[[int, int], None]


def is_bundle(path: Path) -> bool:
    """Return whether *path* is an export."""
    return (path / MANIFEST).is_file()


def verify_bundle(
    folder: Path,
    *,
    trusted: Sequence[bytes] = (),
    anchors: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Report:
    """Verify the export in *folder*.

    Raises:
        UsageError: it is no export of a form that this version reads.
        AuditError: a file of it, or an anchor, cannot be read.
        MissingExtraError: its rows are Parquet, and pyarrow is not installed.
    """
    data, manifest = _manifest(folder)
    with tempfile.TemporaryDirectory(prefix="railscribe-verify-") as name:
        url = f"sqlite:///{name}/export.db"
        problems = list(_files(folder, manifest))
        if not problems:  # else nothing in them is to be believed, and maybe not to be read
            problems += _load(folder, manifest, url)
        if any(problem[0] == "rows_unreadable" or problem[0].startswith("file_") for problem in problems):
            return _failed(problems)
        left_out = [tables.subject_keys.name]  # which never come
        if not manifest["selection"]["content"]:
            left_out.append(tables.contents.name)
        report = verify_database(
            url,
            trusted=trusted,
            anchors=anchors,
            progress=progress,
            is_part=not manifest["whole"],
            left_out=left_out,
        )
        problems += _against(folder, manifest, url)
        problems += _signature(folder, data, manifest, url, report)
    for code, says, place in problems:
        report.add(code, says, **place)
    report.told["export"] = {
        "whole": manifest["whole"],
        "selection": manifest["selection"],
        "signed_by": manifest["signed_by"],
    }
    return report


_Problem = tuple[str, str, dict[str, Any]]


def _failed(problems: Sequence[_Problem]) -> Report:
    report = Report(trust="none")
    for code, says, place in problems:
        report.add(code, says, **place)
    return report


def _manifest(folder: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        data = (folder / MANIFEST).read_bytes()
        said = json.loads(data)
        is_ours = said["format"] == FORMAT
        Format(said["form"])
    except (OSError, ValueError, KeyError, TypeError):
        is_ours = False
    if not is_ours:
        raise UsageError(
            f"{folder} holds no export that this version reads.", hint=f"It has no {MANIFEST} of ours."
        )
    return data, said


def _files(folder: Path, manifest: dict[str, Any]) -> Iterator[_Problem]:
    there = dict(files_in(folder))
    for name, said in manifest["files"].items():
        found = there.pop(name, None)
        if found is None:
            yield "file_missing", f"{name} is not there.", {"file": name}
        elif found != said:
            yield "file_altered", f"{name} is not the file that was written.", {"file": name}
    for name in there:
        yield "file_beside", f"{name} is none of the export's files.", {"file": name}


def _load(folder: Path, manifest: dict[str, Any], url: str) -> Iterator[_Problem]:
    """Put the rows into the database at *url*, which is made."""
    schema.upgrade(url, manifest["revision"])
    engine = writing(open_engine(parse_url(url)))
    form = Format(manifest["form"])
    try:
        with engine.connect() as connection:
            raw: Any = connection.connection
            raw.execute("PRAGMA foreign_keys=OFF")
            raw.execute("PRAGMA synchronous=OFF")
            # What is loaded is checked afterwards; triggers would only want it in an order of their own.
            for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                raw.execute(f"DROP TRIGGER {name}")
            raw.execute("PRAGMA query_only=OFF")
            raw.execute("BEGIN")
            for table in tables.metadata.tables.values():
                if table.name in manifest["rows"]:
                    yield from _load_table(raw, form, folder / DATA, table, manifest["rows"][table.name])
            raw.execute("COMMIT")
    finally:
        engine.dispose()
    schema.upgrade(url)


def _load_table(raw: Any, form: Format, folder: Path, table: sa.Table, expected: int) -> Iterator[_Problem]:
    names = table.columns.keys()
    marks = ", ".join("?" * len(names))
    quoted = ", ".join(f'"{name}"' for name in names)
    statement = f"INSERT INTO {table.name} ({quoted}) VALUES ({marks})"  # noqa: S608
    times = [
        place for place, column in enumerate(table.columns) if isinstance(column.type, tables.UtcDateTime)
    ]
    count = 0
    try:
        for rows in _batches(read(form, folder, table)):
            values = [[row.get(name) for name in names] for row in rows]
            for row in values:
                for place in times:
                    if row[place] is not None:
                        row[place] = time_for(str(row[place]), on_sqlite=True)
            raw.executemany(statement, values)
            count += len(values)
    except (ValueError, KeyError, TypeError, AttributeError, raw.Error) as error:
        # What it says may hold what is in a row.
        yield (
            "rows_unreadable",
            f"Rows of {table.name} cannot be read ({type(error).__name__}).",
            {"table": table.name},
        )
        return
    if count != expected:
        yield (
            "rows_missing",
            f"{table.name} has {count} rows, and the manifest counts {expected}.",
            {"table": table.name},
        )


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _against(folder: Path, manifest: dict[str, Any], url: str) -> Iterator[_Problem]:
    """Check the end of the chain, and of a part its proofs (rule 3)."""
    engine = open_engine(parse_url(url))
    try:
        with engine.begin() as connection:
            last = connection.execute(
                sa.text("SELECT number, hash FROM checkpoints ORDER BY number DESC LIMIT 1")
            ).first()
            said = manifest["last_checkpoint"]
            if (None if last is None else tuple(last)) != (said and (said["number"], said["hash"])):
                yield "checkpoint_missing", "The last checkpoint is not the one that the manifest names.", {}
            if not manifest["whole"]:
                yield from _proofs(folder / PROOFS, connection)
    finally:
        engine.dispose()


def _proofs(path: Path, connection: sa.Connection) -> Iterator[_Problem]:
    segments, entries = tables.segments.c, tables.entries.c
    unproven = set(connection.execute(sa.select(entries.segment_id).distinct()).scalars())
    with path.open(encoding="ascii") as lines:
        for line in lines:
            said = json.loads(line)
            segment, leaves = said["segment"], said["leaves"]
            sealed = connection.execute(
                sa.select(segments.root, segments.entry_count).where(segments.id == segment)
            ).first()
            there = connection.execute(
                sa.select(entries.position, entries.leaf).where(entries.segment_id == segment)
            ).all()
            fits = all(place < len(leaves) and leaves[place] == leaf for place, leaf in there)
            if sealed is not None:  # what no checkpoint sealed yet has no root to be held against
                fits &= sealed.entry_count == len(leaves)
                fits &= root_of(map(bytes.fromhex, leaves)).hex() == sealed.root
            if not fits:
                yield "segment_root", "Its leaves do not lead to its root.", {"segment": segment}
            unproven.discard(segment)
    for segment in sorted(unproven):
        yield "proof_missing", "Nothing proves its entries.", {"segment": segment}


def _signature(
    folder: Path, data: bytes, manifest: dict[str, Any], url: str, report: Report
) -> Iterator[_Problem]:
    """Check the manifest's signature by a key that the chain speaks of (rule 1)."""
    if manifest["signed_by"] is None:
        return
    if manifest["signed_by"] not in report.keys:
        yield "manifest_key", "The manifest is signed with a key that the chain does not know.", {}
        return
    engine = open_engine(parse_url(url))
    try:
        with engine.begin() as connection:
            query = sa.select(tables.signing_keys.c.public_key).where(
                tables.signing_keys.c.id == manifest["signed_by"]
            )
            public = connection.execute(query).scalar()
    finally:
        engine.dispose()
    try:
        signature = bytes.fromhex((folder / SIGNATURE).read_text(encoding="ascii").strip())
        raw = bytes.fromhex(str(public))
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, MANIFEST_DOMAIN + data)
        is_signed = key_id(raw) == manifest["signed_by"]
    except OSError as error:
        raise AuditError(f"{SIGNATURE} cannot be read ({type(error).__name__}).") from error
    except (InvalidSignature, ValueError):
        is_signed = False
    if not is_signed:
        yield "manifest_signature", "The manifest is not what the key signed.", {}
