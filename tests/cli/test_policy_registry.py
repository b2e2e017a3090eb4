"""``railscribe policy push|tag|list|log|show|diff`` on the shell, and ``check --policy NAME@TAG``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
SHOP = """\
name: shop
version: "{version}"
description: A shop.
disallowed:
  - Promising {what} to a customer
allowed:
  - Telling anybody when the shop opens
"""


@pytest.fixture
def shop(tmp_path: Path, database_url: str, railscribe: Run) -> Run:
    """``railscribe`` beside two versions of a policy, with a database."""
    for version, what in (("1", "a refund"), ("2", "a full refund")):
        (tmp_path / f"v{version}.yaml").write_text(SHOP.format(version=version, what=what), encoding="utf-8")

    def run(*arguments: str) -> Any:
        return railscribe(*arguments, RAILSCRIBE_DATABASE_URL=database_url)

    return run


def test_a_policy_goes_into_production_and_back(shop: Run) -> None:
    """Push, compare, move with an expectation, and the log of it all."""
    one = shop("policy", "push", "v1.yaml", "--tag", "prod", "--by", "alice", "--json").json()
    two = shop("policy", "push", "v2.yaml", "--by", "alice", "--json").json()
    assert (one["new"], one["move"]["previous_digest"], two["move"]) == (True, None, None)

    differ = shop("policy", "diff", "shop@prod", two["digest"][:8])
    late = shop("policy", "tag", "shop@prod", two["digest"], "--by", "bob", "--expect", two["digest"])
    moved = shop("policy", "tag", "shop@prod", two["digest"][:8], "--by", "bob", "--expect", one["digest"])
    log = shop("policy", "log", "shop", "--json").json()

    assert differ.code == 1
    assert "~ disallowed reworded: Promising a refund to a customer\n    now: Promising a full" in differ.out
    assert (late.code, moved.code) == (1, 0)
    assert "points to" in late.err
    assert [(event["event"], event["by_whom"]) for event in log] == [
        ("registered", "alice"),
        ("moved", "alice"),
        ("registered", "alice"),
        ("moved", "bob"),
    ]
    assert shop("policy", "diff", "shop@prod", "v2.yaml").code == 0


def test_show_has_the_text_to_the_byte_and_each_clause_s_place(shop: Run) -> None:
    """By file without a registration, and by tag with its history; JSON has what compile promises."""
    before = shop("policy", "show", "v1.yaml", "--json").json()
    shop("policy", "push", "v1.yaml", "--tag", "prod", "--by", "alice")

    shown = shop("policy", "show", "shop@prod", "--json").json()
    text = shop("policy", "show", "shop@prod", "--text").out
    told = shop("policy", "show", "shop").out

    assert {"digest", "text", "mode", "clauses", "diagnostics"} <= set(shown)
    assert (before["digest"], before["clauses"]) == (shown["digest"], shown["clauses"])
    assert [tag["tag"] for tag in shown["tags"]] == ["prod"]
    assert text == shown["text"]
    assert "<- v1.yaml:5 disallowed.0" in told
    assert "shop@prod -> " in told


def test_what_is_wrong_is_told(shop: Run) -> None:
    """Wrong usage exits with 2 and moves nothing."""
    wrong = [
        (("policy", "push", "v1.yaml", "--expect", "none"), "Give --tag"),
        (("policy", "push", "v1.yaml", "--tag", "1st"), "a tag begins with a letter"),
        (("policy", "tag", "shop", "00000000"), "Write NAME@TAG"),
        (("policy", "show", "shop@prod"), "The registry has no policy shop@prod"),
        (("policy", "log", "shop"), "has no policy shop"),
    ]

    for arguments, message in wrong:
        ran = shop(*arguments)
        assert (ran.code, message in ran.err) == (2, True), ran.err
    assert shop("policy", "list", "--json").json() == []


def test_a_check_under_a_tag_is_shown_with_its_text(shop: Run) -> None:
    """The record of a check that a tag's policy decided names tag, registration and text."""
    shop("policy", "push", "v1.yaml", "--tag", "prod", "--by", "alice")
    address = ("--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--timeout-s", "1")

    checked = shop("check", "Hello.", "--policy", "shop@prod", *address, "--json")
    shown = shop("audit", "show", checked.json()["record_id"], "--json").json()["policy"]
    told = shop("audit", "show", checked.json()["record_id"]).out

    assert shown["tags"] == ["shop@prod"]
    assert shown["registration"]["registered_by"] == "alice"
    assert "- Promising a refund to a customer" in shown["text"]
    assert ", tagged shop@prod" in told
