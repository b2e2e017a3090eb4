"""From rows to token ids: the very request that inference would build, and the reply that should follow.

Each epoch shows a row another way (seeded by epoch and row): with or without categories, thinking where a trace
was written, a policy in either mode, so that the flags mean something to the model; and now and then in lower
case or without its last mark, since neither capitals nor a question mark make a text safe.

Examples under one policy are *packed*: its text is read once and every exchange continues it unseen by the others,
as :mod:`railscribe.engines.forward` does in service. A policy is most of a prompt: that makes it much cheaper.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from railscribe.nemotron import build_request, chat_messages, template_kwargs
from railscribe.policy import Policy, render
from railscribe.taxonomy import SEXUAL_MINOR
from railscribe.training.rows import Row, target_reply
from railscribe.values import Action, Exchange, Flags, Label

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


class Pack(NamedTuple):
    """Examples that begin alike."""

    examples: list[Example]
    shared: int
    """How many tokens they share; those are read once."""

    @property
    def width(self) -> int:
        """Its tokens."""
        return self.shared + sum(len(example.ids) - self.shared for example in self.examples)


def encoded(
    rows: Sequence[Row], *, policies: Mapping[str, Policy], tokenizer: Any, rng: random.Random
) -> Iterator[Pack]:
    """Yield *rows* as packs: those under a policy by their policy, all others by themselves."""
    under: dict[str, list[Row]] = {}
    for row in rows:
        if row.policy is None:
            example = encode(row, policies["default"], tokenizer, rng, thinking=_thinks(row, rng))
            if example is not None:
                yield Pack([example], 0)
        else:
            under.setdefault(row.policy, []).append(row)
    for name, kin in under.items():
        rng.shuffle(kin)
        for part in _portions(kin):
            yield from together(part, _as_shown(policies[name], rng), tokenizer, rng)


def together(rows: Sequence[Row], policy: Policy, tokenizer: Any, rng: random.Random) -> Iterator[Pack]:
    """Yield *rows*, all under *policy*, in as few packs as their lengths allow."""
    # Where the policy's own text tells the model to think, it is another text.
    by_thinking: dict[bool, list[Example]] = {False: [], True: []}
    for row in rows:
        thinking = _thinks(row, rng)
        example = encode(row, policy, tokenizer, rng, thinking=thinking)
        if example is not None:
            by_thinking[thinking].append(example)
    for examples in by_thinking.values():
        shared = _shared(examples)
        pack = Pack([], shared)
        for example in examples:
            if pack.examples and pack.width + len(example.ids) - shared > _MAX_TOKENS:
                yield pack
                pack = Pack([], shared)
            pack.examples.append(example)
        if pack.examples:
            yield pack


def _portions(rows: Sequence[Row], size: int = 16) -> Iterator[Sequence[Row]]:
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


def _shared(examples: Sequence[Example]) -> int:
    """Return how many tokens *examples* share; each keeps at least two: one to be read, one to learn."""
    if len(examples) < 2:
        return 0
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*(e.ids for e in examples), strict=False))
    return min(len(list(alike)), *(min(example.labels_at) - 2 for example in examples))


def _thinks(row: Row, rng: random.Random) -> bool:
    return row.trace is not None and rng.random() < 0.6


def encode(row: Row, policy: Policy, tokenizer: Any, rng: random.Random, *, thinking: bool) -> Example | None:
    """Return *row* under *policy* as an example, or ``None`` where it is too long to be worth its cost."""
    # Where nothing that is unsafe has a name to be called by, none is asked for.
    unnamed = not row.categories and Label.UNSAFE in (row.prompt_label, row.response_label)
    flags = Flags(categories=not unnamed and rng.random() < 0.85, thinking=thinking)
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
        and any(each.name != SEXUAL_MINOR and each.action is not Action.ALLOW for each in policy.categories)
        and (policy.disallowed or policy.allowed)
        and rng.random() < 0.15
    ):
        return dataclasses.replace(policy, mode="taxonomy", disallowed=())
    return policy


def batches(packs: Sequence[Pack], *, tokens: int, rng: random.Random) -> Iterator[list[Pack]]:
    """Yield batches of similar width, each at most *tokens* after padding, in random order; of nothing, none."""
    ordered = sorted(packs, key=lambda pack: pack.width + rng.random())
    grouped: list[list[Pack]] = [[]]
    for pack in ordered:
        if grouped[-1] and pack.width * (len(grouped[-1]) + 1) > tokens:
            grouped.append([])
        grouped[-1].append(pack)
    rng.shuffle(grouped)
    yield from filter(None, grouped)
