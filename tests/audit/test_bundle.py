"""Exports: what is written is what lies in the database, can be read elsewhere, and is verified with nothing else."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from railscribe.audit import AuditStore, formats, keys
from railscribe.audit.bundle import MANIFEST, write_bundle
from railscribe.audit.bundle_reading import verify_bundle
from railscribe.audit.formats import Format
from railscribe.audit.selecting import Selection
from railscribe.errors import UsageError
from railscribe.values import Exchange, Identity, Record

RecordFactory = Callable[..., Record]
FORMS = list(Format)
ODD = "=cmd|' /C calc'!A0"
"""What a spreadsheet would run."""


@pytest.fixture
def key(tmp_path: Path) -> keys.SigningKey:
    """The chain's key."""
    return keys.create(tmp_path / "chain.pem")


@pytest.fixture
def filled(
    any_url: str, key: keys.SigningKey, fill: Callable[[AuditStore], None], blocked: RecordFactory
) -> Iterator[AuditStore]:
    """A store with everything in it that there can be, and records of odd tenants over three days."""
    with AuditStore.open(any_url, signing_key=key.path) as store:
        fill(store)
        _add_odd(store, blocked)
        yield store


def _add_odd(store: AuditStore, blocked: RecordFactory) -> None:
    for number, tenant in enumerate(["acme", "other", "a/b =c%", ODD, "other"], 1):
        store.append(
            blocked(
                number,
                checked_at=blocked().checked_at + timedelta(hours=10 * number),
                identity=Identity(tenant=tenant, session="\\N", subject="'quoted"),
                exchange=Exchange(user='Line one\r\nline two, "quoted"\t\N{SNOWMAN}', response=""),
            )
        )
    store.seal()
    store.append(blocked(9))  # which no checkpoint seals yet


def exported(store: AuditStore, folder: Path, form: Format, **chosen: Any) -> dict[str, Any]:
    """Export to *folder* what is *chosen*; return the manifest."""
    key = chosen.pop("key", None)
    with store.transaction("Exporting", snapshot=True) as connection:
        return write_bundle(connection, folder, form=form, selection=Selection(**chosen), key=key)


@pytest.mark.parametrize(
    ("form", "content"), [*((form, True) for form in FORMS), pytest.param(Format.JSONL, False, id="evidence")]
)
def test_a_whole_export_verifies(
    filled: AuditStore, key: keys.SigningKey, tmp_path: Path, form: Format, content: bool
) -> None:
    """In every form an export has every entry, and holds against the chain's key alone."""
    count = filled.select("SELECT count(*) FROM entries")[1][0][0]

    made = exported(filled, tmp_path / "export", form, key=key, content=content)
    report = verify_bundle(tmp_path / "export", trusted=[key.public])

    assert [failure.as_json() for failure in report.failures] == []
    assert (made["rows"]["entries"], sum(report.entries.values())) == (count, count)
    assert report.records == 8
    assert bool(report.contents["intact"]) is content
    assert ("contents" in made["rows"]) is content


@pytest.mark.parametrize("form", FORMS)
def test_a_part_verifies(filled: AuditStore, key: keys.SigningKey, tmp_path: Path, form: Format) -> None:
    """One tenant's records come with what they need and nothing of others, and are proven all the same."""
    made = exported(filled, tmp_path / "export", form, key=key, tenant="other", content=True)
    report = verify_bundle(tmp_path / "export", trusted=[key.public])

    assert [failure.as_json() for failure in report.failures] == []
    assert report.records == made["rows"]["records"] == 2
    assert report.told["export"]["whole"] is False
    text = b"".join(path.read_bytes() for path in (tmp_path / "export").rglob("*.jsonl"))
    assert b"acme" not in text
    assert b"calc" not in text


def test_a_period_and_a_class(
    filled: AuditStore, key: keys.SigningKey, tmp_path: Path, blocked: RecordFactory
) -> None:
    """A period takes its beginning and leaves out its end; a class that no record has takes none."""
    first = blocked().checked_at
    made = exported(
        filled,
        tmp_path / "day",
        Format.JSONL,
        since=first + timedelta(hours=10),
        until=first + timedelta(hours=30),
    )
    none = exported(filled, tmp_path / "none", Format.PARQUET, retention_class="six-years")

    assert made["rows"]["records"] == 2
    assert none["rows"]["records"] == 0
    for name in ("day", "none"):
        report = verify_bundle(tmp_path / name)
        assert [failure.as_json() for failure in report.failures] == []
        assert report.told["export"]["signed_by"] is None


def test_missing_content_is_found_and_what_was_left_out_is_told(
    store: AuditStore,
    database_url: str,
    blocked: RecordFactory,
    tmp_path: Path,
    past_triggers: Callable[..., None],
) -> None:
    """An export with content misses what no erasure tells of; one without says that content was left out."""
    store.append(blocked(1))
    past_triggers(database_url, "DELETE FROM contents WHERE kind = 'response'")
    exported(store, tmp_path / "with", Format.JSONL, content=True)
    exported(store, tmp_path / "without", Format.JSONL)

    found, without = verify_bundle(tmp_path / "with"), verify_bundle(tmp_path / "without")

    assert found.failed == {"content_missing": 1}
    place = found.failures[0].place
    assert (place["record"], place["content"], place["column"]) == (
        *(blocked(1).id, "response", "records.response_commitment"),
    )
    assert (without.ok, set(without.contents)) == (True, {"left_out"})


