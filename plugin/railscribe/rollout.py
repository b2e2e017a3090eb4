"""Whether a decision is enforced, or only written down: shadow mode, and a rollout by steps. Pure.

Rules

1. ``enforce`` refuses what is refused. ``observe`` lets everything through and writes down what would have
   happened. A percentage enforces for that share of the sessions and observes the others.
2. Which share a session belongs to follows from its tenant and name alone, so it stays on its side, on every
   machine, and a growing percentage only ever adds sessions. Without a session its subject counts, then the request;
   a check without any of them falls by its own id.
3. What would have been refused and was let through is ``observed``: neither passed nor refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from typing_extensions import Self

from railscribe.values import Cause, Decision, Enforcement, Identity, Outcome

OnUndecided = Literal["block", "allow"]
_NO_SWITCH = (Cause.POLICY_NOT_APPLICABLE, Cause.NO_CATEGORY_SCORES, Cause.NOT_RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How far decisions are enforced."""

    share: float = 1.0
    """Of the sessions, between 0 (observe) and 1 (enforce)."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what *text* says: ``enforce``, ``observe``, or a percentage such as ``25%``.

        Raises:
            ValueError: it says none of these.
        """
        known = {"enforce": 1.0, "observe": 0.0}
        if text in known:
            return cls(share=known[text])
        number = text.removesuffix("%").strip()
        try:
            share = float(number) / 100
        except ValueError:
            share = -1.0
        if not text.endswith("%") or not 0 <= share <= 1:
            raise ValueError("is 'enforce', 'observe' or a percentage such as '25%'")
        return cls(share=share)

    @property
    def name(self) -> str | None:
        """What a record says of it; ``None`` where all is enforced."""
        if self.share == 1.0:
            return None
        return "observe" if self.share == 0.0 else f"{self.share * 100:g}%"

    def enforces(self, identity: Identity, check: str) -> bool:
        """Whether what is decided for *identity* is enforced; *check* is the check's own id (rule 2)."""
        if self.share in (0.0, 1.0):
            return self.share == 1.0
        who = identity.session or identity.subject or identity.request or check
        digest = hashlib.sha256(f"{identity.tenant}\0{who}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 < self.share


def enforcement_of(decision: Decision, on_undecided: OnUndecided, *, enforced: bool) -> Enforcement:
    """Return what is done to the traffic that *decision* is about."""
    refused = decision.outcome is Outcome.BLOCK or (
        decision.outcome is Outcome.UNDECIDED
        # A policy that does not fit, or a rail that failed, is a mistake to be mended, and no switch is for it.
        and (on_undecided == "block" or decision.cause in _NO_SWITCH)
    )
    if not refused:
        return Enforcement.PASSED
    return Enforcement.REFUSED if enforced else Enforcement.OBSERVED
