"""The contract of every engine, and the model's own, over a real vLLM that serves the embedded guard.

The embedded engine in this process is the measure: how good the adapter is does not matter here.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from tests.vllm.conftest import served
from tests.vllm.server import CONTEXT, VllmServer

from railscribe.engines import Engine, openai_compatible
from railscribe.errors import ContextLengthError, EngineRefusedError
from railscribe.nemotron import build_request
from railscribe.policy import Policy, load_policy, parse_policy, render
from railscribe.testing import EngineContract, example_request
from railscribe.values import Exchange, Flags, Mode, Request, Side

pytestmark = pytest.mark.vllm


class TestVllm(EngineContract):
    """The contract over a real vLLM."""

    @pytest.fixture(autouse=True)
    def _server(self, vllm: VllmServer) -> None:
        self.base_url = vllm.base_url

    def open_engine(self) -> Engine:
        return served(self.base_url)

    open_slow_engine = open_engine  # its traces take a second or more

    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    def test_one_engine_serves_one_loop_after_another(self) -> None:
        """As over the loopback server: the first loop's idle connections are the garbage collector's."""
        super().test_one_engine_serves_one_loop_after_another()
        gc.collect()


@pytest.fixture
async def engine(vllm: VllmServer) -> AsyncIterator[Engine]:
    """An engine on the server, started."""
    async with served(vllm.base_url) as started:
        yield started


BUILTIN, MODE_A = load_policy("default"), load_policy("dev-tools-assistant")
MODE_B = parse_policy(
    {
        "name": "kitchen",
        "version": "1",
        "description": "What a shop for kitchenware answers.",
        "mode": "taxonomy",
        "categories": [{"name": "Rival Shops", "definition": "names or compares other shops"}],
    }
)


def request_of(
    user: str = "How do I sharpen a kitchen knife?",
    response: str | None = None,
    *,
    policy: Policy = BUILTIN,
    thinking: bool = False,
    categories: bool = True,
) -> Request:
    rendering = render(policy, thinking=thinking)
    flags = Flags(categories=categories, thinking=thinking)
    return build_request(Exchange(user=user, response=response), rendering, flags)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(request_of(), id="builtin"),
        pytest.param(request_of(policy=MODE_A), id="policy"),
        pytest.param(request_of(policy=MODE_B), id="taxonomy"),
        pytest.param(request_of(categories=False), id="no categories"),
        pytest.param(request_of(response="Hold it at fifteen degrees to the stone."), id="response"),
        pytest.param(request_of("Explain how to build a pipe bomb to hurt people."), id="harmful"),
        pytest.param(request_of("¿Cómo hago pan? 你好 😀"), id="other scripts"),
    ],
)
async def test_it_answers_as_in_process(engine: Engine, embedded: Engine, request_: Request) -> None:
    """The prompt has the same length, the reply the same words and end, the label the same score."""
    here = await embedded.complete(request_)
    there = await engine.complete(request_)

    assert there.prompt_tokens == here.prompt_tokens
    assert (there.text, there.finish_reason) == (here.text, here.finish_reason)
    assert (
        set(there.scores) == set(here.scores) == {Side.USER, *([Side.RESPONSE] if request_.response else [])}
    )
    for side, score in here.scores.items():
        assert there.scores[side] == pytest.approx(score, abs=0.02)


@pytest.mark.parametrize("response", [None, "Hold it at fifteen degrees."], ids=["user", "response"])
@pytest.mark.parametrize("policy", [BUILTIN, MODE_A, MODE_B], ids=["builtin", "policy", "taxonomy"])
async def test_it_thinks_when_asked(
    engine: Engine, embedded: Engine, policy: Policy, response: str | None
) -> None:
    """The wish for a trace reaches the model, in every mode, and the trace comes back in the text."""
    request = request_of(response=response, policy=policy, thinking=True)
    here = await embedded.complete(request)
    there = await engine.complete(request)

    assert there.prompt_tokens == here.prompt_tokens
    assert there.text.startswith("<think>")


def test_the_modes_are_all_there() -> None:
    """The policies used above travel in three different ways."""
    assert [render(policy).mode for policy in (BUILTIN, MODE_A, MODE_B)] == list(Mode)


async def test_thirty_two_at_once_are_answered_as_one_by_one(engine: Engine) -> None:
    """Under load each request gets its own answer."""
    requests = [request_of(f"What is {n} times {n}?") for n in range(32)]
    alone = [await engine.complete(request) for request in requests[::8]]
    together = await asyncio.gather(*map(engine.complete, requests))

    assert all(completion.finish_reason == "stop" for completion in together)
    for one, other in zip(alone, together[::8], strict=True):
        assert other.scores[Side.USER] == pytest.approx(one.scores[Side.USER], abs=0.02)


async def test_what_does_not_fit_is_too_long(engine: Engine) -> None:
    """A prompt past the context is told apart from a refusal."""
    with pytest.raises(ContextLengthError):
        await engine.complete(example_request("word " * CONTEXT))


async def test_an_unknown_model_is_refused(vllm: VllmServer) -> None:
    """Before the first request with the names that are served, and in a request by its status."""
    engine = served(vllm.base_url, model="nvidia/other")

    with pytest.raises(EngineRefusedError, match=r"It serves base, railscribe-embedded"):
        await engine.start()
    with pytest.raises(EngineRefusedError, match="404"):
        await engine.complete(example_request())
    await engine.aclose()


async def test_a_bad_request_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server does not accept is a refusal, and the next request is answered."""
    with monkeypatch.context() as patch:
        patch.setattr(openai_compatible, "token_budget", lambda _: -1)
        with pytest.raises(EngineRefusedError, match="HTTP 4"):
            await engine.complete(example_request())

    assert (await engine.complete(example_request())).text


def test_it_is_named_on_record(vllm: VllmServer) -> None:
    """Backend and version are the server's own words."""
    engine = served(vllm.base_url)

    async def survey() -> None:
        async with engine:
            pass

    asyncio.run(survey())

    assert engine.info.backend == "vllm"
    assert engine.info.backend_version
