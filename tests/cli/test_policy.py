"""`railscribe policy compile` and `show`, run as a person runs them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FLOW = 'define user ask about guns\n  "gun?"\n\ndefine flow\n  user ask about guns\n  bot refuse to respond\n'
BAD = FLOW + "\ndefine flow other\n  user ask about guns\n  bot $unheard_of\n"


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    """A folder with one refused topic."""
    pytest.importorskip("nemoguardrails")
    folder = tmp_path / "bot"
    folder.mkdir()
    (folder / "rails.co").write_text(FLOW)
    return folder


def test_compile_prints_one_object(railscribe: Callable[..., Any], bot: Path) -> None:
    """--json gives the documented shape, and nothing else on standard output."""
    ran = railscribe("policy", "compile", "bot", "--json")
    result = ran.json()

    assert ran.code == 0
    assert {"digest", "text", "mode", "clauses", "diagnostics"} <= set(result)
    assert result["mode"] == "policy"
    assert result["clauses"][0]["kind"] == "disallowed"
    assert result["clauses"][0]["source"]["line"] == 1
    assert "1 disallowed" in ran.err


def test_out_writes_what_show_explains(railscribe: Callable[..., Any], bot: Path, tmp_path: Path) -> None:
    """--out writes a policy that loads, and show prints its text with the place each clause came from."""
    assert railscribe("policy", "compile", "bot", "--out", "policy.yaml", "--name", "guns").code == 0
    shown = railscribe("policy", "show", "policy.yaml")

    assert shown.code == 0
    assert re.search(r"- Asking about guns\n +<- rails\.co:1 define user ask about guns", shown.out)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".policy")] == []
    assert railscribe("policy", "show", "dev-tools-assistant").code == 0


def test_a_failed_compile_writes_nothing(railscribe: Callable[..., Any], bot: Path, tmp_path: Path) -> None:
    """An error has its place, code and hint, exit code 1, and leaves an older file as it was."""
    (bot / "rails.co").write_text(BAD)
    (tmp_path / "policy.yaml").write_text("old")
    ran = railscribe("policy", "compile", "bot", "--out", "policy.yaml")

    assert ran.code == 1
    assert "rails.co:10: error C110: not understood" in ran.err
    assert (tmp_path / "policy.yaml").read_text() == "old"


def test_an_allowed_error_is_recorded(railscribe: Callable[..., Any], bot: Path, tmp_path: Path) -> None:
    """--allow takes an error on, and the policy's file says so."""
    (bot / "rails.co").write_text(BAD)
    ran = railscribe("policy", "compile", "bot", "--out", "policy.yaml", "--allow", "C110@rails.co:10")

    assert ran.code == 0
    assert "error C110 (allowed)" in ran.err
    assert "# Allowed while compiling: C110@rails.co:10\n" in (tmp_path / "policy.yaml").read_text()
    assert railscribe("policy", "show", "policy.yaml", "--json").json()["allowances"] == ["C110@rails.co:10"]


def test_wrong_usage(railscribe: Callable[..., Any], bot: Path) -> None:
    """A path that leads nowhere, an allowance that is none and a folder that cannot be written to exit with 2."""
    assert railscribe("policy", "compile", "missing").code == 2
    assert railscribe("policy", "compile", "bot", "--allow", "everything").code == 2
    assert railscribe("policy", "compile", "bot", "--out", "no/such/folder.yaml").code == 2
