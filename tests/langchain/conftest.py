"""A guard on the real store with a scripted engine, for LangChain's own runnables and fake models."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scripted import judge

from railscribe.audit import AuditStore
from railscribe.settings import Settings
from railscribe.standing import StandingGuard
from railscribe.testing import ScriptedEngine


@pytest.fixture
def settings(_clean_environment: None, database_url: str) -> Settings:
    """Settings with an empty audit database of the test's own."""
    return Settings(database_url=database_url)


@pytest.fixture
def engine() -> ScriptedEngine:
    """Judges by words."""
    return ScriptedEngine(judge)


@pytest.fixture
def guard(settings: Settings, engine: ScriptedEngine) -> StandingGuard:
    """The guard under the runnables."""
    return StandingGuard.stand(settings, engine=engine)


@pytest.fixture
def recorded(settings: Settings) -> Any:
    """Give the records, whole, oldest first."""

    def records() -> list[dict[str, Any]]:
        with AuditStore.open(settings.database_url) as store:
            return [store.record(row["id"]) for row in reversed(store.records(limit=100))]

    return records
