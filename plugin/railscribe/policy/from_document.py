"""Our own policy documents, as a source to compile: each clause with its line, or the place it was compiled from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from railscribe.policy.diagnostics import Clause, Source
from railscribe.policy.draft import Draft
from railscribe.policy.nemo.configuration import YamlFile

_FIELDS = {"name", "version", "description"}
_LISTS = {"categories", "disallowed", "allowed", "suppressed"}


def is_document(data: Mapping[str, Any]) -> bool:
    """Whether *data* means to be one of our policy documents."""
    return set(data) >= _FIELDS or ("name" in data and bool(_LISTS & set(data)))


def add_document(draft: Draft, file: YamlFile) -> dict[str, Any]:
    """Add the clauses of *file* to *draft* and return the document."""
    draft.places.update(
        {path: Source(file=file.name, line=line, construct=path) for path, line in file.lines.items()}
    )
    for kind in ("disallowed", "allowed"):
        for number, text in enumerate(_listed(file.data, kind)):
            _add(draft, file, kind, f"{kind}.{number}", str(text))
    for number, category in enumerate(_listed(file.data, "categories")):
        if isinstance(category, Mapping):
            name, definition = str(category.get("name", "")), category.get("definition")
            _add(
                draft,
                file,
                "category",
                f"categories.{number}",
                f"{name}: {definition}" if definition else name,
            )
    if isinstance(file.data.get("description"), str):
        _add(draft, file, "description", "description", file.data["description"])
    return {str(key): value for key, value in file.data.items()}


def _listed(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    return value if isinstance(value, list) else []


def _add(draft: Draft, file: YamlFile, kind: Any, path: str, text: str) -> None:
    source = file.origins.get(file.lines.get(path, 0)) or file.source(path)
    draft.clauses.setdefault((kind, text.casefold()), Clause(kind=kind, text=text, source=source))
