"""Labelled rows as an evaluation reads them.

Rules

1. A row is one JSON object a line: ``prompt`` and ``prompt_label`` (safe or unsafe), and perhaps ``response``,
   ``response_label``, ``image``, ``policy``, ``categories``, ``language``, ``source``, ``group``.
2. A row's policy is found before anything is judged: by name in the lists that were given, as a file beside the rows,
   or by name among the ready ones, in this order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from railscribe.errors import PolicyError, UsageError
from railscribe.policy import Policy, load_policy, parse_policy, policy_documents
from railscribe.values import Label


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRow:
    """One labelled row, where it stands and what it is judged by."""

    item: Mapping[str, Any]
    """The row as it was written (rule 1)."""
    file: Path
    line: int
    policy: Policy | None = None
    """Its own; ``None`` is the evaluation's."""

    @property
    def expected(self) -> Label:
        """What the prompt is labelled."""
        return Label(self.item["prompt_label"])

    @property
    def expected_response(self) -> Label | None:
        """What the response is labelled, if it is."""
        label = self.item.get("response_label")
        return Label(label) if label in ("safe", "unsafe") else None

    @property
    def categories(self) -> list[str]:
        """The categories that it is labelled with, or the hazard in its source's words."""
        return list(self.item.get("categories") or filter(None, [self.item.get("source_category")]))


def read_rows(
    files: Iterable[Path],
    *,
    policies: Iterable[Path] = (),
    groups: Sequence[str] = (),
    limit: int | None = None,
) -> list[EvalRow]:
    """Return the rows of *files* with their policies: of each file the first *limit* whose group fits one of *groups*.

    Raises:
        UsageError: a file that cannot be read or holds no rows, or a line that is none.
        PolicyError: a policy that a row names and nobody knows, with the row's file and line.
    """
    known = {
        name: parse_policy(document) for path in policies for name, document in policy_documents(path).items()
    }
    rows = []
    for file in files:
        found = [row for row in _rows_of(file, known) if not groups or _fits(row, groups)]
        rows += found[:limit]
    if not rows:
        raise UsageError(f"No row has a group like {' or '.join(groups)}.")
    return rows


def _fits(row: EvalRow, groups: Sequence[str]) -> bool:
    return any(fnmatchcase(str(row.item.get("group", "")), pattern) for pattern in groups)


def _rows_of(file: Path, known: Mapping[str, Policy]) -> list[EvalRow]:
    try:
        # Not splitlines(): JSON allows the line separators of Unicode inside a text.
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read {file} ({type(error).__name__}).") from error
    rows: list[EvalRow] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            item = _item(file, number, line)
            rows.append(EvalRow(item=item, file=file, line=number, policy=_policy(file, number, item, known)))
    if not rows:
        raise UsageError(f"{file} holds no rows.")
    return rows


def _item(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        item: dict[str, Any] = json.loads(line)
        good = isinstance(item["prompt"], str) and item["prompt_label"] in ("safe", "unsafe")
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise UsageError(
            f"{file}, line {number}: not a row.",
            hint='It needs "prompt", a text, and "prompt_label" (safe or unsafe).',
        )
    return item


def _policy(file: Path, number: int, item: Mapping[str, Any], known: Mapping[str, Policy]) -> Policy | None:
    name = item.get("policy")
    if not name:
        return None
    if name in known:
        return known[name]
    beside = file.parent / name
    try:
        return load_policy(str(beside) if beside.is_file() else name)
    except PolicyError as error:
        raise PolicyError(f"{file}, line {number}: {error}") from None
