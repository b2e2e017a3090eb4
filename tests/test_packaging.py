"""The distribution holds every package and every data file of the tree."""

from __future__ import annotations

import sys
from glob import glob
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
SETUPTOOLS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "setuptools"
]
FOLDERS: dict[str, str] = SETUPTOOLS["package-dir"]
"""The folders that packages are mapped from; a subpackage lies below the nearest."""


def packages_in_tree() -> dict[str, Path]:
    found = {}
    for package, folder in FOLDERS.items():
        for marker in (ROOT / folder).rglob("__init__.py"):
            inner = marker.parent.relative_to(ROOT / folder).parts
            found[".".join((package, *inner))] = marker.parent
    return found


PACKAGES = packages_in_tree()


def data_files() -> list[tuple[str, str]]:
    """Every file that is no Python source, with the innermost package it belongs to."""
    found = []
    for package, folder in PACKAGES.items():
        inner = [other for other in PACKAGES.values() if other != folder and other.is_relative_to(folder)]
        for path in sorted(folder.rglob("*")):
            built = path.suffix in {".py", ".pyc"} or path.name.startswith(".")
            if path.is_file() and not built and not any(path.is_relative_to(other) for other in inner):
                found.append((package, path.relative_to(folder).as_posix()))
    return found


def test_every_package_is_listed() -> None:
    """The explicit list of packages is the tree's, in order."""
    assert sorted(PACKAGES) == SETUPTOOLS["packages"]


@pytest.mark.parametrize(("package", "name"), data_files())
def test_data_file_is_shipped(package: str, name: str) -> None:
    """A file beside the code is matched by its package's patterns and lies in the installed package."""
    patterns = SETUPTOOLS["package-data"].get(package, [])
    shipped = {
        Path(match).as_posix()
        for pattern in patterns
        for match in glob(pattern, root_dir=PACKAGES[package], recursive=True)  # noqa: PTH207 - setuptools' own
    }

    assert name in shipped
    assert files(package).joinpath(name).is_file()


def test_no_pattern_is_left_over() -> None:
    """Every package that data is declared for is in the list."""
    assert set(SETUPTOOLS["package-data"]) <= set(SETUPTOOLS["packages"])
