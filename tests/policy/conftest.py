"""Configurations written into a folder and compiled there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from railscribe.policy.compile import compile_policy
from railscribe.policy.compiled import Compiled, parse_allowances
from railscribe.policy.gather import gather, library_flows

Compile = Callable[..., Compiled]


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    """Writes files, given by name, into a folder, and compiles it; ``only`` compiles one of them."""
    pytest.importorskip("nemoguardrails")

    def run(
        files: dict[str, str | bytes], *, only: str = "", allow: tuple[str, ...] = (), **options: Any
    ) -> Compiled:
        folder = tmp_path / "bot"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return compile_policy(
            gather(folder / only if only else folder),
            library=library_flows,
            allow=parse_allowances(allow),
            **options,
        )

    return run


def texts(result: Compiled, kind: str) -> list[str]:
    """Return the clauses of *kind*."""
    return [clause.text for clause in result.clauses if clause.kind == kind]


def codes(result: Compiled) -> list[str]:
    """Return the codes of what was said, sorted."""
    return sorted(found.code for found in result.diagnostics)


@pytest.fixture
def clauses_of() -> Callable[[Compiled, str], list[str]]:
    """Gives the clauses of a kind."""
    return texts


@pytest.fixture
def codes_of() -> Callable[[Compiled], list[str]]:
    """Gives the codes of the diagnostics."""
    return codes
