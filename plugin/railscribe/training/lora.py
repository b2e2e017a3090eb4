"""LoRA training of a guard adapter on a CPU or a GPU, resumable.

Weights and their updates are float32; matrices are multiplied in bfloat16 where the machine does that natively
(two and a half times as fast here), else in float32.

The vocabulary's 262,144 rows make the output layer dearer than the rest of the model, so the loss is computed at
the reply's positions only: the hidden states of the prompt never meet it.
"""

from __future__ import annotations

import logging
import math
import os
import random
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from railscribe.errors import UsageError
from railscribe.policy import Policy
from railscribe.training.examples import Pack, batches, encoded, together
from railscribe.training.rows import Row
from railscribe.training.topics import Topic, compose
from railscribe.values import Label

logger = logging.getLogger(__name__)

_CHECKPOINT = "checkpoint.pt"
_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a run is; part of the adapter's card."""

    epochs: int = 2
    """Rows marked ``once`` are spread over them; all others are shown in each."""
    steps: int = 640
    """At most; the last epoch is cut short there and the learning rate has come down by then."""
    first_layer: int = 0
    """Layers below keep the base's weights."""
    rank: int = 16
    alpha: int = 32
    learning_rate: float = 4e-4
    tokens_per_step: int = 2048
    """After padding."""
    topic_rounds: int = 3
    """How often each topic is forbidden in an epoch, each time by another policy."""
    seed: int = 20261122
    checkpoint_every: int = 50  # steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands."""

    step: int
    steps: int
    loss: float
    """Mean over the last steps, nats a reply token."""
    seconds_left: float


def train(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Row],
    *,
    policies: Mapping[str, Policy],
    out: Path,
    recipe: Recipe,
    topics: Sequence[Topic] = (),
    start: Path | None = None,
) -> Iterator[Progress]:
    """Train an adapter for *model* on *rows*, yielding progress; the adapter is in *out* when it ends.

    *topics* are composed into policies, new ones in each epoch.
    *start* is an adapter of the same shape to begin with, instead of nothing.
    A run that was cut off goes on from its last checkpoint in *out*, with the same batches as if it had not been.

    Raises:
        UsageError: there is nothing to train on.
    """
    torch.manual_seed(recipe.seed)
    adapted = _adapted(model, recipe)
    if start is not None:
        set_peft_model_state_dict(adapted, load_file(start / "adapter_model.safetensors"))
    plan = list(_plan(rows, topics, policies, tokenizer, recipe))[: recipe.steps]
    if not plan:
        raise UsageError(
            "There is nothing to train on: no row that is short enough, no topic, no epoch or no step.",
            hint="Rows and topics that are held out count as none.",
        )
    weights = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.01)
    scheduler = LambdaLR(optimizer, lambda step: _rate(step, len(plan)))
    done = _resume(out, adapted, optimizer, scheduler)
    adapted.train()
    losses: list[float] = []
    started, first = time.monotonic(), done
    for step, batch in enumerate(plan[done:], start=done + 1):
        loss = _loss(adapted, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        losses = [*losses[-49:], loss.item()]
        if step % recipe.checkpoint_every == 0:
            _save(out, adapted, optimizer, scheduler, step)
        rate = (time.monotonic() - started) / (step - first)
        yield Progress(
            step=step, steps=len(plan), loss=sum(losses) / len(losses), seconds_left=rate * (len(plan) - step)
        )
    _finish(out, adapted)


def _adapted(model: Any, recipe: Recipe) -> Any:
    """Return *model*, its weights frozen, with an adapter that changes nothing yet."""
    for parameter in model.parameters():
        parameter.requires_grad_(requires_grad=False)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=_TARGETS,
        layers_to_transform=list(range(recipe.first_layer, model.config.num_hidden_layers)),
    )
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5 for it by its old name; nothing a user could mend.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, config)


def _plan(
    rows: Sequence[Row],
    topics: Sequence[Topic],
    policies: Mapping[str, Policy],
    tokenizer: Any,
    recipe: Recipe,
) -> Iterator[list[Pack]]:
    harmful = [row for row in rows if _is_plain_harm(row)]
    for epoch in range(recipe.epochs):
        rng = random.Random(f"{recipe.seed}/{epoch}")  # noqa: S311 - repeatable on purpose
        shown = [row for index, row in enumerate(rows) if not row.once or index % recipe.epochs == epoch]
        packs = list(encoded(shown, policies=policies, tokenizer=tokenizer, rng=rng))
        for composed in compose(topics, harmful, rounds=recipe.topic_rounds, rng=rng):
            packs += together(composed.rows, composed.policy, tokenizer, rng)
        yield from batches(packs, tokens=recipe.tokens_per_step, rng=rng)


def _is_plain_harm(row: Row) -> bool:
    """Whether *row* may stand among the texts under any policy that keeps the built-in categories."""
    short = len(row.prompt) < 200 and row.response is None
    return short and row.policy is None and row.prompt_label is Label.UNSAFE and bool(row.categories)


