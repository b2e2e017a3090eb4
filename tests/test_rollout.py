"""How far decisions are enforced."""

from __future__ import annotations

import asyncio

import pytest

from railscribe.audit import AuditStore
from railscribe.errors import SettingsError
from railscribe.guard import Guard
from railscribe.policy import load_policy
from railscribe.rollout import Rollout, enforcement_of
from railscribe.settings import Settings, load_settings
from railscribe.testing import ScriptedEngine
from railscribe.values import Cause, Decision, Enforcement, Exchange, Identity, Outcome, Side

UNSAFE = "User Safety: unsafe\nSafety Categories: Violence"


def guard_with(database_url: str, rollout: str, answer: str = UNSAFE) -> Guard:
    settings = Settings(database_url=database_url, rollout=rollout)
    return Guard(
        engine=ScriptedEngine(lambda _: answer),
        store=AuditStore.open(database_url),
        policy=load_policy("default"),
        settings=settings,
    )


@pytest.mark.parametrize(
    ("rollout", "enforcement"), [("enforce", "refused"), ("observe", "observed"), ("0%", "observed")]
)
async def test_a_block_is_enforced_as_the_setting_says(
    database_url: str, rollout: str, enforcement: str
) -> None:
    """The decision is the same; what was done to the traffic is not, and both are on record."""
    guard = guard_with(database_url, rollout)

    record = await guard.check(Exchange(user="I'll break your legs."))

    assert (record.decision.outcome, record.enforcement.value) == (Outcome.BLOCK, enforcement)
    kept = guard.store.record(record.id)
    assert kept["enforcement"] == enforcement
    assert kept["rollout"] == {"enforce": "enforce", "observe": "observe", "0%": "observe"}[rollout]


async def test_what_would_have_passed_is_passed(database_url: str) -> None:
    """Observed is only what would have been refused."""
    guard = guard_with(database_url, "observe", "User Safety: safe")

    record = await guard.check(Exchange(user="Good morning"))

    assert record.enforcement is Enforcement.PASSED


def test_a_session_stays_on_its_side() -> None:
    """A share holds for about that many sessions, always the same ones, and a larger one only adds."""
    sessions = [Identity(tenant="acme", session=f"s-{number}") for number in range(4000)]

    def enforced(text: str) -> set[str | None]:
        rollout = Rollout.parse(text)
        return {each.session for each in sessions if rollout.enforces(each, "another id")}

    small, large = enforced("10%"), enforced("35%")
    assert small < large
    assert 0.08 < len(small) / len(sessions) < 0.12
    assert 0.32 < len(large) / len(sessions) < 0.38
    assert enforced("10%") == small


@pytest.mark.parametrize(
    "identity", [Identity(subject="user-42"), Identity(request="r-1"), Identity()], ids=str
)
def test_without_a_session_something_else_counts(identity: Identity) -> None:
    """Subject, request, and the check's own id stand in for the session, in that order."""
    rollout = Rollout.parse("50%")
    named = identity.subject or identity.request or "check-1"

    assert rollout.enforces(identity, "check-1") is rollout.enforces(Identity(session=named), "check-2")


@pytest.mark.parametrize("wrong", ["", "off", "25", "120%", "-1%", "x%", "nan%"])
def test_anything_else_is_refused(wrong: str) -> None:
    """A misspelt rollout would be a rail that nobody knows the state of."""
    with pytest.raises(SettingsError, match=r"rollout: .*'observe' or a percentage"):
        load_settings({"rollout": wrong})


@pytest.mark.parametrize("enforced", [True, False])
@pytest.mark.parametrize(
    "cause",
    [Cause.NO_CATEGORY_SCORES, Cause.POLICY_NOT_APPLICABLE, Cause.NOT_RUN],
    ids=lambda cause: cause.value,
)
def test_a_mistake_is_refused_whatever_undecided_does(cause: Cause, enforced: bool) -> None:
    """on_undecided: allow is for missing verdicts, not for a policy that does not fit or a rail that did not run."""
    decision = Decision(outcome=Outcome.UNDECIDED, cause=cause, sides=(Side.USER,))

    done = enforcement_of(decision, "allow", enforced=enforced)

    assert done is (Enforcement.REFUSED if enforced else Enforcement.OBSERVED)


def test_the_view_counts_by_rollout(database_url: str) -> None:
    """v_rollout tells what was refused from what would have been."""
    for rollout in ("enforce", "observe", "observe"):
        asyncio.run(guard_with(database_url, rollout).check(Exchange(user="I'll break your legs.")))

    with AuditStore.open(database_url) as store:
        _, rows = store.select(
            "SELECT rollout, checks, refused, would_have_been_refused FROM v_rollout ORDER BY rollout"
        )
    assert rows == [("enforce", 1, 1, 0), ("observe", 2, 0, 2)]
