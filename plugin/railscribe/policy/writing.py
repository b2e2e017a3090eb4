"""A compiled policy as YAML text, with the source of each clause beside it.

Rules

1. Every value is JSON, which is YAML, so that nothing in a text can be taken for syntax.
2. The source of a clause stands in a comment after it, ``# from file:line construct``, where it cannot be parted
   from it. :func:`origins` reads them back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from railscribe.policy.diagnostics import Clause, Source

if TYPE_CHECKING:
    from railscribe.policy.compiled import Compiled

_FROM = re.compile(r"[}\"] # from (?P<file>\S+?)(?::(?P<line>\d+))?(?: (?P<construct>.*))?$")
_ALLOWED = re.compile(r"^# Allowed while compiling: (?P<allowance>\S.*)$")
_KINDS = {"categories": "category", "disallowed": "disallowed", "allowed": "allowed"}


def written(compiled: Compiled) -> str:
    """Return *compiled* as the text of a policy file."""
    if compiled.document is None:
        return ""
    clauses = {(clause.kind, clause.text.casefold()): clause for clause in compiled.clauses}
    lines = [f"# Compiled by railscribe from {_flat(compiled.name)}. Each clause names its source."]
    lines += [f"# Allowed while compiling: {_flat(str(allowance))}" for allowance in compiled.allowances]
    for key, value in compiled.document.items():
        if key in _KINDS and isinstance(value, list) and value:
            lines.append(f"{key}:")
            lines.extend(_items(_KINDS[key], value, clauses))
        else:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _items(kind: str, values: list[Any], clauses: dict[tuple[Any, str], Clause]) -> Iterator[str]:
    for value in values:
        text = value
        if isinstance(value, dict):
            definition = value.get("definition")
            text = f"{value.get('name')}: {definition}" if definition else value.get("name")
        clause = clauses.get((kind, str(text).casefold()))
        source = clause.source if clause else None
        comment = f" # from {_place(source)} {_flat(source.construct)}".rstrip() if source else ""
        yield f"  - {json.dumps(value, ensure_ascii=False)}{comment}"


def _place(source: Source) -> str:
    return source.place.replace(" ", "%20")


def _flat(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def origins(text: str) -> dict[int, Source]:
    """Return the sources that the lines of *text* name, by line (rule 2)."""
    found = {}
    for number, raw in enumerate(text.split("\n"), start=1):
        match = _FROM.search(raw)
        if match:
            line = int(match["line"]) if match["line"] else None
            file = match["file"].replace("%20", " ")
            found[number] = Source(file=file, line=line, construct=match["construct"] or "")
    return found


def allowances(text: str) -> tuple[str, ...]:
    """Return the allowances that the head of *text* names."""
    found = []
    for raw in text.split("\n"):
        if not raw.startswith("#"):
            break
        match = _ALLOWED.match(raw)
        if match:
            found.append(match["allowance"])
    return tuple(found)
