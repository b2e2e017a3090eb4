"""Where the definitions of a Colang 1.0 file stand, and what their docstrings say.

NeMo's parser keeps the lines of a flow's steps, but neither those of ``define user`` and ``define bot`` nor a
docstring that a comment follows. This reads just that, line by line, in one pass.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

_DEFINE = re.compile(
    r"^\s*(?:define|def)\s+(?:\w+\s+)*?(?P<kind>user|bot|template|flow|subflow|topic|snippet|token|lookup|type|entity)"
    r"(?![\w-])\s*(?P<name>[^:#]*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One ``define`` line."""

    kind: str
    name: str
    line: int
    description: str

    @property
    def construct(self) -> str:
        """What stands there, for a :class:`railscribe.policy.diagnostics.Source`."""
        return f"define {self.kind} {self.name}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """The ``define`` lines of a file, in order."""

    found: tuple[Header, ...]
    lines: tuple[int, ...]
    named: dict[tuple[str, str], Header]

    def above(self, line: int) -> Header | None:
        """Return the last header at or above *line*."""
        place = bisect_right(self.lines, line)
        return self.found[place - 1] if place else None

    def of(self, kind: str, name: str) -> Header | None:
        """Return the header that defines *name* first."""
        return self.named.get((kind, name))


def headers_of(text: str) -> Headers:
    """Return the headers of a Colang 1.0 *text*."""
    found = tuple(_scan(text.split("\n")))
    named: dict[tuple[str, str], Header] = {}
    for header in found:
        named.setdefault((header.kind, header.name), header)
    return Headers(found=found, lines=tuple(header.line for header in found), named=named)


def _scan(lines: list[str]) -> Iterator[Header]:
    number = 0
    while number < len(lines):
        stripped = lines[number].strip()
        if stripped.startswith('"""'):
            number = _docstring(lines, number)[1]
            continue
        match = _DEFINE.match(lines[number])
        number += 1
        if not match:
            continue
        line, description = number, ""
        while number < len(lines) and (not lines[number].strip() or lines[number].lstrip().startswith("#")):
            number += 1
        if number < len(lines) and lines[number].strip().startswith('"""'):
            description, number = _docstring(lines, number)
        name = " ".join(match["name"].split())
        yield Header(kind=match["kind"], name=name, line=line, description=description)


def _docstring(lines: list[str], start: int) -> tuple[str, int]:
    """Return the docstring that begins on line *start* (from 0), and the line after it."""
    first = lines[start].strip()[3:]
    if first.endswith('"""'):
        return first[:-3].strip(), start + 1
    said = [first]
    for number in range(start + 1, len(lines)):
        stripped = lines[number].strip()
        if stripped.endswith('"""'):
            return " ".join(" ".join([*said, stripped[:-3]]).split()), number + 1
        said.append(stripped)
    return " ".join(" ".join(said).split()), len(lines)
