"""Guards that stand: what they share, and what they let go of."""

from __future__ import annotations

import gc
import weakref

from railscribe.settings import Settings
from railscribe.standing import StandingGuard


def test_guards_with_the_same_engine_settings_share_it(database_url: str) -> None:
    """Two guards differing in policy alone hold one engine; another server's address makes another."""
    remote = {"engine": "openai_compatible", "model": "guard", "database_url": database_url}
    one = StandingGuard.stand(Settings(base_url="http://127.0.0.1:9/v1", **remote))  # type: ignore[arg-type]
    same = StandingGuard.stand(
        Settings(base_url="http://127.0.0.1:9/v1", policy="dev-tools-assistant", **remote)  # type: ignore[arg-type]
    )
    other = StandingGuard.stand(Settings(base_url="http://127.0.0.1:8/v1", **remote))  # type: ignore[arg-type]

    assert one.engine is same.engine
    assert one.engine is not other.engine


def test_different_keys_are_different_engines(database_url: str) -> None:
    """An engine with one customer's API key is never handed to another's."""
    remote = {
        "engine": "openai_compatible",
        "model": "guard",
        "base_url": "http://127.0.0.1:9/v1",
        "database_url": database_url,
    }
    one = StandingGuard.stand(Settings(api_key="one", **remote))  # type: ignore[arg-type]
    two = StandingGuard.stand(Settings(api_key="two", **remote))  # type: ignore[arg-type]

    assert one.engine is not two.engine


def test_an_engine_nobody_holds_is_let_go(database_url: str) -> None:
    """When the last guard is gone, so is its engine."""
    guard = StandingGuard.stand(
        Settings(
            engine="openai_compatible", model="m", base_url="http://127.0.0.1:7/v1", database_url=database_url
        )
    )
    engine = weakref.ref(guard.engine)

    del guard
    gc.collect()

    assert engine() is None
