"""Policies: written as documents, rendered to the text the model reads, applied to its verdicts. Pure but for
:func:`load_policy` and :func:`policy_documents`, which read the one file they are told to.
"""

from railscribe.policy.decide import decide
from railscribe.policy.document import Policy, PolicyCategory, parse_policy
from railscribe.policy.load import load_policy, policy_documents, ready_policies
from railscribe.policy.render import render

__all__ = [
    "Policy",
    "PolicyCategory",
    "decide",
    "load_policy",
    "parse_policy",
    "policy_documents",
    "ready_policies",
    "render",
]
