"""Statements that are sent together on PostgreSQL."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from railscribe.audit.database import open_engine, parse_url, pipelined, translated, writing
from railscribe.errors import AuditError, DatabaseUnavailableError

ROW = "INSERT INTO policy_texts (digest, text) VALUES ('d', 'words')"


def send(url: str, *statements: str) -> None:
    """Send *statements* together in one transaction, as an append does."""
    engine = open_engine(parse_url(url))
    try:
        with (
            translated(parse_url(url), "Appending"),
            writing(engine).begin() as connection,
            pipelined(connection),
        ):
            for statement in statements:
                connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


def test_what_fails_among_statements_sent_together_is_told_and_nothing_of_them_stays(
    postgres_url: str,
) -> None:
    """The error comes at the end at the latest, translated like any other, and the transaction is undone."""
    with pytest.raises(
        AuditError, match=r"Appending: the audit database at .* failed .UniqueViolation 23505"
    ) as told:
        send(postgres_url, ROW, ROW, ROW)

    assert not isinstance(told.value, DatabaseUnavailableError)
    engine = open_engine(parse_url(postgres_url))
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM policy_texts WHERE digest = 'd'")) == 0
    engine.dispose()


def test_a_server_that_goes_away_among_statements_is_away(postgres_url: str) -> None:
    """A connection that breaks before the answers are heard is an outage, and no refusal of the entries."""
    with pytest.raises(DatabaseUnavailableError):
        send(postgres_url, "SELECT pg_terminate_backend(pg_backend_pid())", ROW)
