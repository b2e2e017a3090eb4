"""Policies: written as documents, rendered to the text the model reads, applied to its verdicts. Pure but for
:func:`load_policy`, which reads the one file it is told to.
"""

from railscribe.policy.decide import decide
from railscribe.policy.document import Policy, PolicyCategory, parse_policy
from railscribe.policy.load import load_policy, ready_policies
from railscribe.policy.render import render

__all__ = ["Policy", "PolicyCategory", "decide", "load_policy", "parse_policy", "ready_policies", "render"]
