"""The benchmark's half year: what it puts in is what the views say, and the database is as it was otherwise."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from railscribe.audit import AuditStore
from railscribe.audit.schema import check

CHECKS = 300_000  # in half a year: one or two a minute
MINUTES = 1200


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, Any]:
    """The three modules, found as a script beside them finds them."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import audit_questions
    import filling
    import made_year

    return audit_questions, filling, made_year


def test_a_made_year_is_what_the_views_say(own_url: str, benchmarks: tuple[Any, Any, Any]) -> None:
    """Filled in two runs, summed up between, every view and question is asked, and the sums are those of the rows."""
    audit_questions, filling, made_year = benchmarks
    year = made_year.Year(CHECKS)
    place = made_year.COLUMNS["records"].index("outcome")
    outcomes: Counter[str] = Counter()
    for first in range(0, MINUTES, made_year.BATCH):
        batch = year.batch(first, first + made_year.BATCH)
        outcomes.update(row[place] for row in batch["records"])

    filling.fill(own_url, CHECKS, MINUTES - made_year.BATCH)
    with AuditStore.open(own_url) as store:
        store.summarise()
    filling.fill(own_url, CHECKS, MINUTES, bare=False)

    assert check(own_url) == []  # indexes and triggers are back
    with AuditStore.open(own_url) as store:
        assert all(audit_questions.measure(store, rounds=1).values())
        _, found = store.select("SELECT outcome, sum(checks) FROM v_daily_decisions GROUP BY outcome")
        assert dict(found) == outcomes
        assert store.summary_differences() == []
