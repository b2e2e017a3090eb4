"""Policies: written as documents, rendered to the text the model reads, applied to its verdicts. Pure but for
:func:`load_policy` and :func:`policy_documents`, which read the one file they are told to.
"""

from railscribe.policy.decide import decide
from railscribe.policy.document import Policy, PolicyCategory, parse_policy
from railscribe.policy.load import load_policy, policy_documents, ready_policies
from railscribe.policy.refusal import refusal_for, refusals_of
from railscribe.policy.render import mode_reason, render

__all__ = [
    "Policy",
    "PolicyCategory",
    "decide",
    "load_policy",
    "mode_reason",
    "parse_policy",
    "policy_documents",
    "ready_policies",
    "refusal_for",
    "refusals_of",
    "render",
]
