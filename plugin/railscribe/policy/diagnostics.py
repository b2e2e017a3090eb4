"""What is to be said of a policy and of how it came to be: clauses with their sources, diagnostics with codes.

Rules

1. A code is a letter and three digits, stable once released: ``C`` for compiling what others wrote (Colang,
   NeMo configs, generated policies), ``L`` for lint. docs/diagnostics.md lists every one.
2. An *error* fails the compile, unless its code is allowed by name; a *warning* wants to be read; a *note*
   tells what was done on purpose.
3. Places are as the author knows them: a path relative to what was compiled, a line counted from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal


def line_of(field: str, lines: Mapping[str, int]) -> int | None:
    """Return the line of *field*, a dotted path, or of the innermost part around it that has one in *lines*."""
    while field and field not in lines:
        field = field.rpartition(".")[0]
    return lines.get(field)


def placed(field: str, lines: Mapping[str, int]) -> str:
    """Return the beginning of a message about *field*, with its line where *lines* tells it."""
    line = line_of(field, lines)
    where = f"line {line}, {field}" if line is not None else field
    return f"{where}: " if where else ""


class Severity(str, Enum):
    """How much a diagnostic matters (rule 2)."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a clause comes from (rule 3)."""

    file: str
    """Relative, with forward slashes."""
    line: int | None = None
    construct: str = ""
    """What stands there, such as "define user ask about politics" or "instructions"."""

    @property
    def place(self) -> str:
        """``file:line``, as far as known."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One thing a policy says."""

    kind: Literal["disallowed", "allowed", "category", "description"]
    text: str
    source: Source | None = None
    """``None`` for what nobody wrote, such as a built-in category."""
    examples: tuple[str, ...] = ()
    """For people and tests. Never shown to the model, which would echo them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One thing to be said to the author."""

    code: str
    severity: Severity
    message: str
    file: str | None = None
    line: int | None = None
    hint: str | None = None

    @property
    def place(self) -> str:
        """``file:line``, as far as known, for a reader and for an editor to jump to."""
        return f"{self.file or ''}{f':{self.line}' if self.line else ''}"
