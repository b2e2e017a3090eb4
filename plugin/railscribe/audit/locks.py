"""Locks between writers of one database: for the chain as a whole, and for each writer.

On SQLite the write lock is held from the first moment of a transaction that writes, and nothing else is needed.
"""

from __future__ import annotations

import hashlib

import sqlalchemy as sa

_LOCK = 0x6368616E  # "chan"


def take_chain(connection: sa.Connection) -> None:
    """Wait for the other writers' checkpoints."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def hold_writer(connection: sa.Connection, writer: str) -> None:
    """Keep others from taking this writer for dead while its entries are on their way."""
    if connection.dialect.name == "postgresql":
        # Nothing is read of it, so it can be sent along with what follows.
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock_shared(%s::int, %s::int)", (_LOCK, _number_of(writer))
        )


def try_writer(connection: sa.Connection, writer: str) -> bool:
    """Return whether no entry of *writer* is on its way; none can come before this transaction ends."""
    if connection.dialect.name != "postgresql":
        return True
    held = sa.func.pg_try_advisory_xact_lock(_LOCK, _number_of(writer))
    return bool(connection.execute(sa.select(held)).scalar())


def _number_of(writer: str) -> int:
    return int.from_bytes(hashlib.sha256(writer.encode()).digest()[:4], "big", signed=True)
