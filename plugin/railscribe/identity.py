"""Who a check runs for, carried from the caller to the record.

NeMo Guardrails has neither request nor conversation ids, and a ContextVar is the one channel that survives its
parallel rails, its streaming and its synchronous calls. Set it around the call into the host:

    with use_identity(Identity(tenant="acme", session="s-17", request="r-1", subject="user-42")):
        reply = await rails.generate_async(messages=messages)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from railscribe.values import Identity

_NOBODY = Identity()
_current: ContextVar[Identity] = ContextVar("railscribe_identity", default=_NOBODY)


def current_identity() -> Identity:
    """Return the identity of the running call; the anonymous one where none was set."""
    return _current.get()


@contextmanager
def use_identity(identity: Identity) -> Iterator[None]:
    """Make *identity* the one that checks inside the block are recorded under."""
    token = _current.set(identity)
    try:
        yield
    finally:
        _current.reset(token)
