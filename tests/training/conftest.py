"""A tiny Gemma 3 to train, and topics to compose policies from."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engines.conftest import TEMPLATE, gemma_tokenizer

from railscribe.training.topics import Topic

_THINGS = ("rain", "tea", "chess", "trams", "poems", "boats", "bees", "salt")


@pytest.fixture
def tokenizer() -> Any:
    """One that knows the reply's words whole, as Gemma's does."""
    made = gemma_tokenizer("User Safety: safe unsafe\nResponse Safety: safe?")
    made.chat_template = TEMPLATE
    return made


@pytest.fixture
def model(tokenizer: Any) -> Any:
    """Untaught, with a sliding window shorter than any policy."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    config: Any = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=24,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=4096,
    )
    made: Any = Gemma3ForCausalLM
    return made(config)


@pytest.fixture
def topics() -> list[Topic]:
    """Eight topics of one file, the last about form."""
    return [
        Topic(
            name=f"Talk of {thing}",
            kin=f"talk-of-{thing}",
            file="things",
            definition=f"anything said of {thing}",
            forbids=(f"Do not speak of {thing}", f"Messages about {thing}"),
            permits=(f"Questions about {thing} are welcome",),
            inside=tuple(f"{thing} inside {number}" for number in range(10)),
            near=tuple(f"{thing} near {number}" for number in range(6)),
            answers=((f"{thing} asked", f"{thing} answered"),),
            form=thing == _THINGS[-1],
        )
        for thing in _THINGS
    ]
