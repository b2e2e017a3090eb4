"""The audit store: what was decided, kept in SQL."""

from railscribe.audit.opening import open_store
from railscribe.audit.policies import PolicyRegistry
from railscribe.audit.probes import KnownProbes
from railscribe.audit.reviews import ReviewDecision, Reviews
from railscribe.audit.store import AuditStore

__all__ = ["AuditStore", "KnownProbes", "PolicyRegistry", "ReviewDecision", "Reviews", "open_store"]
