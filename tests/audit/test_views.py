"""The documented views and the audit questions: the same answers on both databases."""

# ruff: noqa: S608 - names of views and ids, all of them ours
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from railscribe.audit import AuditStore, tables
from railscribe.values import (
    Cause,
    Decision,
    Enforcement,
    Exchange,
    Flags,
    Identity,
    Label,
    Outcome,
    Reasoning,
    Record,
    Review,
    Side,
)

RecordFactory = Callable[..., Record]
Answer = tuple[list[str], list[tuple[object, ...]]]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def history(blocked: RecordFactory, undecided: RecordFactory) -> list[Record]:
    """Makes a few days of two tenants: blocks, a flag, an allowed one, a widened one, things undecided."""
    day = timedelta(days=1)
    first = blocked().checked_at
    named = blocked().decision
    return [
        blocked(0, reviews=(Review.SCORE_IN_BAND,), reasoning=Reasoning.DEFERRED),
        blocked(1, checked_at=first + timedelta(seconds=2)),  # past midnight, UTC
        blocked(2, checked_at=first + day, decision=replace(named, categories=())),
        blocked(
            3,
            checked_at=first + day,
            decision=replace(named, outcome=Outcome.FLAG),
            enforcement=Enforcement.PASSED,
        ),
        blocked(
            4,
            checked_at=first + 2 * day,
            identity=Identity(tenant="other"),
            exchange=Exchange(user="hello", response="hi"),
            image=None,
            neutralised=(),
            flags=Flags(),
            verdict=replace(
                undecided().verdict,
                user=replace(blocked().verdict.user, label=Label.SAFE, score=0.01),
                response=blocked().verdict.response,
                reply="User Safety: safe\nResponse Safety: safe",
            ),
            decision=Decision(outcome=Outcome.ALLOW, sides=(Side.RESPONSE,)),
            enforcement=Enforcement.PASSED,
        ),
        undecided(5),
        undecided(
            6,
            flags=Flags(thinking=True),
            decision=Decision(outcome=Outcome.UNDECIDED, sides=(Side.USER,), cause=Cause.MODALITY),
            enforcement=Enforcement.PASSED,
        ),
    ]


def fill(url: str, history: list[Record]) -> AuditStore:
    """Open the store at *url* with *history* in it."""
    store = AuditStore.open(url)
    for record in history:
        store.append(record)
    return store


def test_blocked_by_category_and_day(any_url: str, history: list[Record]) -> None:
    """Blocks count once for each category that decided them, on their day in UTC."""
    with fill(any_url, history) as store:
        columns, rows = store.select("SELECT * FROM v_blocked_by_category_day ORDER BY day, category")

    assert columns == ["day", "tenant", "policy", "category", "blocked"]
    assert rows == [
        ("2026-03-14", "acme", "dev-tools-assistant", "Violence", 1),
        ("2026-03-15", "acme", "dev-tools-assistant", "(none named)", 1),
        ("2026-03-15", "acme", "dev-tools-assistant", "Violence", 1),
    ]


def test_undecided_with_cause(any_url: str, history: list[Record]) -> None:
    """Every check that came to nothing is listed with why, and with what was done all the same."""
    with fill(any_url, history) as store:
        _, rows = store.select(
            "SELECT tenant, cause, user_cause, enforcement, engine FROM v_undecided ORDER BY checked_at"
        )

    assert rows == [
        ("default", "timeout", "timeout", "refused", "openai_compatible"),
        ("default", "modality", "timeout", "passed", "openai_compatible"),
    ]


def test_every_check_in_one_flat_row(any_url: str, history: list[Record], blocked: RecordFactory) -> None:
    """One row tells the whole of a check: verdict, decision, policy, engine and the words themselves."""
    with fill(any_url, history) as store:
        assert store.select("SELECT count(*) FROM v_checks")[1] == [(len(history),)]
        columns, [row] = store.select(f"SELECT * FROM v_checks WHERE id = '{blocked(0).id}'")

    found = dict(zip(columns, row, strict=True))
    expected = {
        "checked_at": "2026-03-14 23:59:58.123456",
        "day": "2026-03-14",
        "outcome": "block",
        "decided_on": "user+response",
        "categories": "Violence, spite",
        "deciding_categories": "Violence",
        "notes": "unknown_category",
        "neutralised": "conversation_marker, user_marker",
        "policy": "dev-tools-assistant",
        "policy_digest": blocked().rendering.policy_digest,
        "policy_text": blocked().rendering.text,
        "engine": "embedded",
        "trace_requested": True,
        "user_text": blocked().exchange.user,
        "response_text": blocked().exchange.response,
        "image_text": "STAB HERE",
        "trace": "Names a weapon.",
        "reply": blocked().verdict.reply,
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.postgres
def test_both_databases_answer_alike(database_url: str, postgres_url: str, history: list[Record]) -> None:
    """Views give the same columns and rows on SQLite and on PostgreSQL."""

    def answers(url: str) -> dict[str, Answer]:
        with fill(url, history) as store:
            found = {view: store.select(f"SELECT * FROM {view}") for view in tables.VIEWS}
        return {view: (columns, sorted(rows, key=repr)) for view, (columns, rows) in found.items()}

    assert answers(database_url) == answers(postgres_url)


def test_the_interface_names_every_view(any_url: str) -> None:
    """v_interface lists the views there are, each once."""
    with AuditStore.open(any_url) as store:
        _, rows = store.select("SELECT name, version, since FROM v_interface")

    assert sorted(name for name, _, _ in rows) == sorted(tables.VIEWS)
    assert {version for _, version, _ in rows} == {1}


def test_every_column_is_documented(store: AuditStore) -> None:
    """docs/schema.md names every table, view and column there is."""
    text = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    names = {
        name for table in tables.metadata.tables.values() for name in (table.name, *table.columns.keys())
    }
    for view in tables.VIEWS:
        names |= {view, *store.select(f"SELECT * FROM {view}")[0]}

    assert sorted(name for name in names if f"`{name}`" not in text) == []
