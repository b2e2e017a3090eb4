"""The doctor's probes before a real vLLM, and before the same behind a gateway that drops what it does not know."""

from __future__ import annotations

import pytest
from tests.vllm.conftest import served
from tests.vllm.gateway import Gateway
from tests.vllm.server import VllmServer

from railscribe.probing import probe
from railscribe.settings import Settings
from railscribe.values import ProbeName, ProbeResult

pytestmark = pytest.mark.vllm


async def results(base_url: str) -> dict[ProbeName, ProbeResult]:
    async with served(base_url) as engine:
        return {found.name: found.result async for found in probe(engine, Settings())}


async def test_nothing_is_ignored_without_a_gateway(vllm: VllmServer) -> None:
    """All of a request reaches the model but for pictures, which it refuses; how well it follows is not asked here."""
    found = await results(vllm.base_url)

    assert ProbeResult.IGNORED not in found.values()
    assert found[ProbeName.IMAGE] is ProbeResult.REFUSED
    for name in (ProbeName.THINKING, ProbeName.RESPONSE, ProbeName.LOGPROBS):
        assert found[name] is ProbeResult.HONOURED


async def test_a_gateway_that_drops_arguments_is_found_out(vllm: VllmServer) -> None:
    """Policy, taxonomy and thinking are ignored, whatever the adapter makes of them when it gets them."""
    with Gateway(vllm.base_url) as gateway:
        found = await results(gateway.base_url)

    for name in (ProbeName.POLICY, ProbeName.TAXONOMY, ProbeName.THINKING):
        assert found[name] is ProbeResult.IGNORED
    assert found[ProbeName.LOGPROBS] is ProbeResult.HONOURED
