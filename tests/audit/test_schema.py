"""Migrations: the one road to a schema, on both databases."""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

import os
import re
import sqlite3
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from railscribe.audit import AuditStore, partitions, schema, tables
from railscribe.audit.database import open_engine, parse_url, reading, writing
from railscribe.errors import AuditError, MissingExtraError, SchemaRevisionError, SettingsError
from railscribe.values import Record


def execute(url: str, *statements: str) -> None:
    """Run raw SQL, as somebody would who goes past the store."""
    engine = writing(open_engine(parse_url(url)))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def shape(url: str) -> set[tuple[str, str]]:
    """Return everything the database holds, by kind and name or definition."""
    engine = reading(open_engine(parse_url(url)))
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            query = "SELECT type, coalesce(sql, name) FROM sqlite_master"
        else:
            query = """
                SELECT relkind::text, relname::text FROM pg_class
                WHERE relnamespace = current_schema()::regnamespace
                UNION SELECT 'constraint', conname::text || pg_get_constraintdef(oid) FROM pg_constraint
                WHERE connamespace = current_schema()::regnamespace
                UNION SELECT 'trigger', pg_get_triggerdef(oid) FROM pg_trigger
                WHERE NOT tgisinternal AND pg_table_is_visible(tgrelid)
                UNION SELECT 'function', proname::text FROM pg_proc
                WHERE pronamespace = current_schema()::regnamespace
            """
        found = {(str(kind), str(name)) for kind, name in connection.execute(sa.text(query))}
    engine.dispose()
    return found


@pytest.mark.skipif(os.name != "posix", reason="rights are POSIX's")
def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    """A new SQLite database and its log are open to nobody else; one that is there keeps its rights."""
    url = f"sqlite:///{tmp_path / 'new.db'}"
    schema.upgrade(url)
    with AuditStore.open(url) as store:
        store.append_probes([])
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}

    (tmp_path / "new.db").chmod(0o640)
    schema.upgrade(url)
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o640


def test_one_head() -> None:
    """The revisions form one line, and its end is what the store asks for."""
    revisions = list(ScriptDirectory.from_config(schema.alembic_config()).walk_revisions())

    assert ScriptDirectory.from_config(schema.alembic_config()).get_heads() == [tables.HEAD]
    assert [revision.revision for revision in revisions] == [f"{n:04}" for n in range(len(revisions), 0, -1)]


def test_models_and_migrations_agree(any_url: str) -> None:
    """What migrations make is what the tables say, down to indexes, keys, views and triggers."""
    assert schema.current(any_url) == tables.HEAD
    assert schema.check(any_url) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param("DROP INDEX ix_records_session_checked_at", "ix_records_session_checked_at", id="index"),
        pytest.param("ALTER TABLE engines ADD COLUMN extra TEXT", "extra", id="column"),
        pytest.param("DROP VIEW v_undecided", "missing: v_undecided", id="view"),
        pytest.param("TRIGGER", "missing: records_no_delete", id="trigger"),
    ],
)
def test_drift_is_named(own_url: str, change: str, said: str) -> None:
    """Whatever is added to or taken from the schema by hand is found and named."""
    if change == "TRIGGER":
        change = "DROP TRIGGER records_no_delete" + ("" if own_url.startswith("sqlite") else " ON records")
    execute(own_url, change)

    (difference,) = schema.check(own_url)

    assert said in difference


def test_constraints_have_our_names(any_url: str) -> None:
    """Every constraint carries a name of the convention, so a later migration can reach it."""
    engine = reading(open_engine(parse_url(any_url)))
    with engine.begin() as connection:
        inspector = sa.inspect(connection)
        for table in tables.metadata.sorted_tables:
            named = {constraint.name for constraint in table.constraints}
            found = {inspector.get_pk_constraint(table.name)["name"]}
            # A key that points at a partitioned table is listed once more, numbered, for each of its partitions.
            keys = [str(key["name"]) for key in inspector.get_foreign_keys(table.name)]
            found |= {re.sub(r"_records_\d+$", "_records", key) for key in keys}
            found |= {check["name"] for check in inspector.get_check_constraints(table.name)}
            assert found == named
    engine.dispose()


def test_only_our_tables_appear_and_others_are_left_alone(empty_url: str) -> None:
    """In a database that is shared, nothing beside ours and its partitions is made; another's table is no drift."""
    schema.upgrade(empty_url)
    execute(empty_url, "CREATE TABLE theirs (id INTEGER)")
    engine = reading(open_engine(parse_url(empty_url)))
    with engine.begin() as connection:
        names = set(sa.inspect(connection).get_table_names())
        parts = {f"{table.name}_default" for table in partitions.TABLES} | {
            month.partition(table) for table in partitions.TABLES for month in partitions.months(connection)
        }
        views = set(sa.inspect(connection).get_view_names())
    engine.dispose()

    if engine.dialect.name == "sqlite":
        parts = set()
    assert names == {*tables.metadata.tables, tables.VERSION_TABLE, "theirs"} | parts
    assert views == set(tables.VIEWS)
    assert schema.check(empty_url) == []


def test_up_down_up(empty_url: str) -> None:
    """Going back leaves nothing behind but the version table, and going up again makes the same schema."""
    schema.upgrade(empty_url)
    first = shape(empty_url)
    schema.downgrade(empty_url, "base")
    between = shape(empty_url)
    schema.upgrade(empty_url)

    assert all(tables.VERSION_TABLE in name for _, name in between if "version_num" not in name)
    assert shape(empty_url) == first
    assert schema.check(empty_url) == []


