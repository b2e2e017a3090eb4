"""From a record to the answer that NeMo Guardrails understands. Pure.

The metadata of an answer holds no content, but for ``kept``: the retrieved text that the model may have.
"""

from __future__ import annotations

from collections.abc import Sequence

from nemoguardrails.actions.rail_outcome import RailOutcome

from railscribe.policy import Policy
from railscribe.values import Cause, Direction, Enforcement, Outcome, Record


def outcome_of(record: Record, policy: Policy, refusal: str) -> RailOutcome:
    """Return what the host is to do about what *record* was decided on."""
    decision = record.decision
    refused = record.enforcement is Enforcement.REFUSED
    why = ", ".join(decision.categories) or (decision.cause.value if decision.cause else "")
    reason = f"{decision.outcome.value}: {why}" if why else decision.outcome.value
    what = record.direction.value.replace("_", " ")
    metadata: dict[str, object] = {
        "record_id": record.id,
        "outcome": decision.outcome.value,
        "enforcement": record.enforcement.value,
        "cause": decision.cause.value if decision.cause else None,
        "categories": list(decision.categories),
        "rule": decision.rule,
        "policy": policy.name,
        "policy_digest": policy.digest,
        "refusal": refusal,
        "message": f"The {what} was refused under the policy {policy.name} ({reason}).",
    }
    if record.direction is Direction.TOOL_OUTPUT:
        metadata[
            "tool_calls"
        ] = []  # what is left of them where they are refused; Colang 1.0 has no empty list
    return (RailOutcome.block if refused else RailOutcome.allow)(reason=reason, metadata=metadata)


def answer_without_record(policy: Policy, cause: Cause, *, enforced: bool) -> RailOutcome:
    """Return what the host is to do where a check could not be run and recorded; it refuses if *enforced*."""
    enforcement = Enforcement.REFUSED if enforced else Enforcement.OBSERVED
    metadata: dict[str, object] = {
        "record_id": None,
        "outcome": Outcome.UNDECIDED.value,
        "enforcement": enforcement.value,
        "cause": cause.value,
        "categories": [],
        "rule": "",
        "policy": policy.name,
        "policy_digest": policy.digest,
        "refusal": policy.refusal,
        "message": "The check could not be run and recorded.",
        "tool_calls": [],
    }
    return (RailOutcome.block if enforced else RailOutcome.allow)(
        reason=f"undecided: {cause.value}", metadata=metadata
    )


def retrieval_outcome(chunks: Sequence[object], outcomes: Sequence[RailOutcome]) -> RailOutcome:
    """Return what may be used of *chunks*: ``kept`` as one text, the records, and how many are withheld."""
    kept = [str(chunk) for chunk, outcome in zip(chunks, outcomes, strict=True) if not outcome.is_blocked]
    metadata = {
        "kept": "\n".join(kept),
        "kept_chunks": kept,
        "withheld": len(chunks) - len(kept),
        "checks": [outcome.metadata for outcome in outcomes],
    }
    return RailOutcome.allow(reason=f"{len(kept)} of {len(chunks)} chunks kept", metadata=metadata)
