"""The audit store: what was decided, kept in SQL."""

from railscribe.audit.erasure import Erased, erase
from railscribe.audit.holds import Holds, Scope
from railscribe.audit.opening import open_store
from railscribe.audit.policies import PolicyRegistry
from railscribe.audit.probes import KnownProbes
from railscribe.audit.pruning import Pruned, prune
from railscribe.audit.redaction import Redaction
from railscribe.audit.reviews import ReviewDecision, Reviews
from railscribe.audit.store import AuditStore

__all__ = [
    "AuditStore",
    "Erased",
    "Holds",
    "KnownProbes",
    "PolicyRegistry",
    "Pruned",
    "Redaction",
    "ReviewDecision",
    "Reviews",
    "Scope",
    "erase",
    "open_store",
    "prune",
]
