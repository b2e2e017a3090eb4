"""Rows judged by a script: what the word in brackets says is what the guard says, with the score behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from railscribe.audit import AuditStore
from railscribe.evaluation import EvalRow, judge, read_rows
from railscribe.guard import Guard
from railscribe.policy import load_policy
from railscribe.settings import Settings
from railscribe.testing import ScriptedEngine
from railscribe.values import Completion, Record, Request, Side

_SAYS = re.compile(r"\[(\w+)(?: ([\d.]+))?\]")
Judge = Callable[[Sequence[dict[str, Any]]], Awaitable[tuple[list[EvalRow], list[Record]]]]


def _answer(request: Request) -> Completion:
    lines, scores = [], {}
    for side, name, text in (
        (Side.USER, "User", request.user),
        (Side.RESPONSE, "Response", request.response),
    ):
        says = _SAYS.search(text or "")
        if text is not None and says is not None:
            lines.append(f"{name} Safety: {says[1]}")
            if says[2]:
                scores[side] = float(says[2])
    return Completion(text="\n".join(lines), finish_reason="stop", scores=scores)


@pytest.fixture
def judged(store: AuditStore, tmp_path: Path) -> Judge:
    """Judges items, written to a file and read back, by their own words: "Hello [unsafe 0.9]"."""

    async def run(items: Sequence[dict[str, Any]]) -> tuple[list[EvalRow], list[Record]]:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
        rows = read_rows([path])
        guard = Guard(
            engine=ScriptedEngine(_answer), store=store, policy=load_policy("default"), settings=Settings()
        )
        return rows, await judge(guard, rows, concurrency=4)

    return run