@pytest.mark.parametrize("form", FORMS)
def test_what_was_changed_is_found(
    store: AuditStore, blocked: RecordFactory, tmp_path: Path, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed row is found although its file's digest was made to fit, and its record is named."""
    store.append(blocked(1))
    monkeypatch.setattr(formats, "_line", lambda row: json.dumps(_forged(row), ensure_ascii=False) + "\n")
    monkeypatch.setattr(formats, "_cell", lambda value, real=formats._cell: real(_forged(value)))
    monkeypatch.setattr(formats, "_pyarrow", _forging(formats._pyarrow))
    exported(store, tmp_path / "export", form)
    monkeypatch.undo()

    report = verify_bundle(tmp_path / "export")

    assert set(report.failed) == {"evidence_altered"}
    assert report.failures[0].place["record"] == blocked(1).id


def _forged(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _forged(some) for name, some in value.items()}
    return "allow" if value == "block" else value


def _forging(real: Callable[[], Any]) -> Callable[[], Any]:
    class Arrow:
        def __getattr__(self, name: str) -> Any:
            return getattr(real(), name)

        def array(self, values: list[Any], **more: Any) -> Any:
            return real().array([_forged(value) for value in values], **more)

    return Arrow


def test_files_are_held_against_the_manifest(
    filled: AuditStore, key: keys.SigningKey, tmp_path: Path
) -> None:
    """A file that was changed, taken away or put beside is named, and so is a manifest that its key did not sign."""
    folder = tmp_path / "export"
    exported(filled, folder, Format.JSONL, key=key)
    records, manifest = folder / "data" / "records.jsonl", folder / MANIFEST
    original, signed = records.read_bytes(), manifest.read_bytes()

    records.write_bytes(original.replace(b'"block"', b'"allow"'))
    assert set(verify_bundle(folder).failed) == {"file_altered"}
    records.unlink()
    assert set(verify_bundle(folder).failed) == {"file_missing"}
    records.write_bytes(original)
    (folder / "data" / "more.jsonl").write_text("{}")
    assert set(verify_bundle(folder).failed) == {"file_beside"}
    (folder / "data" / "more.jsonl").unlink()
    manifest.write_bytes(re.sub(rb'"made_at": "\d{4}', b'"made_at": "1999', signed))
    assert set(verify_bundle(folder).failed) == {"manifest_signature"}
    manifest.write_bytes(signed)
    assert verify_bundle(folder).ok


def test_taking_out_a_record_is_found(filled: AuditStore, tmp_path: Path) -> None:
    """An exporter who leaves out a record, and makes all digests fit, is found out by the chain."""
    folder = tmp_path / "export"
    made = exported(filled, folder, Format.JSONL)
    for name, mark in (("records", '"checked_at":"2026-03-15T09'), ("entries", '"at":"2026-03-15T09')):
        path = folder / "data" / f"{name}.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if mark not in line]
        assert len(kept) < len(lines)
        path.write_text("".join(kept), encoding="utf-8")
        made["rows"][name] = len(kept)
    from railscribe.audit.bundle import files_in

    (folder / MANIFEST).write_text(json.dumps({**made, "files": dict(files_in(folder))}))

    report = verify_bundle(folder)

    assert "entry_missing" in report.failed


def test_a_folder_is_written_once(filled: AuditStore, tmp_path: Path) -> None:
    """A folder with something in it is left as it is; one without a manifest is no export."""
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear auditor")

    with pytest.raises(UsageError, match="is there already"):
        exported(filled, tmp_path / "letters", Format.JSONL)

    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]
    with pytest.raises(UsageError, match="holds no export"):
        verify_bundle(tmp_path / "letters")


def test_a_spreadsheet_runs_nothing(filled: AuditStore, tmp_path: Path) -> None:
    """No cell of a CSV export begins with what a spreadsheet takes for a formula."""
    exported(filled, tmp_path / "export", Format.CSV, content=True)

    cells = [
        cell
        for path in (tmp_path / "export" / "data").glob("*.csv")
        for row in csv.reader(path.read_text(encoding="utf-8").splitlines(keepends=True))
        for cell in row
    ]
    assert [cell for cell in cells if re.match(r"[=+@\t\r-]", cell)] == []
    assert f"'{ODD}" in cells


def test_memory_is_bounded(
    store: AuditStore, blocked: RecordFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parquet is written in parts when many rows wait, and all parts are read back."""
    monkeypatch.setattr(formats, "IN_MEMORY", 4)
    for number in range(10):
        store.append(replace(blocked(number), identity=Identity(tenant="acme")))

    made = exported(store, tmp_path / "export", Format.PARQUET)

    records = [name for name in made["files"] if name.startswith("data/records/")]
    assert len(records) > 2
    assert verify_bundle(tmp_path / "export").ok
