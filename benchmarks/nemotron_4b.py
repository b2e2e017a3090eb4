"""The 4B in its real shape, with random weights: what Railscribe adds to the plain cost of the tokens it must read.

    python benchmarks/nemotron_4b.py                       # on a GPU, bfloat16
    python benchmarks/nemotron_4b.py --quantize 8bit       # and 4bit; needs bitsandbytes
    python benchmarks/nemotron_4b.py --tiny                # a miniature of it, to see that this script works

``Gemma3ForConditionalGeneration`` at the published configuration of Gemma 3 4B, which Nemotron 3.5 Content Safety
has. Weights do not change what a pass costs, so random ones will do where the real ones cannot be had. *Plain* is
one prefill by the library of the tokens that no prefix covers, behind the same prefix, in a batch of the same size;
*railscribe* is the whole reading of verdicts. The ratio says what forced words, masks and packing add.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    DynamicCache,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    SiglipVisionConfig,
)

from railscribe.engines.checkpoint import Loaded, _quantized
from railscribe.engines.embedded import chat_template
from railscribe.engines.embedded.base_weights import unpacked_base
from railscribe.engines.forced import Question, Reader, Words
from railscribe.engines.forward import Network, Packed
from railscribe.engines.names import Names
from railscribe.settings import Settings
from railscribe.taxonomy import BUILTIN_CATEGORIES

TEXT_TOKENS = 60
"""Of the exchange and the tail of the prompt behind it."""


def configuration(tokenizer: Any, *, tiny: bool) -> Any:
    """Return Gemma 3 4B's configuration, or a miniature of it."""
    size: dict[str, Any] = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
    size |= {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 1024}
    eyes: dict[str, Any] = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27}
    eyes |= {"num_attention_heads": 16, "image_size": 896, "patch_size": 14}
    if tiny:
        size |= {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6, "head_dim": 32}
        eyes |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        eyes |= {"image_size": 64, "patch_size": 8}
    text: Any = Gemma3TextConfig(
        vocab_size=262_208,
        max_position_embeddings=131_072,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **size,
    )
    return Gemma3Config(
        text_config=text,
        vision_config=SiglipVisionConfig(**eyes),
        mm_tokens_per_image=16 if tiny else 256,
        image_token_index=262_144,
    )


def build(device: str, quantize: str | None, *, tiny: bool) -> Loaded:
    """Return the network with random weights, in bfloat16 or less, on *device*."""
    tokenizer = AutoTokenizer.from_pretrained(unpacked_base(Settings().cache_dir))
    config = configuration(tokenizer, tiny=tiny)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cpu" if quantize else device):
            make: Any = Gemma3ForConditionalGeneration
            network = make(config)
    finally:
        torch.set_default_dtype(before)
    if quantize:  # the library quantises as it loads
        with tempfile.TemporaryDirectory() as folder:
            network.save_pretrained(folder)
            network = make.from_pretrained(folder, device_map=device, **_quantized(quantize, "bfloat16"))
    return Loaded(model=network.eval(), tokenizer=tokenizer, template=chat_template())


def seconds(work: Callable[[], Any], device: str, rounds: int) -> float:
    """Return the median time of *work*, the device waited for."""
    times = []
    for number in range(rounds + 2):
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        if number >= 2:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def plain(network: Network, prefix: Any, batch: int, tokens: int, picture: Any) -> Callable[[], Any]:
    """One prefill of *tokens* by *batch* behind *prefix*, as the library does it."""
    ids = torch.randint(1000, 200_000, (batch, tokens), device=network.device)

    def work() -> None:
        cache: Any = DynamicCache(config=network.config)
        for layer, (keys, values) in zip(cache.layers, prefix.layers, strict=True):
            keys, values = (part.expand(batch, -1, -1, -1) for part in (keys, values))  # noqa: PLW2901
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
            if layer.is_sliding:
                layer.cumulative_length = len(prefix.ids)
        with torch.inference_mode():
            if picture is not None:
                network._eyes.get_image_features(torch.cat([picture] * batch))  # type: ignore[union-attr]
            network.text(input_ids=ids, past_key_values=cache, use_cache=True)

    return work


def row(
    loaded: Loaded, device: str, policy: int, batch: int, *, picture: bool, rounds: int
) -> dict[str, Any]:
    """Return latency, throughput, memory and the ratio to a plain prefill."""
    network = Network(loaded)
    words = Words.of(loaded.tokenizer, [1, 106])
    if words is None:
        raise SystemExit("the tokenizer has no single tokens for the labels")
    size = loaded.model.config.vision_config.image_size
    pixels = torch.rand(1, 3, size, size, device=device, dtype=torch.bfloat16) if picture else None
    image: list[Any] = [network.image_token] * loaded.model.config.mm_tokens_per_image if picture else []
    prefix = network.prefix([2, *torch.randint(1000, 200_000, (policy,)).tolist()])
    names = Names(BUILTIN_CATEGORIES, loaded.tokenizer)
    questions = [
        Question(
            tokens=[*image, *torch.randint(1000, 200_000, (TEXT_TOKENS,)).tolist()],
            pixels=pixels,
            response=False,
            categories=False,
            names=names,
        )
        for _ in range(batch)
    ]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ours = seconds(lambda: Reader(Packed(network, prefix), words).read(questions), device, rounds)
    base = seconds(plain(network, prefix, batch, TEXT_TOKENS + len(image), pixels), device, rounds)
    return {
        "policy_tokens": policy,
        "batch": batch,
        "picture": picture,
        "ms": round(ours * 1000, 1),
        "plain_ms": round(base * 1000, 1),
        "ratio": round(ours / base, 2),
        "checks_per_s": round(batch / ours, 1),
        "peak_mb": torch.cuda.max_memory_allocated() // 2**20 if device == "cuda" else None,
    }


def main() -> None:
    """Print a table, and write the rows where told to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quantize", choices=["8bit", "4bit"])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not given.tiny:
        raise SystemExit("There is no GPU here; --tiny runs a miniature on the processor.")
    loaded = build(device, given.quantize, tiny=given.tiny)
    sizes = ((100, 750), (1, 4)) if given.tiny else ((100, 750, 3000), (1, 8, 32))
    rows = []
    print(
        f"{'policy':>7} {'batch':>6} {'picture':>8} {'ms':>9} {'plain ms':>9} ratio {'checks/s':>9} peak MB"
    )
    for picture in (False, True):
        for policy in sizes[0]:
            for batch in sizes[1]:
                found = row(loaded, device, policy, batch, picture=picture, rounds=given.rounds)
                rows.append(found)
                print(
                    f"{policy:>7} {batch:>6} {picture!s:>8} {found['ms']:>9} {found['plain_ms']:>9} "
                    f"{found['ratio']:>5} {found['checks_per_s']:>9} {found['peak_mb'] or '-':>7}"
                )
    if given.json:
        given.json.write_text(
            json.dumps({"device": device, "quantize": given.quantize, "rows": rows}, indent=1)
        )


if __name__ == "__main__":
    main()
