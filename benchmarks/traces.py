"""Do traces speak of the text at hand? Those that were written for training, and those the embedded guard writes.

    python benchmarks/traces.py                     # held-out rows with a trace, as written
    python benchmarks/traces.py --guard 150         # and what the guard makes of a sample of them

A trace *cites* where it repeats a word of the exchange that most exchanges lack: four letters or more, told apart by
the first five ("knife", "knives" are two, "sharpen", "sharpening" one), two characters in scripts without spaces, and
found in fewer than one in a hundred of all rows' texts. So what is cited in other words does not count.
A *template* is the trace with its cited words and all numbers blanked; the figure is the share of the commonest one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from railscribe.engines.embedded import EmbeddedEngine
from railscribe.nemotron import build_request, parse_reply
from railscribe.policy import Policy, load_policy, parse_policy, policy_documents, render
from railscribe.settings import Settings
from railscribe.training.rows import Row, read_rows
from railscribe.values import Exchange, Flags

ROWS = Path(__file__).parents[1] / "plugin" / "railscribe" / "training" / "rows"
_WORD = re.compile(r"[^\W\d_]{4,}")
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]+")
_SENTENCE = re.compile(r"[.!?\u3002\uff01\uff1f\u0964]+(?:\s|$)")


def words(text: str) -> set[str]:
    """Return what could be cited of *text*, in lower case."""
    pairs = {run[at : at + 2] for run in _UNSPACED.findall(text) for at in range(len(run) - 1)}
    return {word.casefold()[:5] for word in _WORD.findall(text)} | pairs


def common(texts: Sequence[str]) -> set[str]:
    """Return the words that one in a hundred of *texts* or more holds."""
    counts = Counter(word for text in texts for word in words(text))
    return {word for word, count in counts.items() if count * 100 >= len(texts)}


def exchange_of(row: Row) -> str:
    return f"{row.prompt} {row.response or ''}"


def report(pairs: Iterable[tuple[Row, str]], everyday: set[str]) -> dict[str, object]:
    """Return the figures of *pairs*, each a row and a trace for it."""
    listed = list(pairs)
    cited = [(words(exchange_of(row)) & words(trace)) - everyday for row, trace in listed]
    templates = Counter(
        re.sub(r"\d+", "0", " ".join("_" if words(word) & said else word for word in trace.split()))
        for said, (_, trace) in zip(cited, listed, strict=True)
    )
    sentences = [max(1, len(_SENTENCE.findall(trace))) for _, trace in listed]
    return {
        "traces": len(listed),
        "cite something of the exchange": round(sum(map(bool, cited)) / max(1, len(listed)), 3),
        "share of the commonest template": round(max(templates.values(), default=0) / max(1, len(listed)), 3),
        "more than three sentences": sum(count > 3 for count in sentences),
    }


async def thoughts(
    rows: Sequence[Row], policies: dict[str, Policy], adapter: str | None
) -> list[tuple[Row, str]]:
    """Return the trace that the guard writes for each of *rows*; none is an empty one."""
    engine = EmbeddedEngine.from_settings(Settings(adapter=adapter, timeout_s=3600))
    written = []
    async with engine:
        for row in rows:
            rendering = render(policies[row.policy or "default"], thinking=True)
            exchange = Exchange(user=row.prompt, response=row.response)
            completion = await engine.complete(build_request(exchange, rendering, Flags(thinking=True)))
            reply = parse_reply(completion.text, response_sent=row.response is not None)
            written.append((row, reply.trace or ""))
    return written


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--guard", type=int, default=0, help="traces for the guard to write")
    parser.add_argument("--adapter")
    given = parser.parse_args()
    rows = [row for path in sorted(ROWS.glob("*.jsonl")) for row in read_rows(path)]
    everyday = common([exchange_of(row) for row in rows])
    apart = [row for row in rows if row.trace and row.held_out]
    print(
        json.dumps({"written for training": report(((r, r.trace or "") for r in apart), everyday)}, indent=1)
    )
    if given.guard:
        documents = policy_documents(ROWS / "policies.json")
        policies = {name: parse_policy(document) for name, document in documents.items()}
        policies["default"] = load_policy("default")
        sample = apart[:: max(1, len(apart) // given.guard)][: given.guard]
        made = asyncio.run(thoughts(sample, policies, given.adapter))
        print(json.dumps({"written by the guard": report(made, everyday)}, indent=1))


if __name__ == "__main__":
    main()
