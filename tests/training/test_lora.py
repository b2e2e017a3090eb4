"""Training on a tiny Gemma 3."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from railscribe.errors import UsageError
from railscribe.policy import load_policy
from railscribe.training import lora
from railscribe.training.examples import Pack, encoded, together
from railscribe.training.lora import Recipe, train
from railscribe.training.rows import Row, row_of
from railscribe.training.topics import Topic, compose

ROWS = [
    row_of(
        {
            "prompt": f"text {number}",
            "prompt_label": ("safe", "unsafe")[number % 2],
            "categories": ["Threat"],
        },
        source="x",
    )
    for number in range(12)
]


def test_packed_examples_are_learnt_as_if_each_stood_alone(
    model: Any, tokenizer: Any, topics: list[Topic], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What shares a policy in one row of the batch sees the policy and itself, at its own places, and no neighbour."""
    monkeypatch.setattr(lora, "_multiplies_bfloat16", lambda device: False)
    adapted = lora._adapted(model, Recipe())
    rng = random.Random(1)
    composed = next(compose(topics, (), rounds=1, rng=rng))
    packs = list(together(composed.rows, composed.policy, tokenizer, rng))
    alone = [Pack([example], 0) for pack in packs for example in pack.examples]

    # In bytes these prompts are long; what matters is that the policy is shared at all.
    assert all(pack.shared > 100 for pack in packs)
    assert sum(pack.width for pack in packs) < sum(pack.width for pack in alone) / 1.5
    for together_, apart in ((packs, alone), (packs[:1], [Pack([e], 0) for e in packs[0].examples])):
        assert lora._loss(adapted, together_).item() == pytest.approx(
            lora._loss(adapted, apart).item(), abs=1e-5
        )


def test_rows_without_a_policy_stand_alone(tokenizer: Any) -> None:
    """They share a few words of the template and nothing worth a mask."""
    packs = list(
        encoded(ROWS, policies={"default": load_policy("default")}, tokenizer=tokenizer, rng=random.Random(1))
    )

    assert len(packs) == len(ROWS)
    assert all(pack.shared == 0 and pack.width == len(pack.examples[0].ids) for pack in packs)


def test_a_run_that_was_cut_off_ends_with_the_same_weights(
    tokenizer: Any, model: Any, topics: list[Topic], tmp_path: Path
) -> None:
    """Training goes on from its checkpoint with the batches it would have seen, topics included."""
    start = {name: value.clone() for name, value in model.state_dict().items()}
    recipe = Recipe(epochs=1, steps=6, tokens_per_step=1024, checkpoint_every=2, topic_rounds=1)

    def run(out: Path, *, stop_after: int | None = None) -> list[float]:
        fresh = type(model)(model.config)
        fresh.load_state_dict(start)
        losses = []
        for state in train(
            fresh,
            tokenizer,
            ROWS,
            policies={"default": load_policy("default")},
            topics=topics,
            out=out,
            recipe=recipe,
        ):
            losses.append(state.loss)
            if state.step == stop_after:
                break
        return losses

    whole = run(tmp_path / "whole")
    run(tmp_path / "cut", stop_after=4)
    rest = run(tmp_path / "cut")

    assert (len(whole), len(rest)) == (6, 2)
    weights = [load_file(tmp_path / run / "adapter_model.safetensors") for run in ("whole", "cut")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("rows", "recipe"), [([], Recipe()), (ROWS, Recipe(epochs=0)), (ROWS, Recipe(steps=0))]
)
def test_nothing_to_train_on_is_said(
    model: Any, tokenizer: Any, tmp_path: Path, rows: list[Row], recipe: Recipe
) -> None:
    """An adapter that learnt nothing must not look like one that did."""
    known = {"default": load_policy("default")}

    with pytest.raises(UsageError, match="nothing to train on"):
        list(train(model, tokenizer, rows, policies=known, out=tmp_path / "out", recipe=recipe))
    assert not (tmp_path / "out").exists()
