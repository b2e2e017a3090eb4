"""Time a compile against the number of intents, in both versions of Colang, and say where it goes.

    python benchmarks/compile_time.py [INTENTS ...]

CPU seconds of this process, so that a busy machine changes them little. "NeMo's parser" is the time inside
NeMo Guardrails' own parsers; the rest is ours.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from railscribe.policy.compile import compile_policy
from railscribe.policy.gather import gather, library_flows

reading: Any = import_module("railscribe.policy.colang.reading")


def colang_1(intents: int) -> str:
    """Return *intents* refused intents in Colang 1.0."""
    return "".join(
        f'define user ask about matter {n}\n  "How about matter {n}?"\n  "What of matter {n}?"\n\n'
        f'define bot refuse matter {n}\n  "I cannot talk about matter {n}."\n\n'
        f"define flow matter {n}\n  user ask about matter {n}\n  bot refuse matter {n}\n\n"
        for n in range(intents)
    )


def colang_2(intents: int) -> str:
    """Return *intents* refused intents in Colang 2.x."""
    return "import core\n\n" + "".join(
        f'flow user asked about matter{n}\n  user said "How about matter {n}?" or user said "What of matter {n}?"\n\n'
        f'flow bot refuse matter{n}\n  bot say "I cannot talk about matter {n}."\n\n'
        f"@active\nflow matter{n}\n  user asked about matter{n}\n  bot refuse matter{n}\n\n"
        for n in range(intents)
    )


def measure(write: Callable[[int], str], intents: int) -> tuple[float, float, int]:
    """Return the CPU seconds of a compile, those in NeMo's parser, and the clauses found."""
    version = '"2.x"' if write is colang_2 else '"1.0"'
    inside = 0.0

    def timed(read: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: object) -> None:
            nonlocal inside
            start = time.process_time()
            read(*arguments)
            inside += time.process_time() - start

        return run

    kept = reading.read_v1, reading.read_v2
    reading.read_v1, reading.read_v2 = timed(kept[0]), timed(kept[1])
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "config.yml").write_text(f"colang_version: {version}\n", encoding="utf-8")
            (folder / "rails.co").write_text(write(intents), encoding="utf-8")
            start = time.process_time()
            compiled = compile_policy(gather(folder), library=library_flows)
            whole = time.process_time() - start
    finally:
        reading.read_v1, reading.read_v2 = kept
    return whole, inside, compiled.refused_intents


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or [1_250, 2_500, 5_000, 10_000]
    print("| Colang | intents | refused found | CPU s | of it reading | ms an intent |")
    print("|---|---:|---:|---:|---:|---:|")
    for write in (colang_1, colang_2):
        measure(write, 10)  # what is loaded once
        for size in sizes:
            whole, inside, found = measure(write, size)
            version = "1.0" if write is colang_1 else "2.x"
            cells = f"{version} | {size} | {found} | {whole:.2f} | {inside:.2f} | {1000 * whole / size:.2f}"
            print(f"| {cells} |", flush=True)


if __name__ == "__main__":
    main()