def test_upgrading_twice_changes_nothing(any_url: str) -> None:
    """An upgrade of a database at head is harmless."""
    before = shape(any_url)
    schema.upgrade(any_url)

    assert shape(any_url) == before


def test_a_downgrade_never_drops_records(any_url: str, undecided: Callable[..., Record]) -> None:
    """Going back past a record is refused, and the record is still there."""
    with AuditStore.open(any_url) as store:
        store.append(undecided())

        with pytest.raises(AuditError, match="would drop what 1 rows of entries say"):
            schema.downgrade(any_url, "base")

        assert len(store.records()) == 1
    assert schema.check(any_url) == []


def test_upgrades_at_once_take_turns(empty_url: str) -> None:
    """Two that upgrade at the same time both succeed: the second waits, and finds the work done."""
    problems: list[Exception] = []

    def run() -> None:
        try:
            schema.upgrade(empty_url)
        except Exception as error:  # noqa: BLE001 - carried out of the thread
            problems.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    assert schema.check(empty_url) == []


@pytest.mark.parametrize("name", ["100%.db", "50%25 off #1?.db", "ümläut.db"])
def test_odd_paths(tmp_path: Path, name: str, undecided: Callable[..., Record]) -> None:
    """A path with characters that mean something in URLs or in Alembic's configuration is just a path."""
    url = sa.URL.create("sqlite", database=str(tmp_path / name)).render_as_string()
    schema.upgrade(url)
    with AuditStore.open(url) as store:
        store.append(undecided())

    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_percent_in_the_script_location(monkeypatch: pytest.MonkeyPatch) -> None:
    """Railscribe may itself be installed under a path with a percent sign."""
    monkeypatch.setattr(schema, "files", lambda _: Path("/opt/100%/migrations"))

    assert schema.alembic_config().get_main_option("script_location") == "/opt/100%/migrations"


def test_opening_a_missing_database_does_not_make_one(tmp_path: Path) -> None:
    """A missing file is said to be missing, with the command that makes it, and stays missing."""
    url = f"sqlite:///{tmp_path / 'none.db'}"

    with pytest.raises(SchemaRevisionError) as caught:
        AuditStore.open(url)

    assert (
        str(caught.value)
        == f"There is no audit database at {tmp_path / 'none.db'}. Create it: railscribe db upgrade"
    )
    assert list(tmp_path.iterdir()) == []
    for function in (schema.current, schema.check):
        with pytest.raises(SchemaRevisionError, match="There is no audit database"):
            function(url)


def test_opening_an_empty_database(empty_url: str) -> None:
    """A database without our tables is not upgraded by opening it; the command is named."""
    if empty_url.startswith("sqlite"):
        sqlite3.connect(empty_url.removeprefix("sqlite:///")).close()
        execute(empty_url, "CREATE TABLE theirs (id INTEGER)")

    with pytest.raises(SchemaRevisionError, match=r"no audit tables yet\. Run: railscribe db upgrade"):
        AuditStore.open(empty_url)

    assert schema.current(empty_url) is None
    assert schema.check(empty_url) == [
        f"revision: at none, expected {tables.HEAD}. Run: railscribe db upgrade"
    ]


@pytest.mark.parametrize(
    ("found", "hint"),
    [
        pytest.param("0000", "is at revision 0000; .* Run: railscribe db upgrade", id="older"),
        pytest.param("0999", "is at revision 0999, newer .* Upgrade Railscribe: pip install", id="newer"),
    ],
)
def test_opening_at_another_revision(own_url: str, found: str, hint: str) -> None:
    """An older database names the command, a newer one the package to upgrade."""
    execute(own_url, f"UPDATE {tables.VERSION_TABLE} SET version_num = '{found}'")

    with pytest.raises(SchemaRevisionError, match=hint):
        AuditStore.open(own_url)


def test_upgrading_a_newer_database_is_refused(own_url: str) -> None:
    """An old program leaves a new database alone."""
    execute(own_url, f"UPDATE {tables.VERSION_TABLE} SET version_num = '0999'")

    with pytest.raises(SchemaRevisionError, match="newer than this version"):
        schema.upgrade(own_url)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://u:secret@h/d",
        "not a url with secret",
        "postgresql://u:secret@h:port/d",
    ],
)
def test_urls_that_cannot_be_used(url: str) -> None:
    """What is no usable URL is the caller's mistake, told with an example and without the password."""
    with pytest.raises(SettingsError, match=r"Such as sqlite:///railscribe\.db") as caught:
        AuditStore.open(url)

    assert "secret" not in str(caught.value)


def test_unreachable_postgresql() -> None:
    """A server that is not there is named by its place; the password appears nowhere in the error."""
    password = "-".join(["hunter", "2"])  # in parts, because a traceback quotes this very file

    with pytest.raises(AuditError, match=r"cannot reach PostgreSQL at 127\.0\.0\.1:1/audit") as caught:
        AuditStore.open(f"postgresql://user:{password}@127.0.0.1:1/audit")

    assert password not in "".join(traceback.format_exception(caught.value))


def test_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg, the command that installs it is named."""
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'railscribe\[postgres\]'"):
        AuditStore.open("postgresql://user@127.0.0.1:1/audit")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Some other file is not taken for a database, and is left as it is."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear auditor, " * 100)

    with pytest.raises(AuditError, match="is not a SQLite database"):
        AuditStore.open(f"sqlite:///{path}")

    assert path.read_text().startswith("Dear auditor")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """An upgrade makes a file, but not the folder around it."""
    with pytest.raises(AuditError, match="Check that its folder exists"):
        schema.upgrade(f"sqlite:///{tmp_path / 'none' / 'audit.db'}")
