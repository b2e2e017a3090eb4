"""What a guard says along LangChain's pipes where it lets nothing through."""

from __future__ import annotations

from typing import Any

from railscribe.errors import RailscribeError
from railscribe.policy import Policy
from railscribe.values import Cause, Decision, Direction, Outcome, Record


class RefusedError(RailscribeError):
    """The guard refused what travelled along the pipe."""

    def __init__(
        self,
        *,
        direction: Direction,
        decision: Decision,
        policy: Policy,
        record_id: str | None,
        refusal: str | None = None,
    ) -> None:
        why = ", ".join(decision.categories) or getattr(decision.cause, "value", "")
        recorded = "not recorded" if record_id is None else f"record {record_id}"
        super().__init__(
            f"The {direction.value} was refused under the policy {policy.name}"
            f" ({decision.outcome.value}: {why}; {recorded})."
        )
        self.record_id = record_id
        """``None`` where no record could be made: the decision's cause is ``not_recorded`` or ``not_run``."""
        self.decision = decision
        self.refusal = policy.refusal if refusal is None else refusal
        """What the policy would have the user told, in the user's language where it has that."""

    @classmethod
    def by(cls, record: Record, policy: Policy, refusal: str | None = None) -> RefusedError:
        """Return the refusal that *record* is of."""
        return cls(
            direction=record.direction,
            decision=record.decision,
            policy=policy,
            record_id=record.id,
            refusal=refusal,
        )

    @classmethod
    def without_record(cls, direction: Direction, policy: Policy, cause: Cause) -> RefusedError:
        """Return the refusal of what could not be checked and recorded."""
        decision = Decision(outcome=Outcome.UNDECIDED, sides=(), cause=cause)
        return cls(direction=direction, decision=decision, policy=policy, record_id=None)

    @property
    def told(self) -> dict[str, Any]:
        """What a message that stands in the place of the refused one says of it; no content."""
        return {"railscribe": {"record_id": self.record_id, "outcome": self.decision.outcome.value}}
