"""Labelled rows: how they are read, told apart, split, and turned into what the model should have said.

Rules

1. A row is one JSON object a line: ``prompt``, ``response``?, ``prompt_label``, ``response_label``?,
   ``categories``?, ``language``, ``policy``?, ``trace``?, and what its source adds. Labels are safe or unsafe.
2. The split is by a hash of what rows share (a pattern, a jailbreak's goal, a template), so nothing like a
   held-out row was met in training, and the same file splits the same way everywhere.
3. The target is the reply grammar of :mod:`railscribe.nemotron.reply`, to the letter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from railscribe.errors import UsageError
from railscribe.values import Label

HELD_OUT_PERCENT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One labelled exchange."""

    prompt: str
    prompt_label: Label
    response: str | None = None
    response_label: Label | None = None
    categories: tuple[str, ...] = ()
    language: str = "en"
    policy: str | None = None
    trace: str | None = None
    source: str = ""
    kin: str = ""
    """What it shares with its relatives; rows of one kin stay on one side of the split."""
    once: bool = False
    """Shown in one epoch only: there are many like it."""

    @property
    def held_out(self) -> bool:
        """Whether the row is for measuring and never for training (rule 2)."""
        return in_held_out(self.kin)


def in_held_out(kin: str) -> bool:
    """Whether what is called *kin* is held out, on every machine alike (rule 2)."""
    return int(hashlib.sha256(kin.encode()).hexdigest(), 16) % 100 < HELD_OUT_PERCENT


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of *path* that hold something, each with its number.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        # Not splitlines(): JSON allows the line separators of Unicode inside a text.
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text.") from error
    yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of *path* that carry plain labels; others ("mostly safe") are for a recipe to judge.

    Raises:
        UsageError: the file cannot be read, or a line is no row, with file and line.
    """
    for number, line in numbered_lines(path):
        try:
            yield row_of(json.loads(line), source=path.stem)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path}, line {number}: not a labelled row ({error}).") from None


def row_of(item: dict[str, Any], *, source: str) -> Row:
    """Return *item*, one parsed line, as a row."""
    response = item.get("response")
    response_label = item.get("response_label")
    return Row(
        prompt=item["prompt"],
        prompt_label=_label(item["prompt_label"]),
        response=response if response_label is not None else None,
        response_label=None if response_label is None or response is None else _label(response_label),
        categories=tuple(item.get("categories", ())),
        language=item.get("language", "en"),
        policy=item.get("policy"),
        trace=item.get("trace"),
        source=source,
        kin=" ".join((item.get("goal") or item.get("group") or item["prompt"]).casefold().split()),
    )


def as_item(row: Row) -> dict[str, Any]:
    """Return *row* as one line of a file, for ``railscribe eval``."""
    item = {
        "prompt": row.prompt,
        "response": row.response,
        "prompt_label": row.prompt_label.value,
        "response_label": row.response_label.value if row.response_label else None,
        "categories": list(row.categories),
        "language": row.language,
        "policy": row.policy,
        "source": row.source,
    }
    return {name: value for name, value in item.items() if value not in (None, [])}


def _label(word: str) -> Label:
    if word not in ("safe", "unsafe"):
        raise ValueError(f"a label is safe or unsafe, not {word!r}")
    return Label(word)


def target_reply(row: Row, *, categories: bool, thinking: bool) -> str:
    """Return what the model should answer to *row* (rule 3); *thinking* needs a row with a trace."""
    lines = [f"User Safety: {row.prompt_label.value}"]
    if row.response is not None and row.response_label is not None:
        lines.append(f"Response Safety: {row.response_label.value}")
    if categories and row.categories and Label.UNSAFE in (row.prompt_label, row.response_label):
        lines.append(f"Safety Categories: {', '.join(row.categories)}")
    trace = f"<think>\n{row.trace}\n</think>" if thinking else ""
    return trace + "\n".join(lines)


def split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return (to train on, held out)."""
    return [row for row in rows if not row.held_out], [row for row in rows if row.held_out]
