"""What is rare is found by marks: reasons for a review, failures and what waits, the same as without marks."""

# ruff: noqa: S608 - names of views, all of them ours
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from railscribe.audit.migrations import reviews_0006 as as_0006

from railscribe.audit import AuditStore, ReviewDecision, Reviews, tables
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.values import (
    Decision,
    Enforcement,
    Label,
    LateState,
    LateTrace,
    Lost,
    Outcome,
    Reasoning,
    Record,
    Review,
    Side,
    SideVerdict,
    StreamPart,
)

Answers = dict[str, list[tuple[Any, ...]]]
FOUND = ("v_reviews", "v_failures", "v_disagreements", "v_review_queue", "v_review_decisions", "v_rollout")


def some(
    blocked: Callable[..., Record], undecided: Callable[..., Record], first: int
) -> tuple[Record, Record, list[Record]]:
    """Return a flagged record, one that is thought about later, and others of each kind, from number *first* on."""
    flag = Decision(outcome=Outcome.FLAG, sides=(Side.USER,), rule="category 'Violence' flags")
    flagged = blocked(first, decision=flag, enforcement=Enforcement.PASSED)
    deferred = blocked(first + 1, reasoning=Reasoning.DEFERRED)
    others = [
        blocked(first + 2, reviews=(Review.SCORE_IN_BAND, Review.THINK_DISAGREES), rollout="observe"),
        undecided(first + 3),
        undecided(first + 4, reasoning=Reasoning.DEFERRED, rollout="observe"),
        blocked(first + 5, part=StreamPart(stream="a-stream", number=0, final=True)),
    ]
    return flagged, deferred, [flagged, deferred, *others]


def answers(store: AuditStore) -> Answers:
    """Return what the views say, each in an order of its own."""
    return {view: sorted(store.select(f"SELECT * FROM {view}")[1], key=repr) for view in FOUND}


def as_before_marks(store: AuditStore, url: str) -> Answers:
    """Return what the views over reviews said when they knew no marks, from the records alone."""
    on_sqlite = url.startswith("sqlite")
    made = {
        "v_reviews": as_0006.reviews(on_sqlite=on_sqlite),
        "v_review_queue": as_0006.queue(on_sqlite=on_sqlite),
        "v_review_decisions": as_0006.decisions(on_sqlite=on_sqlite),
    }
    instead = made["v_reviews"]
    found = {}
    for view, select in made.items():
        # They ask v_reviews for reasons: give them the one they knew.
        whole = select.replace("FROM v_reviews w", f"FROM ({instead}) w")
        found[view] = sorted(store.select(f"SELECT * FROM ({whole}) t")[1], key=repr)
    return found


def test_marks_change_no_answer(
    any_url: str,
    blocked: Callable[..., Record],
    undecided: Callable[..., Record],
    late: Callable[..., LateTrace],
) -> None:
    """Before, between and after summarising, with late traces and reviews meanwhile, the views say what is so."""
    safe = SideVerdict(label=Label.SAFE, score=0.01)
    seen: list[Answers] = []

    def agree(store: AuditStore) -> Answers:
        found = answers(store)
        before = as_before_marks(store, any_url)
        assert {view: found[view] for view in before} == before
        seen.append(found)
        return found

    def summarised(store: AuditStore) -> None:
        """Sum up: no answer changes, and nothing differs from what the records come to."""
        found = agree(store)
        store.seal()
        assert store.summarise().entries
        assert agree(store) == found
        assert store.summary_differences() == []

    with AuditStore.open(any_url) as store:
        reviews = Reviews(store)
        flagged, deferred, records = some(blocked, undecided, 0)
        for record in records:
            store.append(record)
        agree(store)
        summarised(store)
        assert {row[0] for row in store.select("SELECT id FROM v_review_queue")[1]} == {
            records[place].id for place in (0, 1, 2, 4)
        }

        store.append_late_trace(late(deferred))  # to a record that is summarised
        reviews.append(flagged.id, ReviewDecision.UPHOLD, reason="Fine.", by="carol")
        agree(store)
        summarised(store)
        reviews.append(flagged.id, ReviewDecision.ESCALATE, reason="Not fine.", by="dora")  # it waits again
        agree(store)

        good, bad, more = some(blocked, undecided, 10)
        bad = replace(bad, id=more[4].id, checked_at=more[4].checked_at)
        for record in more:
            store.append(record)
        store.append_late_trace(
            replace(
                late(bad),
                verdict=None,
                state=LateState.LOST,
                cause=Lost.CLOSED,
                disagrees=None,
                contradicts=None,
            )
        )
        agreed = replace(late(more[1]), disagrees=False, contradicts=False)
        assert agreed.verdict is not None
        store.append_late_trace(replace(agreed, verdict=replace(agreed.verdict, user=safe)))
        reviews.append(good.id, ReviewDecision.OVERTURN, reason="Harmless.", by="carol")
        agree(store)
        summarised(store)
        summarised_rows = len(store.select("SELECT * FROM review_reasons")[1])
        assert store.select("SELECT count(*) FROM v_reviews")[1] == [(summarised_rows,)]  # all by marks
        store.summarise(anew=True)
        assert agree(store) == seen[-2]
        assert store.summary_differences() == []
    assert any(found["v_failures"] and found["v_disagreements"] and found["v_rollout"] for found in seen)


@pytest.mark.parametrize("table", [tables.review_reasons, tables.failures, tables.waiting_reviews], ids=str)
def test_a_lost_mark_is_found(
    any_url: str, blocked: Callable[..., Record], undecided: Callable[..., Record], table: sa.Table
) -> None:
    """Somebody deletes marks: comparing names each, and summing up anew puts them back."""
    with AuditStore.open(any_url) as store:
        for record in some(blocked, undecided, 0)[2]:
            store.append(record)
        store.seal()
        store.summarise()
        engine = writing(open_engine(parse_url(any_url)))
        with engine.begin() as connection:
            lost = connection.execute(sa.delete(table)).rowcount
        engine.dispose()

        found = store.summary_differences()

        assert lost > 0
        assert [line.partition(":")[0] for line in found] == [table.name] * lost
        store.summarise(anew=True)
        assert store.summary_differences() == []