def _rate(step: int, steps: int) -> float:
    warm = max(1, min(40, steps // 20))
    if step < warm:
        return (step + 1) / warm
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _loss(adapted: Any, batch: Sequence[Pack]) -> torch.Tensor:
    """Weighted cross-entropy of the replies of *batch*, in nats an example.

    A label counts whole, and the rest of the reply together as much as one label: in a plain mean the label
    would weigh less the longer the reply, and unsafe replies are the long ones.
    """
    causal = adapted.get_base_model()
    device = next(adapted.parameters()).device
    inputs, targets = _laid_out(batch, causal.config.sliding_window)
    rows, columns, tokens = (torch.tensor(axis, device=device) for axis in zip(*targets.at, strict=True))
    with torch.autocast(device.type, torch.bfloat16, enabled=_multiplies_bfloat16(device)):
        hidden = causal.model(
            **{name: _to(value, device) for name, value in inputs.items()}
        ).last_hidden_state
        logits = causal.lm_head(hidden[rows, columns])
    each = functional.cross_entropy(logits.float(), tokens, reduction="none")
    examples = sum(len(pack.examples) for pack in batch)
    return (each * torch.tensor(targets.weights, device=device)).sum() / examples


class _Targets(NamedTuple):
    """What is to be learnt."""

    at: list[tuple[int, int, int]]
    """Row, column and the token that should follow there."""
    weights: list[float]


def _laid_out(batch: Sequence[Pack], window: int) -> tuple[dict[str, Any], _Targets]:
    """Return the model's inputs for *batch*, a row a pack, and where its replies are to be learnt.

    An example continues its pack's shared beginning, at the positions it would have alone, and sees no neighbour.
    """
    width = max(pack.width for pack in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    positions = torch.zeros_like(ids)
    owner = torch.full_like(ids, -1)  # padding
    targets = _Targets([], [])
    for row, pack in enumerate(batch):
        at = pack.shared
        ids[row, :at] = torch.tensor(pack.examples[0].ids[:at], dtype=torch.long)
        positions[row, :at] = torch.arange(at)
        owner[row, :at] = 0
        for number, example in enumerate(pack.examples, start=1):
            own, before = len(example.ids) - pack.shared, at - pack.shared
            ids[row, at : at + own] = torch.tensor(example.ids[pack.shared :])
            positions[row, at : at + own] = torch.arange(pack.shared, len(example.ids))
            owner[row, at : at + own] = number
            weight = 1 / max(1, len(example.others_at))
            for position in (*example.labels_at, *example.others_at):
                targets.at.append((row, before + position - 1, example.ids[position]))
                targets.weights.append(1.0 if position in example.labels_at else weight)
            at += own
    sees = (owner[:, :, None] == owner[:, None, :]) | (owner[:, None, :] == 0)
    sees &= positions[:, :, None] >= positions[:, None, :]
    near = positions[:, :, None] - positions[:, None, :] < window
    masks = {"full_attention": sees[:, None], "sliding_attention": (sees & near)[:, None]}
    return {"input_ids": ids, "position_ids": positions, "attention_mask": masks}, targets


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: part.to(device) for name, part in value.items()}
    return value.to(device)


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    native = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in native)


def _adapter_state(adapted: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in adapted.state_dict().items() if "lora_" in name}


def _save(out: Path, adapted: Any, optimizer: Any, scheduler: Any, step: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    state = {
        "step": step,
        "adapter": _adapter_state(adapted),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
    }
    torch.save(state, out / f"{_CHECKPOINT}.new")
    os.replace(out / f"{_CHECKPOINT}.new", out / _CHECKPOINT)  # noqa: PTH105 - atomic on every platform


def _resume(out: Path, adapted: Any, optimizer: Any, scheduler: Any) -> int:
    if not (out / _CHECKPOINT).exists():
        return 0
    state = torch.load(out / _CHECKPOINT, weights_only=True)
    adapted.load_state_dict(state["adapter"], strict=False)
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    logger.info("resumed at step %d", state["step"])
    return int(state["step"])


def _finish(out: Path, adapted: Any) -> None:
    """Write the adapter in bfloat16: half the size, and the weights that are measured are those that ship."""
    for module in adapted.modules():
        if isinstance(module, LoraLayer):
            for matrices in (module.lora_A, module.lora_B):
                matrices.to(torch.bfloat16)
    # Where the base lay on this machine is nobody's business; its digest is pinned where it is loaded.
    adapted.peft_config["default"].base_model_name_or_path = "google/gemma-3-270m"
    adapted.save_pretrained(str(out), save_embedding_layers=False)  # else peft asks the hub for a config
    (out / "README.md").unlink(missing_ok=True)  # peft's empty card; ours is written by hand
    (out / _CHECKPOINT).unlink(missing_ok=True)
