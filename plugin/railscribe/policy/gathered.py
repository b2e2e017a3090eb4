"""What was read and is to be compiled, as values: no file is open any more."""

from __future__ import annotations

from dataclasses import dataclass

from railscribe.policy.diagnostics import Diagnostic
from railscribe.policy.nemo.configuration import YamlFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ColangFile:
    """One ``.co`` file."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A folder or a file, and all that it imports."""

    name: str
    is_folder: bool
    yaml: tuple[YamlFile, ...]
    colang: tuple[ColangFile, ...]
    diagnostics: tuple[Diagnostic, ...]
