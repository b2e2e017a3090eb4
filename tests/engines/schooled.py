"""A tiny Gemma 3 that was taught the contract on toy sentences, so that its verdicts depend on what it reads.

The checkpoints of ``conftest.py`` answer alike to everything; where a test asks whether two ways of reading a model
come to the same answer, the answers must differ and some must be close calls.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tests.engines.conftest import TEMPLATE, gemma_tokenizer
from torch.nn import functional

from railscribe.nemotron import chat_messages, template_kwargs
from railscribe.values import Flags, Mode, Request

NAMES = ("Violence", "Sexual", "Sexual (minor)", "Threat")
BAD = {"stab": NAMES[0], "lewd": NAMES[1], "lewdkid": NAMES[2], "burn": NAMES[3]}
PLAIN = (
    "the",
    "a",
    "lake",
    "dog",
    "tea",
    "book",
    "walk",
    "warm",
    "green",
    "small",
    "sing",
    "old",
    "river",
    "stone",
)
_POLICY = "Names: " + ", ".join(NAMES)


def requests(count: int, *, seed: int) -> Iterator[Request]:
    """Yield toy requests: with and without a response, categories asked for or not, a policy or none."""
    dice = random.Random(seed)
    for _ in range(count):
        yield Request(
            user=_sentence(dice),
            response=_sentence(dice) if dice.random() < 0.4 else None,
            image=None,
            mode=Mode.TAXONOMY,
            policy_text=_POLICY if dice.random() < 0.5 else None,
            flags=Flags(categories=dice.random() < 0.8),
            names=NAMES,
        )


def answer(request: Request) -> str:
    """Return what is to be answered to *request*."""
    sides = [("User", request.user), ("Response", request.response)]
    said = [
        f"{side} Safety: {'unsafe' if _named(text) else 'safe'}" for side, text in sides if text is not None
    ]
    names = [name for name in NAMES if name in _named(f"{request.user} {request.response or ''}")]
    if names and request.flags.categories:
        said.append(f"Safety Categories: {', '.join(names)}")
    return "\n".join(said)


def save_schooled(folder: Path, *, steps: int = 400) -> Path:
    """Save the tiny Gemma 3 after *steps* of schooling (seconds): good, and not sure of everything."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    corpus = " ".join((*PLAIN, *BAD)) + "\n".join((_POLICY, TEMPLATE, "Response Safety: unsafe safe , User"))
    tokenizer = gemma_tokenizer(corpus)
    tokenizer.chat_template = TEMPLATE
    config: Any = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=32,  # shorter than the prompts, so that the window's edge matters
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=2048,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.convert_tokens_to_ids("<end_of_turn>"),
        bos_token_id=tokenizer.bos_token_id,
    )
    model: Any = Gemma3ForCausalLM(config)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small are multiplied slower by two
    try:
        _school(model, [_lesson(request, tokenizer) for request in requests(3000, seed=1)], steps)
    finally:
        torch.set_num_threads(threads)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _school(model: Any, lessons: Sequence[tuple[list[int], list[int]]], steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    dice = random.Random(2)
    for _ in range(steps):
        _learn(model, optimizer, dice.sample(lessons, 16))
        pace.step()


def _sentence(dice: random.Random) -> str:
    # Few lengths, so that many prompts are of one length and can be written in one batch, unpadded.
    words = [dice.choice(PLAIN) for _ in range(dice.choice((4, 8, 12)))]
    for bad in BAD:
        if dice.random() < 0.15:
            words[dice.randrange(len(words))] = bad
    return " ".join(words)


def _named(text: str) -> set[str]:
    return {BAD[word] for word in text.split() if word in BAD}


def _lesson(request: Request, tokenizer: Any) -> tuple[list[int], list[int]]:
    prompt = tokenizer.apply_chat_template(
        chat_messages(request, images_as="part"), tokenize=False, **template_kwargs(request)
    )
    return (
        tokenizer.encode(prompt, add_special_tokens=False),
        tokenizer.encode(answer(request) + "<end_of_turn>", add_special_tokens=False),
    )


def _learn(model: Any, optimizer: Any, lessons: Sequence[tuple[list[int], list[int]]]) -> None:
    width = max(len(prompt) + len(reply) for prompt, reply in lessons)
    ids = torch.zeros(len(lessons), width, dtype=torch.long)
    targets = torch.full_like(ids, -100)
    for row, (prompt, reply) in enumerate(lessons):
        ids[row, : len(prompt) + len(reply)] = torch.tensor(prompt + reply)
        targets[row, len(prompt) : len(prompt) + len(reply)] = torch.tensor(reply)
    logits = model(input_ids=ids, attention_mask=(ids != 0).long()).logits
    loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
