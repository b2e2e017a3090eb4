"""What our engine costs before a real vLLM, and whether the served guard says what the one in process says.

    make bench-vllm

Throughput: the same requests, 32 in flight, through our engine and through the bare ``openai`` client, in turn
within each round and the first of the two in turn from round to round; the figure is the ratio of the medians.
Agreement: labels and scores of the served guard against the embedded engine in this process, row by row.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import openai
from tests.vllm.server import MODEL, VllmServer

from railscribe.engines import Engine
from railscribe.engines.embedded import EmbeddedEngine
from railscribe.engines.openai_compatible import OpenAICompatibleEngine
from railscribe.engines.sampling import token_budget
from railscribe.nemotron import build_request, chat_messages, parse_reply, template_kwargs
from railscribe.policy import load_policy, render
from railscribe.settings import Settings
from railscribe.values import Exchange, Flags, Request, Verdict

ROWS = Path(__file__).parents[1] / "plugin" / "railscribe" / "training" / "rows"
IN_FLIGHT = 32
A_ROUND = 32  # requests: short rounds, so that a busy machine is busy to both
TIMEOUT_S = 300.0

Ask = Callable[[Request], Awaitable[object]]


def requests(count: int) -> list[Request]:
    """Return *count* requests, drawn evenly from the project's own rows: single turns and response pairs."""
    rows = [
        json.loads(line)
        for name in ("categories.jsonl", "multilingual.jsonl", "responses.jsonl", "sounds_unsafe.jsonl")
        for line in (ROWS / name).read_text(encoding="utf-8").splitlines()
    ]
    rendering = render(load_policy("default"))
    step = len(rows) / count
    return [
        build_request(Exchange(user=row["prompt"], response=row.get("response")), rendering, Flags())
        for row in (rows[int(n * step)] for n in range(count))
    ]


def bare(client: openai.AsyncOpenAI) -> Ask:
    """Return what sends a request's body with the ``openai`` client and does nothing else."""

    async def ask(request: Request) -> object:
        return await client.chat.completions.create(
            model=MODEL,
            messages=cast("Any", chat_messages(request, images_as="url")),
            temperature=0,
            max_tokens=token_budget(request),
            logprobs=True,
            top_logprobs=5,
            extra_body={"chat_template_kwargs": template_kwargs(request)},
        )

    return ask


async def rate(ask: Ask, asked: Sequence[Request]) -> float:
    """Return how many of *asked* are answered in a second with IN_FLIGHT under way."""
    places = asyncio.Semaphore(IN_FLIGHT)

    async def one(request: Request) -> None:
        async with places:
            await ask(request)

    began = time.perf_counter()
    await asyncio.gather(*map(one, asked))
    return len(asked) / (time.perf_counter() - began)


async def throughput(ours: Engine, base_url: str, asked: Sequence[Request], rounds: int) -> dict[str, Any]:
    """Measure both ways in turn; a first round of each warms up and is not counted."""
    rates: dict[str, list[float]] = {"engine": [], "openai": []}
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", timeout=TIMEOUT_S) as client:
        ways: list[tuple[str, Ask]] = [("engine", ours.complete), ("openai", bare(client))]
        for number in range(rounds + 1):
            for name, ask in ways if number % 2 else reversed(ways):
                measured = await rate(ask, asked)
                if number:
                    rates[name].append(measured)
                    print(f"round {number}: {name:<7}{measured:6.2f} requests/s", flush=True)
    engine, client_alone = (statistics.median(rates[name]) for name in ("engine", "openai"))
    return {"engine_per_s": engine, "openai_per_s": client_alone, "ratio": engine / client_alone}


async def agreement(ours: Engine, embedded: Engine, asked: Sequence[Request]) -> dict[str, Any]:
    """Return how far the served guard and the one in process agree over *asked*."""
    labels, same, gaps = 0, 0, []
    for request in asked:
        one, other = await verdict(ours, request), await verdict(embedded, request)
        for here, there in ((one.user, other.user), (one.response, other.response)):
            if here is None or there is None:
                continue
            labels += 1
            same += here.label is there.label
            if here.score is not None and there.score is not None:
                gaps.append(abs(here.score - there.score))
    return {
        "rows": len(asked),
        "labels": labels,
        "same": same,
        "scores": len(gaps),
        "largest_gap": max(gaps),
        "mean_gap": statistics.mean(gaps),
    }


async def verdict(engine: Engine, request: Request) -> Verdict:
    """Return what *engine* makes of *request*."""
    completion = await engine.complete(request)
    return parse_reply(
        completion.text,
        response_sent=request.response is not None,
        finish_reason=completion.finish_reason,
        scores=completion.scores,
    )


async def measure(base_url: str, rows: int, rounds: int) -> dict[str, Any]:
    """Run both measurements against the server at *base_url*."""
    asked = requests(rows)
    ours = OpenAICompatibleEngine(
        base_url=base_url, model=MODEL, api_key=None, timeout_s=TIMEOUT_S, max_retries=0
    )
    async with ours:
        found = {
            "vllm": ours.info.backend_version,
            "openai": version("openai"),
            "throughput": await throughput(ours, base_url, asked[:A_ROUND], rounds),
        }
        async with EmbeddedEngine.from_settings(Settings(timeout_s=TIMEOUT_S)) as embedded:
            found["agreement"] = await agreement(ours, embedded, asked)
    return found


def main() -> None:
    """Serve, measure, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100, help="for the agreement")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--base-url", help="a server that is up already")
    given = parser.parse_args()
    server = None if given.base_url else VllmServer()
    try:
        base_url = given.base_url or cast("VllmServer", server).start().base_url
        print(json.dumps(asyncio.run(measure(base_url, given.rows, given.rounds)), indent=2))
    finally:
        if server is not None:
            server.kill()


if __name__ == "__main__":
    main()
