"""What persons decide about records: the queue, the reviews, and who may not review what."""

# ruff: noqa: S608 - names and values of ours
from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore, ReviewDecision, Reviews, erase, schema
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.audit.reviews import REASONS, is_same
from railscribe.errors import AuditError, ReviewerIsSubjectError, UsageError
from railscribe.values import Decision, Enforcement, Identity, LateTrace, Outcome, Reasoning, Record, Review

RecordFactory = Callable[..., Record]
UPHOLD, OVERTURN, ESCALATE = ReviewDecision.UPHOLD, ReviewDecision.OVERTURN, ReviewDecision.ESCALATE


def flagged(blocked: RecordFactory, number: int, **changes: object) -> Record:
    """A record that was let through and waits for a person."""
    decision = replace(blocked().decision, outcome=Outcome.FLAG, rule="category 'Violence' flags")
    changes = {"decision": decision, "enforcement": Enforcement.PASSED, **changes}
    return blocked(number, **changes)


def execute(url: str, statement: str, *, past_triggers: bool = False) -> int:
    """Run raw SQL, as somebody would who goes past the store, and who may also take triggers away."""
    engine = writing(open_engine(parse_url(url)))
    try:
        with engine.begin() as connection:
            if past_triggers:
                on_sqlite = url.startswith("sqlite")
                off = "DROP TRIGGER IF EXISTS contents_no_delete"
                connection.execute(
                    sa.text(off if on_sqlite else "SET LOCAL session_replication_role = replica")
                )
            return connection.execute(sa.text(statement)).rowcount
    finally:
        engine.dispose()


def test_what_waits_for_a_person(
    any_store: AuditStore, blocked: RecordFactory, undecided: RecordFactory, late: Callable[..., LateTrace]
) -> None:
    """The queue holds what was flagged or has a reason for review, oldest first, each once with all reasons."""
    both = flagged(blocked, 1, reviews=(Review.SCORE_IN_BAND, Review.TRACE_MISSING))
    deferred = blocked(0, reasoning=Reasoning.DEFERRED)
    for record in (both, deferred, blocked(2), undecided(3), undecided(4, reviews=(Review.SCORE_MISSING,))):
        any_store.append(record)
    any_store.append_late_trace(late(deferred))

    waiting = Reviews(any_store).queue()

    assert [(item["id"], item["reasons"], item["state"]) for item in waiting] == [
        (blocked(0).id, ["think_disagrees"], "new"),
        (both.id, ["flagged", "score_in_band", "trace_missing"], "new"),
        (undecided(4).id, ["score_missing"], "new"),
    ]
    assert waiting[0]["late_trace"]["text"] == "It asks for a knife."
    told = {name: waiting[1][name] for name in ("rule", "deciding_categories", "policy", "last_review")}
    assert told == {
        "rule": "category 'Violence' flags",
        "deciding_categories": ["Violence"],
        "policy": "dev-tools-assistant",
        "last_review": None,
    }
    assert waiting[1]["trace"]["text"] == "Names a weapon."


def test_the_queue_is_narrowed(
    any_store: AuditStore, blocked: RecordFactory, undecided: RecordFactory
) -> None:
    """By tenant, policy and reason, and cut at the limit; a reason that there is not is named with those there are."""
    any_store.append(flagged(blocked, 0))
    any_store.append(flagged(blocked, 1, reviews=(Review.SCORE_IN_BAND,)))
    any_store.append(undecided(2, reviews=(Review.SCORE_IN_BAND,)))

    def ids(**narrow: object) -> list[str]:
        return [item["id"] for item in Reviews(any_store).queue(**narrow)]  # type: ignore[arg-type]

    assert ids(tenant="acme") == [blocked(0).id, blocked(1).id]
    assert ids(policy="default") == [undecided(2).id]
    assert ids(reason="score_in_band") == [blocked(1).id, undecided(2).id]
    assert ids(reason="flagged", limit=1) == [blocked(0).id]
    assert ids(tenant="none such") == []
    with pytest.raises(UsageError, match="Reasons are flagged, score_in_band"):
        ids(reason="flag")


def test_every_reason_can_be_asked_for() -> None:
    """What a check or a late trace can give as its reason is known to the queue's filter."""
    assert {reason.value for reason in Review} <= set(REASONS)


