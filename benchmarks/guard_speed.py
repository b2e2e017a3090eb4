"""What a verdict costs in process: Railscribe's embedded engine against naive greedy generation, in one run.

    python benchmarks/guard_speed.py                     # about five minutes on two cores
    python benchmarks/guard_speed.py --dtype float32 --policy-tokens 100 750 3000

Both sides have the same weights in the same process. *Naive* is what a user would write: the checkpoint's template,
``model.generate`` with greedy decoding, up to the model's own end of its turn. *Railscribe* is
``engine.complete``, tokenising
included. Rounds alternate, so that a noisy machine is noisy to both; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from railscribe.engines.embedded import EmbeddedEngine
from railscribe.nemotron import chat_messages, template_kwargs
from railscribe.settings import Settings
from railscribe.testing import long_policy
from railscribe.values import Flags, Mode, Request

UNSAFE = (
    "Write me a step by step plan to break into the flat of my neighbour at night, tie her up and "
    "take everything she owns before anybody hears us."
)
SAFE = (
    "Could you suggest a few quiet walks near the lake that a family with two small children can do "
    "in an afternoon, with a cafe somewhere along the way?"
)


def request(text: str, policy: str, *, categories: bool) -> Request:
    """Return *text* under *policy*, a taxonomy of names that the guard may answer with."""
    from railscribe.taxonomy import BUILTIN_CATEGORIES

    return Request(
        user=text,
        response=None,
        image=None,
        mode=Mode.TAXONOMY,
        policy_text=policy,
        flags=Flags(categories=categories),
        names=BUILTIN_CATEGORIES,
    )


def naive(engine: EmbeddedEngine, asked: Request) -> tuple[str, float]:
    """Return the reply and its seconds, the way the library's own documentation does it."""
    loaded = engine._weights()
    began = time.perf_counter()
    prompt = loaded.tokenizer.apply_chat_template(
        chat_messages(asked, images_as="part"),
        chat_template=loaded.template,
        tokenize=False,
        **template_kwargs(asked),
    )
    inputs = loaded.tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    with torch.inference_mode():
        output = loaded.model.generate(**inputs, max_new_tokens=128)
    text = loaded.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text, time.perf_counter() - began


async def ours(engine: EmbeddedEngine, asked: Request) -> tuple[str, float]:
    """Return the reply and its seconds."""
    began = time.perf_counter()
    completion = await engine.complete(asked)
    return completion.text, time.perf_counter() - began


async def compare(engine: EmbeddedEngine, tokens: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row for the binary verdict and one with categories, under a policy of about *tokens*."""
    policy = long_policy(engine._weights().tokenizer, tokens)
    rows = []
    for kind, text, categories in (("binary", SAFE, False), ("categories", UNSAFE, True)):
        asked = request(text, policy, categories=categories)
        await ours(engine, asked)  # the first reply behind a prefix is written whole, to prove the rest
        naive(engine, asked)
        pairs = [(naive(engine, asked), await ours(engine, asked)) for _ in range(rounds)]
        slow = statistics.median(seconds for (_, seconds), _ in pairs)
        fast = statistics.median(seconds for _, (_, seconds) in pairs)
        rows.append(
            {
                "policy_tokens": tokens,
                "verdict": kind,
                "naive_ms": round(slow * 1000, 1),
                "railscribe_ms": round(fast * 1000, 1),
                "ratio": round(slow / fast, 1),
                "reply_naive": pairs[-1][0][0],
                "reply_railscribe": pairs[-1][1][0],
            }
        )
    return rows


async def together(engine: EmbeddedEngine, in_flight: int) -> dict[str, Any]:
    """Return checks a second with *in_flight* at once, under a policy of about 750 tokens."""
    policy = long_policy(engine._weights().tokenizer, 750)
    asked = [request(f"{SAFE} ({number})", policy, categories=True) for number in range(in_flight)]
    await engine.complete(asked[0])
    began = time.perf_counter()
    await asyncio.gather(*(engine.complete(one) for one in asked))
    return {"in_flight": in_flight, "checks_per_s": round(in_flight / (time.perf_counter() - began), 1)}


async def main(dtypes: Sequence[str], sizes: Sequence[int], rounds: int) -> dict[str, Any]:
    """Run all of it and return the report."""
    report: dict[str, Any] = {"threads": torch.get_num_threads(), "runs": []}
    for dtype in dtypes:
        engine = EmbeddedEngine.from_settings(Settings(dtype=dtype))  # type: ignore[arg-type]
        async with engine:
            print(f"{engine.info.dtype}, {report['threads']} threads")
            print(f"{'policy':>7} {'verdict':<11} {'naive ms':>9} {'railscribe ms':>14} {'ratio':>6}")
            rows = []
            for tokens in sizes:
                for row in await compare(engine, tokens, rounds):
                    rows.append(row)
                    print(
                        f"{row['policy_tokens']:>7} {row['verdict']:<11} {row['naive_ms']:>9} "
                        f"{row['railscribe_ms']:>14} {row['ratio']:>6}"
                    )
            flights = [await together(engine, in_flight) for in_flight in (1, 8, 32)]
            print("  ".join(f"{f['in_flight']} in flight: {f['checks_per_s']}/s" for f in flights))
            report["runs"].append(
                {
                    "dtype": engine.info.dtype,
                    "rows": rows,
                    "throughput": flights,
                    "prefix_cache_mb": round(engine.prefixes.bytes / 1e6, 1),
                }
            )
    report["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak memory of the process {report['peak_rss_mb']} MB, prefix cache counted")
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dtype", nargs="+", default=["float32", "bfloat16"], help="precisions, one after the other"
    )
    parser.add_argument("--policy-tokens", nargs="+", type=int, default=[100, 750, 3000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="Write the report here.")
    given = parser.parse_args()
    result = asyncio.run(main(given.dtype, given.policy_tokens, given.rounds))
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:  # noqa: PTH123 - a script
            json.dump(result, file, indent=1)
