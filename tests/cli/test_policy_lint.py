"""``railscribe policy lint`` on the shell."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from railscribe.cli.policy_lint import lint_policies

Run = Callable[..., Any]
SHOP = """\
name: shop
version: "1"
description: A shop.
categories:
  - name: Betting
    threshold: 0.4
disallowed:
  - Refunds
allowed:
  - Our opening hours
"""


def test_warnings_are_told_and_fail_only_when_strict(railscribe: Run, tmp_path: Path) -> None:
    """A place that an editor jumps to, the code, the hint; exit 0, or 1 with --strict."""
    (tmp_path / "shop.yaml").write_text(SHOP, encoding="utf-8")

    ran, strict = (
        railscribe("policy", "lint", "shop.yaml"),
        railscribe("policy", "lint", "shop.yaml", "--strict"),
    )

    assert (ran.code, strict.code) == (0, 1)
    assert "shop.yaml:8: warning L008: disallowed.0: 'Refunds' is so short" in ran.out
    assert ran.out.endswith("shop.yaml: 1 warning\n")


def test_a_huge_file_is_refused_unread(railscribe: Run, tmp_path: Path) -> None:
    """As it is where a policy is used: by its size, before it is parsed."""
    (tmp_path / "shop.yaml").write_text(SHOP + "#" * 300_000, encoding="utf-8")

    ran = railscribe("policy", "lint", "shop.yaml")

    assert ran.code == 2
    assert "shop.yaml is larger than 262144 bytes" in ran.err


def test_what_an_engine_cannot_do_is_an_error(railscribe: Run, tmp_path: Path) -> None:
    """The same policy is fine in process and not before a server; nothing is contacted to say so."""
    (tmp_path / "shop.yaml").write_text(SHOP, encoding="utf-8")
    server = ("--base-url", "http://127.0.0.1:9/v1", "--model", "m")

    ran = railscribe("policy", "lint", "shop.yaml", *server, "--json")

    assert ran.code == 1
    told = ran.json()
    assert (told["ok"], told["engine"]) == (False, "openai_compatible")
    assert [each["code"] for each in told["files"][0]["diagnostics"]] == ["L021", "L008"]
    assert set(told["files"][0]["diagnostics"][0]) == {"code", "severity", "message", "file", "line", "hint"}


def test_a_document_that_is_no_policy_is_told_line_by_line(railscribe: Run, tmp_path: Path) -> None:
    """Exit 1 with every breach; what is no document at all is wrong usage."""
    (tmp_path / "bad.json").write_text(json.dumps({"name": "Bad Name"}, indent=1), encoding="utf-8")
    (tmp_path / "list.yaml").write_text("- a\n", encoding="utf-8")

    bad, listed, absent = (railscribe("policy", "lint", name) for name in ("bad.json", "list.yaml", "defalt"))

    assert bad.code == 1
    assert "bad.json:2: error L001: name: use lower-case letters" in bad.out
    assert (listed.code, absent.code) == (2, 2)
    assert "does not hold a policy" in listed.err
    assert "default" in absent.err


def test_the_core_alone_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who writes policies need not install what runs models, and is told the same of thresholds and lengths."""
    for package in ("torch", "transformers", "peft", "gguf", "tokenizers", "openai"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    Path("railscribe.toml").write_text(
        f'context_tokens = 32700\ncache_dir = "{tmp_path}"\n', encoding="utf-8"
    )
    (tmp_path / "gemma-3-270m-x").mkdir()
    (tmp_path / "gemma-3-270m-x" / "tokenizer.json").write_text("{}", encoding="utf-8")
    Path("shop.yaml").write_text(SHOP, encoding="utf-8")

    found = {}
    for engine in ("embedded", "openai_compatible"):
        with pytest.raises(typer.Exit):
            lint_policies(files=["shop.yaml"], engine=engine, as_json=True)
        (file,) = json.loads(capsys.readouterr().out)["files"]
        found[engine] = {each["code"]: each["message"] for each in file["diagnostics"]}

    assert set(found["embedded"]) == {"L008", "L022"}
    assert found["embedded"]["L022"].endswith("embedded has room for 68")
    assert set(found["openai_compatible"]) == {"L008", "L021"}