def test_the_clause_that_decided(
    any_store: AuditStore, blocked: RecordFactory, fill: Callable[[AuditStore], None]
) -> None:
    """Where the policy is registered, the queue names the clause and where in its source it stands."""
    fill(any_store)
    any_store.append(flagged(blocked, 1))

    (item,) = Reviews(any_store).queue(reason="flagged")

    (clause,) = item["deciding_clauses"]
    assert "Violence" in clause["text"]


def test_a_review_is_added_and_closes(any_store: AuditStore, blocked: RecordFactory) -> None:
    """The original stays as it was, later reviews say what they answer, and escalating leaves the record open."""
    any_store.append(flagged(blocked, 0))
    before = any_store.record(blocked().id)
    reviews = Reviews(any_store)

    first = reviews.append(blocked().id, ESCALATE, reason=" Unclear to me. ", by=" carol ")
    (open_still,) = reviews.queue()
    second = reviews.append(blocked().id[:20], OVERTURN, reason="A kitchen knife.", by="dave")
    third = reviews.append(blocked().id, UPHOLD, reason="Second thoughts.", by="dave")

    assert (first["number"], first["answers"], first["reviewed_by"], first["reason"]) == (
        *(1, None),
        "carol",
        "Unclear to me.",
    )
    assert (second["number"], second["answers"], third["answers"]) == (2, 1, 2)
    assert (open_still["state"], open_still["last_reviewed_by"]) == ("escalated", "carol")
    assert reviews.queue() == []
    after = any_store.record(blocked().id)
    assert [review["decision"] for review in after["review_decisions"]] == ["escalate", "overturn", "uphold"]
    assert {**after, "review_decisions": []} == before


def test_reviews_in_sql(any_store: AuditStore, blocked: RecordFactory) -> None:
    """v_review_decisions tells record, reasons, outcome before, decision, reviewer and the minutes it was open."""
    any_store.append(flagged(blocked, 0))
    reviews = Reviews(any_store)
    reviews.append(blocked().id, ESCALATE, reason="Unclear.", by="carol")
    told = reviews.append(blocked().id, OVERTURN, reason="Harmless.", by="dave")

    columns, rows = any_store.select("SELECT * FROM v_review_decisions ORDER BY number")

    second = dict(zip(columns, rows[1], strict=True))
    expected = {
        "id": blocked().id,
        "number": 2,
        "answers": 1,
        "tenant": "acme",
        "policy": "dev-tools-assistant",
        "reasons": "flagged",
        "outcome": "flag",
        "answered_decision": "escalate",
        "answered_by": "carol",
        "decision": "overturn",
        "reason": "Harmless.",
        "reviewed_by": "dave",
        "day": told["reviewed_at"][:10],
    }
    assert {name: second[name] for name in expected} == expected
    minutes = second["minutes_open"]
    assert isinstance(minutes, int)
    assert minutes > 60 * 24  # the record is one of March


@pytest.mark.parametrize(
    ("reviewer", "subject", "same"),
    [
        pytest.param("user-42", "user-42", True, id="plain"),
        pytest.param(" USER-42\t", "user-42", True, id="case and space around"),
        pytest.param("Ann Lee", "ann  lee", True, id="space within"),
        pytest.param("STRASSE", "straße", True, id="one letter written in two ways"),
        pytest.param("\uff55\uff53\uff45\uff52-42", "user-42", True, id="full width"),
        pytest.param("us\u200ber-42", "user-42", True, id="zero width"),
        pytest.param("user-43", "user-42", False, id="another"),
        pytest.param("user-42", None, False, id="about nobody"),
    ],
)
def test_who_is_the_same(reviewer: str, subject: str | None, same: bool) -> None:
    """Identities are compared as a person reads them, not as they are typed."""
    assert is_same(reviewer, subject) is same


