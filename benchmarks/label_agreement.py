"""Is the label that is read off the embedded guard the one that greedy decoding would have written? On real rows.

    python benchmarks/label_agreement.py --rows 2000          # the stand-in sets, and rows with a response
    python benchmarks/label_agreement.py --rows 500 --dtype bfloat16

Each row goes twice through the same weights in one process: read off behind a remembered prefix, in batches; and
written whole by ``model.generate`` from its first token, alone. Prints every difference with its score.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from railscribe.engines.embedded import EmbeddedEngine
from railscribe.engines.prompting import tokenised
from railscribe.nemotron import build_request, parse_reply
from railscribe.policy import load_policy, render
from railscribe.settings import Settings
from railscribe.values import Exchange, Flags, Request, Side

HOME = Path(__file__).parent


def requests(files: list[Path], count: int) -> list[Request]:
    """Return *count* rows of *files*, drawn at random, as requests under the built-in policy."""
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    random.Random(1).shuffle(rows)
    rendering = render(load_policy("default"))
    return [
        build_request(Exchange(user=row["prompt"], response=row.get("response")), rendering, Flags())
        for row in rows[:count]
    ]


def written(engine: EmbeddedEngine, request: Request) -> str:
    """What the library writes, greedily."""
    loaded = engine._weights()
    inputs = tokenised(loaded, request)
    with torch.inference_mode():
        output = loaded.model.generate(**inputs, max_new_tokens=64)
    return str(loaded.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


async def main(given: argparse.Namespace) -> None:
    """Compare and print."""
    asked = requests(given.files, given.rows)
    engine = EmbeddedEngine.from_settings(
        Settings(dtype=given.dtype, adapter=given.adapter, timeout_s=3600, context_tokens=8192)
    )
    seen: Counter[str] = Counter()
    async with engine:
        shapes = {request.response is not None: request for request in asked}
        for request in shapes.values():  # the first behind a prefix is written whole
            await engine.complete(request)
        began = time.perf_counter()
        read: list[Any] = await asyncio.gather(*(engine.complete(request) for request in asked))
        between = time.perf_counter()
        for request, completion in zip(asked, read, strict=True):
            sent = request.response is not None
            one = parse_reply(completion.text, response_sent=sent, scores=completion.scores)
            other = parse_reply(written(engine, request), response_sent=sent)
            seen[completion.decoding or "?"] += 1
            for side in Side:
                ours, theirs = one.side(side), other.side(side)
                if ours is None or theirs is None:
                    continue
                seen["labels"] += 1
                if ours.label is not theirs.label:
                    seen["differ"] += 1
                    print(
                        f"{side.value}: read {ours.label.value} at {ours.score}, written {theirs.label.value}"
                    )
            seen["whole replies alike"] += (one.reply or "").strip() == (other.reply or "").strip()
        ended = time.perf_counter()
    print(f"{given.dtype}: {len(asked)} rows, {dict(seen)}")
    print(f"read in {between - began:.0f} s, written in {ended - between:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    rows = [HOME / "standins" / f"{name}.jsonl" for name in ("scary_safe", "plainly_unsafe", "posts_prose")]
    rows += [HOME.parent / "plugin/railscribe/training/rows/responses2.jsonl"]
    parser.add_argument("files", nargs="*", type=Path, default=rows)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--adapter")
    asyncio.run(main(parser.parse_args()))
