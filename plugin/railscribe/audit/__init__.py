"""The audit store: what was decided, kept in SQL."""

from railscribe.audit.probes import KnownProbes
from railscribe.audit.store import AuditStore

__all__ = ["AuditStore", "KnownProbes"]
