"""Forward passes over Gemma 3 that compute nothing twice: a shared prefix, many exchanges and their branches in one.

Rules

1. A prefix (the policy) is computed once and kept as keys and values; what comes after it sees it and never
   changes it.
2. What is judged together is packed into one sequence of *segments*. A segment continues its parent and sees its
   ancestors and itself alone, at the positions it would have had by itself; neighbours are invisible to it.
   So one pass answers several exchanges, and what a reply might say next on either label.
3. Sliding-window layers keep the end of a prefix that the window can still reach, and see by position, as the
   model does.
4. The tokens of one picture see one another, before and after, as Gemma 3 was trained.
5. Of the output layer only the rows asked for are multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from railscribe.engines.checkpoint import Loaded

_FAMILY = "gemma3_text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """The beginning that prompts share, as the model remembers it."""

    ids: tuple[int, ...]
    layers: tuple[tuple[Any, Any], ...]
    """Keys and values by layer, each [1, heads, tokens, width]; of a sliding layer the end only (rule 3)."""
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Tokens that continue *parent*, a number that an earlier segment was given; ``None`` is the prefix."""

    tokens: Sequence[int]
    parent: int | None = None
    pixels: Any = None
    """Of the one picture whose place is in *tokens*."""


class Network:
    """The parts of a Gemma 3 checkpoint, with or without eyes, under an adapter or not."""

    def __init__(self, loaded: Loaded) -> None:
        whole = loaded.model.get_base_model() if hasattr(loaded.model, "get_base_model") else loaded.model
        self._eyes = whole.model if hasattr(whole.model, "language_model") else None
        self.text = self._eyes.language_model if self._eyes is not None else whole.model
        self._head = whole.lm_head
        self.config = whole.config.get_text_config()
        self.image_token = getattr(whole.config, "image_token_id", None)

    @staticmethod
    def fits(loaded: Loaded) -> bool:
        """Whether the checkpoint is of the family whose attention is known here."""
        return bool(loaded.model.config.get_text_config().model_type == _FAMILY)

    @property
    def device(self) -> Any:
        return self.text.embed_tokens.weight.device

    def prefix(self, ids: Sequence[int]) -> Prefix:
        """Return *ids* as the model remembers them (rule 1)."""
        import torch
        from transformers import DynamicCache

        cache = DynamicCache()
        tokens = torch.tensor([ids], device=self.device)
        with torch.inference_mode():
            self.text(input_ids=tokens, past_key_values=cache, use_cache=True)
        reach = self.config.sliding_window - 1
        layers = tuple(
            (layer.keys[:, :, -reach:].clone(), layer.values[:, :, -reach:].clone())
            if kind == "sliding_attention"
            else (layer.keys, layer.values)
            for layer, kind in zip(cache.layers, self.config.layer_types, strict=True)
        )
        size = sum(part.numel() * part.element_size() for pair in layers for part in pair)
        return Prefix(ids=tuple(ids), layers=layers, bytes=size)

    def embedded(self, segments: Sequence[Segment]) -> Any:
        """Return the embeddings of *segments* in a row, [1, tokens, width], pictures in their places."""
        import torch

        ids = torch.tensor([[token for part in segments for token in part.tokens]], device=self.device)
        pixels = [segment.pixels for segment in segments if segment.pixels is not None]
        if not pixels or self._eyes is None:
            return self.text.embed_tokens(ids)
        at = ids == self.image_token
        embeddings = self.text.embed_tokens(ids.masked_fill(at, 0))
        seen = self._eyes.get_image_features(
            torch.cat(pixels).to(self.device, embeddings.dtype), return_dict=True
        ).pooler_output.to(embeddings.dtype)
        return embeddings.masked_scatter(at[..., None], seen)

    def logits(self, hidden: Any, rows: Sequence[int] | None) -> Any:
        """Return the logits of *hidden*, [..., width], for the vocabulary's *rows*, in float32 (rule 5)."""
        import torch

        with torch.inference_mode():
            if (
                rows is None or type(self._head).__name__ != "Linear"
            ):  # an adapter may lie on the output layer too
                everything = self._head(hidden)
                logits = everything if rows is None else everything[..., list(rows)]
            else:
                logits = hidden @ self._head.weight[list(rows)].T
            cap = getattr(self.config, "final_logit_softcapping", None)
            logits = logits.float()
            return logits if cap is None else (logits / cap).tanh() * cap


@dataclass(slots=True)
class Packed:
    """Segments behind one prefix, in as many passes as they need."""

    network: Network
    prefix: Prefix
    _cache: Any = None
    _ancestors: list[frozenset[int]] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)
    """Where each segment's continuation would stand."""
    _owner: list[int] = field(default_factory=list)
    """By token: its segment, its place in the row, its position, whether it belongs to a picture."""
    _position: list[int] = field(default_factory=list)
    _picture: list[bool] = field(default_factory=list)

    def run(self, segments: Sequence[Segment]) -> list[Any]:
        """Return the hidden states of *segments*, each [tokens, width]; they are numbered on from those before."""
        import torch

        past = len(self._owner)
        for segment in segments:
            self._enter(segment)
        with torch.inference_mode():
            hidden = self.network.text(
                inputs_embeds=self.network.embedded(segments),
                position_ids=torch.tensor([self._position[past:]], device=self.network.device),
                attention_mask=self._masks(past),
                past_key_values=self._remembered(),
                use_cache=True,
            ).last_hidden_state[0]
        return list(hidden.split([len(segment.tokens) for segment in segments]))

    def _enter(self, segment: Segment) -> None:
        number, parent = len(self._ends), segment.parent
        begin = len(self.prefix.ids) if parent is None else self._ends[parent]
        self._ancestors.append(frozenset({number} if parent is None else {number, *self._ancestors[parent]}))
        self._ends.append(begin + len(segment.tokens))
        self._owner += [number] * len(segment.tokens)
        self._position += range(begin, begin + len(segment.tokens))
        picture = self.network.image_token if segment.pixels is not None else None
        self._picture += [token == picture for token in segment.tokens]

    def _remembered(self) -> Any:
        from transformers import DynamicCache

        if self._cache is None:
            self._cache = DynamicCache()
            for number, (keys, values) in enumerate(self.prefix.layers):
                self._cache.update(keys, values, number)
        return self._cache

    def _masks(self, past: int) -> dict[str, Any]:
        """Return, by kind of layer, what the tokens from *past* on may see: [1, 1, new, prefix + all]."""
        import torch

        device = self.network.device
        lineage = torch.zeros(len(self._ends), len(self._ends), dtype=torch.bool)
        for number, ancestors in enumerate(self._ancestors):
            lineage[number, list(ancestors)] = True
        owner, position = torch.tensor(self._owner), torch.tensor(self._position)
        picture = torch.tensor(self._picture)
        sees = lineage[owner[past:, None], owner] & (position[past:, None] >= position)
        sees |= (owner[past:, None] == owner) & picture[past:, None] & picture  # rule 4
        window, length = self.network.config.sliding_window, len(self.prefix.ids)
        kept = min(length, window - 1)
        before = torch.arange(length - kept, length)
        near = position[past:, None] - torch.cat([before, position]) < window
        new = sees.shape[0]
        masks = {
            "full_attention": torch.cat([torch.ones(new, length, dtype=torch.bool), sees], dim=1),
            "sliding_attention": torch.cat([torch.ones(new, kept, dtype=torch.bool), sees], dim=1) & near,
        }
        return {kind: mask[None, None].to(device) for kind, mask in masks.items()}
