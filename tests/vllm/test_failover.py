"""Servers die: one in mid-request and back, and one of two replicas behind a balancer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.vllm.balancer import Balancer
from tests.vllm.conftest import served
from tests.vllm.server import MODEL, VllmServer

from railscribe.engines import Engine
from railscribe.errors import EngineUnavailableError
from railscribe.guard import Guard
from railscribe.settings import Settings
from railscribe.testing import example_request
from railscribe.values import Cause, Enforcement, Exchange, Flags, Outcome

pytestmark = pytest.mark.vllm

PATIENCE_S = 600  # a machine may be busy with other things
LONG = [example_request(f"Tell me about the number {n}.", flags=Flags(thinking=True)) for n in range(32)]


@pytest.fixture(scope="module")
def mortal(embedded_weights: None) -> Iterator[VllmServer]:
    """A second vLLM, which these tests kill."""
    server = VllmServer()
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
async def engine(mortal: VllmServer) -> AsyncIterator[Engine]:
    """An engine on the mortal server, started; its patience is one failed repetition long."""
    async with served(mortal.base_url, timeout_s=PATIENCE_S, max_retries=1) as started:
        yield started


async def killed_in_mid_request(server: VllmServer, engine: Engine) -> list[object]:
    """Return what became of 32 requests whose server was killed under them."""
    waiting = [asyncio.create_task(engine.complete(request)) for request in LONG]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.to_thread(server.kill)
    return list(await asyncio.gather(*waiting, return_exceptions=True))


async def test_a_server_that_dies_is_unavailable_until_it_is_back(
    mortal: VllmServer, engine: Engine, database_url: str
) -> None:
    """Nothing hangs and nothing is made up: what was cut off fails, a check is recorded undecided, and the same
    engine goes on when the server is back."""
    ended = await killed_in_mid_request(mortal, engine)

    failed = [end for end in ended if isinstance(end, BaseException)]
    assert failed
    assert {type(end) for end in failed} == {EngineUnavailableError}
    settings = Settings(
        engine="openai_compatible", base_url=mortal.base_url, model=MODEL, database_url=database_url
    )
    async with Guard.open(settings, start=False) as guard:
        record = await guard.check(Exchange(user="Is anybody there?"))
        assert (record.decision.outcome, record.decision.cause) == (
            Outcome.UNDECIDED,
            Cause.ENGINE_UNAVAILABLE,
        )
        assert record.enforcement is Enforcement.REFUSED
        assert [row["outcome"] for row in guard.store.records()] == ["undecided"]
    await asyncio.to_thread(mortal.start)
    assert (await engine.complete(example_request())).text


async def test_one_of_two_replicas_dies(vllm: VllmServer, mortal: VllmServer) -> None:
    """Behind a balancer the loss of a replica in mid-request costs repetitions, and no answer."""
    async with (
        Balancer([vllm.port, mortal.port]) as balancer,
        served(balancer.base_url, timeout_s=PATIENCE_S, max_retries=4) as engine,
    ):
        ended = await killed_in_mid_request(mortal, engine)
        after = await engine.complete(example_request())

    assert [type(end).__name__ for end in ended] == ["Completion"] * len(LONG)
    assert after.text
    assert all(balancer.connections[server.port] > 1 for server in (vllm, mortal))