def test_nobody_reviews_a_record_about_themselves(any_store: AuditStore, blocked: RecordFactory) -> None:
    """The subject's own review is refused with an error of that name, and nothing is kept."""
    any_store.append(flagged(blocked, 0, identity=Identity(tenant="acme", subject="Ann Lee")))

    with pytest.raises(ReviewerIsSubjectError, match="Leave it to somebody else") as caught:
        Reviews(any_store).append(blocked().id, UPHOLD, reason="Fine.", by="ANN LEE ")

    assert caught.value.exit_code == 2
    assert "Lee" not in str(caught.value)
    assert any_store.select("SELECT count(*) FROM reviews")[1] == [(0,)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"by": " \t"}, "Say who: --by NAME", id="nobody"),
        pytest.param({"reason": "\n "}, "Say why: --reason TEXT", id="no reason"),
        pytest.param({"reason": "x" * 2001}, "2,000 characters at most", id="an essay"),
    ],
)
def test_a_review_names_who_and_why(
    any_store: AuditStore, blocked: RecordFactory, changes: dict[str, str], said: str
) -> None:
    """Without a reviewer or a reason there is no review."""
    any_store.append(flagged(blocked, 0))

    with pytest.raises(UsageError, match=said):
        Reviews(any_store).append(blocked().id, UPHOLD, **{"reason": "Fine.", "by": "carol", **changes})

    with pytest.raises(UsageError, match="No record's id begins with"):
        Reviews(any_store).append("none", UPHOLD, reason="Fine.", by="carol")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"reviewed_by": "' USER-42'"}, id="by the subject"),
        pytest.param({"reviewed_by": "' '"}, id="by nobody"),
        pytest.param({"record_id": "'none'"}, id="of no record"),
        pytest.param({"tenant": "'globex'"}, id="under another tenant"),
        pytest.param({"outcome": "'allow'"}, id="of another outcome"),
    ],
)
def test_the_database_refuses_it_too(any_url: str, blocked: RecordFactory, changes: dict[str, str]) -> None:
    """A review that goes past the store has to be of a record that is there, and by somebody else."""
    with AuditStore.open(any_url) as store:
        store.append(flagged(blocked, 0))
        [(checked_at,)] = store.select("SELECT checked_at FROM records")[1]
    zone = "" if any_url.startswith("sqlite") else "+00"
    values = {
        "checked_at": f"'{checked_at}{zone}'",
        "record_id": f"'{blocked().id}'",
        "number": "1",
        "tenant": "'acme'",
        "outcome": "'flag'",
        "decision": "'uphold'",
        "reason": "'Fine.'",
        "reviewed_by": "'carol'",
        "reviewed_at": f"'{checked_at}{zone}'",
        "railscribe_version": "'1'",
    }

    def insert(values: dict[str, str]) -> int:
        return execute(
            any_url, f"INSERT INTO reviews ({', '.join(values)}) VALUES ({', '.join(values.values())})"
        )

    with pytest.raises(sa.exc.DBAPIError, match="a review of another's record"):
        insert({**values, **changes})

    assert insert(values) == 1


def test_two_that_review_at_once(any_store: AuditStore, blocked: RecordFactory) -> None:
    """Reviews that come at the same time are both kept, and the second answers the first."""
    any_store.append(flagged(blocked, 0))
    reviews = Reviews(any_store)

    def review(by: str) -> None:
        reviews.append(blocked().id, UPHOLD, reason="Fine.", by=by)

    threads = [threading.Thread(target=review, args=(f"reviewer {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    _, rows = any_store.select("SELECT number, answers FROM reviews ORDER BY number")
    assert rows == [(1, None), (2, 1), (3, 2), (4, 3)]


def test_erased_content_says_so(any_url: str, blocked: RecordFactory) -> None:
    """A record whose content was erased still waits, and its trace is said to be erased."""
    with AuditStore.open(any_url) as store:
        store.append(flagged(blocked, 0))
        erase(store, subject="user-42", by="dpo", reason="asked to")

        (item,) = Reviews(store).queue()

    assert {item[what]["state"] for what in ("user", "response", "trace")} == {"erased"}
    assert item["trace"]["text"] is None


def test_a_downgrade_never_drops_reviews(own_url: str, blocked: RecordFactory) -> None:
    """Going back past a review is refused."""
    with AuditStore.open(own_url) as store:
        store.append(
            flagged(blocked, 0, decision=Decision(outcome=Outcome.FLAG, sides=blocked().decision.sides))
        )
        Reviews(store).append(blocked().id, UPHOLD, reason="Fine.", by="carol")

    with pytest.raises(AuditError, match="would drop 1 reviews"):
        schema.downgrade(own_url, "0005")
