"""The audit store: what was decided, kept in SQL."""

from railscribe.audit.store import AuditStore

__all__ = ["AuditStore"]
