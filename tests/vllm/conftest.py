"""A real vLLM for the tests beside it: most of a minute and 7 GB each, so ``make test-vllm`` alone runs them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
from tests.vllm.server import MODEL, VllmServer

from railscribe.engines import Engine
from railscribe.engines.embedded import EmbeddedEngine
from railscribe.engines.openai_compatible import OpenAICompatibleEngine
from railscribe.settings import Settings

# Not collected elsewhere, rather than deselected: a -m on the command line would take the deselection's place.
if "vllm" not in os.environ.get("RAILSCRIBE_TEST_REQUIRE", "").split(","):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def vllm(embedded_weights: None) -> Iterator[VllmServer]:
    """A vLLM that serves the embedded guard."""
    server = VllmServer()
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(scope="session")
def embedded(embedded_weights: None) -> Iterator[Engine]:
    """The same guard in this process: what it says, the served one must say."""
    engine = EmbeddedEngine.from_settings(Settings(timeout_s=120))
    asyncio.run(engine.start())
    yield engine
    asyncio.run(engine.aclose())


def served(base_url: str, *, model: str = MODEL, timeout_s: float = 120, max_retries: int = 0) -> Engine:
    """Return a new engine on the server at *base_url*, not started."""
    return OpenAICompatibleEngine(
        base_url=base_url, model=model, api_key=None, timeout_s=timeout_s, max_retries=max_retries
    )
