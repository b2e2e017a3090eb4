"""Nemotron 3.5 Content Safety as rails and runnables, with every verdict in SQL.

    from railscribe import Exchange, Guard, Settings

    async with Guard.open(Settings()) as guard:
        record = await guard.check(Exchange(user="How do I kill a Python process?"))
        print(record.decision.outcome.value)

Importing this package loads no model, database or framework; each name arrives with its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from railscribe.audit import AuditStore
    from railscribe.errors import RailscribeError
    from railscribe.guard import Guard
    from railscribe.identity import use_identity
    from railscribe.policy import Policy
    from railscribe.settings import Settings
    from railscribe.values import Decision, Exchange, Identity, Record, Verdict

_HOMES = {
    "AuditStore": "railscribe.audit",
    "Decision": "railscribe.values",
    "Exchange": "railscribe.values",
    "Guard": "railscribe.guard",
    "Identity": "railscribe.values",
    "Policy": "railscribe.policy",
    "RailscribeError": "railscribe.errors",
    "Record": "railscribe.values",
    "Settings": "railscribe.settings",
    "Verdict": "railscribe.values",
    "use_identity": "railscribe.identity",
}

__all__ = [
    "AuditStore",
    "Decision",
    "Exchange",
    "Guard",
    "Identity",
    "Policy",
    "RailscribeError",
    "Record",
    "Settings",
    "Verdict",
    "use_identity",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("railscribe")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'railscribe' has no attribute {name!r}")
