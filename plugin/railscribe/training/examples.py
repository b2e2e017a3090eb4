"""From rows to token ids: the very request that inference would build, and the reply that should follow.

Each epoch shows a row another way (seeded by epoch and row): with or without categories, thinking where a trace
was written, a policy in either mode, so that the flags mean something to the model; and now and then in lower
case or without its last mark, since neither capitals nor a question mark make a text safe.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from railscribe.nemotron import build_request, chat_messages, template_kwargs
from railscribe.policy import Policy, render
from railscribe.training.rows import Row, target_reply
from railscribe.values import Exchange, Flags, Label

_MAX_TOKENS = 768
_MAX_OTHERS = 5
"""The output layer's 262,144 rows make a position of the reply dearer than one of the prompt."""


class Example(NamedTuple):
    """Token ids of prompt and reply."""

    ids: list[int]
    labels_at: list[int]
    """Where its labels stand: one for each side."""
    others_at: list[int]
    """Of the reply's other tokens, those to learn from this time: all of a short reply, some of a trace."""


def encode(row: Row, *, policies: Mapping[str, Policy], tokenizer: Any, rng: random.Random) -> Example | None:
    """Return *row* as an example, or ``None`` where it is too long to be worth its cost."""
    flags = Flags(categories=rng.random() < 0.85, thinking=row.trace is not None and rng.random() < 0.6)
    policy = _as_shown(policies[row.policy or "default"], rng)
    exchange = Exchange(user=_as_typed(row.prompt, rng), response=row.response)
    request = build_request(exchange, render(policy, thinking=flags.thinking), flags)
    prompt = tokenizer.apply_chat_template(
        chat_messages(request, images_as="part"), tokenize=True, return_dict=False, **template_kwargs(request)
    )
    reply = target_reply(row, categories=flags.categories, thinking=flags.thinking)
    ids = prompt + tokenizer(reply + "<end_of_turn>", add_special_tokens=False)["input_ids"]
    if len(ids) > _MAX_TOKENS:
        return None
    labels_at = _labels_at(ids, len(prompt), tokenizer)
    others = [at for at in range(len(prompt), len(ids)) if at not in labels_at]
    return Example(ids, labels_at, sorted(rng.sample(others, min(len(others), _MAX_OTHERS))))


def _as_typed(text: str, rng: random.Random) -> str:
    """Return *text* as somebody else might have typed it."""
    if rng.random() < 0.2:
        text = text.rstrip(" .?!\u2026\u3002\uff1f\uff01") or text
    dice = rng.random()
    if dice < 0.12:
        return text.lower()
    return text.upper() if dice > 0.985 and len(text) < 200 else text


def _labels_at(ids: Sequence[int], reply_at: int, tokenizer: Any) -> list[int]:
    """Return the positions of the labels: what follows ``Safety:`` and is one token in Gemma's vocabulary."""
    field = tokenizer.encode(" Safety:", add_special_tokens=False)
    words = {
        tokenizer.encode(f" {label.value}", add_special_tokens=False)[0]
        for label in (Label.SAFE, Label.UNSAFE)
    }
    return [
        at
        for at in range(reply_at, len(ids))
        if ids[at] in words and list(ids[at - len(field) : at]) == field
    ]


def _as_shown(policy: Policy, rng: random.Random) -> Policy:
    """Now and then show a policy as a taxonomy, so that mode B is not met for the first time in service."""
    if (
        policy.mode == "auto"
        and policy.categories
        and (policy.disallowed or policy.allowed)
        and rng.random() < 0.15
    ):
        return dataclasses.replace(policy, mode="taxonomy", disallowed=())
    return policy


def batches(examples: Sequence[Example], *, tokens: int, rng: random.Random) -> Iterator[list[Example]]:
    """Yield batches of similar length, each at most *tokens* after padding, in random order."""
    ordered = sorted(examples, key=lambda example: len(example.ids) + rng.random())
    grouped: list[list[Example]] = [[]]
    for example in ordered:
        if grouped[-1] and len(example.ids) * (len(grouped[-1]) + 1) > tokens:
            grouped.append([])
        grouped[-1].append(example)
    rng.shuffle(grouped)
    yield from grouped
