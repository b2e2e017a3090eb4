"""The model's whole reply, written token by token: the long way, which every other way must agree with.

Rules

1. Greedy, through the library's own ``generate``, up to the model's own end or the budget.
2. A reply that nobody waits for stops at its next token.
3. The score of each label is read at the token where it was written (``sampling.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from railscribe.engines.checkpoint import Loaded
from railscribe.engines.forward import Prefix
from railscribe.engines.sampling import label_positions, unsafe_share
from railscribe.errors import BadNumbersError
from railscribe.values import Label, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply written whole."""

    text: str
    ended: bool
    """Whether the model itself ended it."""
    tokens: int
    labels: Mapping[Side, Label]
    scores: Mapping[Side, float]


def write_reply(
    loaded: Loaded,
    inputs: Mapping[str, Any],
    *,
    prefix: Prefix | None,
    budget: int,
    abandoned: Callable[[], bool],
) -> Reply:
    """Return the model's greedy reply to *inputs*, of which *prefix* is known already.

    Raises:
        BadNumbersError: the model's logits are no numbers.
    """
    import torch

    model, tokenizer = loaded.model, loaded.tokenizer
    labels = label_tokens(tokenizer)
    logits_written: list[list[float]] = []  # of the labels only: whole rows fill gigabytes over a long trace

    def watch(_ids: Any, logits: Any) -> Any:
        logits_written.append(logits[0, list(labels.values())].tolist())
        if not all(map(math.isfinite, logits_written[-1])):
            raise BadNumbersError
        return logits

    def enough(ids: Any, _scores: Any, **_: Any) -> Any:
        return torch.full((ids.shape[0],), abandoned(), device=ids.device, dtype=torch.bool)

    known = {} if prefix is None else {"past_key_values": _remembered(prefix, model.config.get_text_config())}
    with torch.inference_mode():
        output = model.generate(
            **{name: _placed(value, model) for name, value in inputs.items()},
            **known,
            max_new_tokens=budget,
            logits_processor=[watch],
            stopping_criteria=[enough],
        )
    ids = output[0, inputs["input_ids"].shape[1] :].tolist()
    ended = bool(ids) and ids[-1] in model.generation_config.eos_token_id
    written = ids[:-1] if ended else ids
    found = _labels([tokenizer.decode([token]) for token in written], labels, logits_written)
    return Reply(
        text=tokenizer.decode(written, clean_up_tokenization_spaces=False),
        ended=ended,
        tokens=len(ids),
        labels={side: label for side, (label, _) in found.items()},
        scores={side: score for side, (_, score) in found.items()},
    )


def _remembered(prefix: Prefix, config: Any) -> Any:
    """Return *prefix* as the cache that ``generate`` would have come to by itself."""
    from transformers import DynamicCache

    cache: Any = DynamicCache(config=config)
    for layer, (keys, values) in zip(cache.layers, prefix.layers, strict=True):
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        if layer.is_sliding:
            layer.cumulative_length = len(prefix.ids)
    return cache


def _placed(value: Any, model: Any) -> Any:
    """Return the tensor *value* where *model* is, pixels in its precision."""
    return value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)


def label_tokens(tokenizer: Any) -> dict[str, int]:
    """Return the tokens that can begin a label, by their text."""
    ids = [
        tokenizer.encode(word, add_special_tokens=False)[0] for word in (" safe", "safe", " unsafe", "unsafe")
    ]
    return {tokenizer.decode([token]): token for token in ids}


def _labels(
    tokens: Sequence[str], labels: Mapping[str, int], logits: Sequence[Sequence[float]]
) -> dict[Side, tuple[Label, float]]:
    """Return each label among *tokens* with its score; *logits* are those of *labels* at each of them."""
    found = {}
    for side, position in label_positions(tokens).items():
        if tokens[position] not in labels:
            continue  # the model said something else here, so these odds mean nothing
        top = max(logits[position])
        likely = {label: math.exp(logit - top) for label, logit in zip(labels, logits[position], strict=True)}
        share = unsafe_share(likely)
        if share is not None:
            label = Label.UNSAFE if tokens[position].strip().startswith("un") else Label.SAFE
            found[side] = (label, share)
    return found
