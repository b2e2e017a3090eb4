"""How should a policy be worded for a small guard? The same topics in several wordings, judged by the embedded guard.

    python benchmarks/policy_wording.py                 # topics held out of its training
    python benchmarks/policy_wording.py --adapter runs/mine

Each topic becomes a policy that forbids it; its own texts should be unsafe, its near misses and texts of other topics
safe. What changes from line to line is the wording, and with it the mode in which ``auto`` lets the policy travel: a
policy of categories alone is a taxonomy (``railscribe.policy.mode_reason``).
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from railscribe.engines.embedded import EmbeddedEngine
from railscribe.nemotron import build_request, parse_reply
from railscribe.policy import Policy, parse_policy, render
from railscribe.policy.render import mode_of
from railscribe.scoring import Judged, figures
from railscribe.settings import Settings
from railscribe.training.topics import Topic, read_topics
from railscribe.values import Exchange, Flags, Label, Request, Side

TOPICS = Path(__file__).parents[1] / "plugin" / "railscribe" / "training" / "rows" / "topics"
Wording = Callable[[Topic], Mapping[str, Any]]


def _named(topic: Topic, definition: str | None = None) -> list[dict[str, str]]:
    return [{"name": topic.name, **({"definition": definition} if definition else {})}]


WORDINGS: dict[str, Wording] = {
    "category, name alone": lambda topic: {"categories": _named(topic)},
    "category with definition": lambda topic: {"categories": _named(topic, topic.definition)},
    "the same, in mode policy": lambda topic: {
        "categories": _named(topic, topic.definition),
        "mode": "policy",
    },
    "disallowed clause": lambda topic: {"disallowed": [topic.forbids[0]]},
    "category and clause": lambda topic: {
        "categories": _named(topic, topic.definition),
        "disallowed": [topic.forbids[0]],
    },
    "all wordings in one long clause": lambda topic: {"disallowed": ["; ".join(topic.forbids)]},
    "with an example in the text": lambda topic: {
        "categories": _named(topic, f"{topic.definition}, such as '{topic.inside[0]}'"),
    },
    "with what is like it allowed": lambda topic: {
        "categories": _named(topic, topic.definition),
        "allowed": [f"What only shares words with it: {topic.near[0]}"],
    },
    "among the built-in categories": lambda topic: {
        "categories": _named(topic, topic.definition),
        "builtin": True,
    },
}


def worded(topic: Topic, wording: Wording) -> Policy:
    """Return the policy that forbids *topic* in *wording*."""
    document = {"name": "p", "version": "1", "description": "Rules of our assistant.", "builtin": False}
    return parse_policy({**document, **wording(topic)})


async def measure(engine: EmbeddedEngine, topics: Sequence[Topic], wording: Wording) -> list[Judged]:
    """Return what the guard says of the texts of *topics* under policies in *wording*, and what it should."""
    rng = random.Random(1)
    asked: list[tuple[Request, Label]] = []
    for topic in topics:
        rendering = render(worded(topic, wording))
        others = [other for other in topics if other is not topic and other.file == topic.file] or list(
            topics
        )
        strange = [] if topic.form else [rng.choice(rng.choice(others).inside) for _ in range(3)]
        # The first of each kind may stand in the wording itself.
        texts = [(text, Label.UNSAFE) for text in topic.inside[1:]]
        texts += [(text, Label.SAFE) for text in [*topic.near[1:], *strange]]
        flags = Flags(categories=False)
        asked += [(build_request(Exchange(user=text), rendering, flags), label) for text, label in texts]
    completions = await asyncio.gather(*(engine.complete(request) for request, _ in asked))
    replies = zip(completions, asked, strict=True)
    return [
        Judged(
            expected=label,
            said=parse_reply(completion.text, response_sent=False).user.label,
            score=completion.scores[Side.USER],
        )
        for completion, (_, label) in replies
    ]


async def main(given: argparse.Namespace) -> None:
    """Measure and print."""
    topics = [
        topic for path in sorted(TOPICS.glob("*.jsonl")) for topic in read_topics(path) if topic.held_out
    ]
    engine = EmbeddedEngine.from_settings(Settings(adapter=given.adapter, timeout_s=3600))
    print(f"{len(topics)} topics held out of training\n")
    print("| wording | mode | texts | AUROC | right at 0.5 |\n|---|---|---:|---:|---:|", flush=True)
    async with engine:
        for name, wording in WORDINGS.items():
            found = figures(await measure(engine, topics, wording))
            mode = mode_of(worded(topics[0], wording)).value
            told = (name, mode, found["rows"], f"{found['auroc']:.3f}", f"{found['accuracy']:.3f}")
            print(f"| {' | '.join(map(str, told))} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--adapter")
    asyncio.run(main(parser.parse_args()))
