"""The outside world of the engines, in miniature: tiny Gemma 3 checkpoints."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def seeing_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny multimodal Gemma 3 that answers ANSWER to everything."""
    return save_checkpoint(tmp_path_factory.mktemp("seeing"), seeing=True)


@pytest.fixture(scope="session")
def blind_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny text-only Gemma 3 that answers ANSWER to everything."""
    return save_checkpoint(tmp_path_factory.mktemp("blind"), seeing=False)


@pytest.fixture(scope="session")
def rambling_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny text-only Gemma 3 that never comes to an end once it is asked to think."""
    template = TEMPLATE + '{{ "?" if enable_thinking }}'
    return save_checkpoint(tmp_path_factory.mktemp("rambling"), seeing=False, template=template)


@pytest.fixture(scope="session")
def schooled_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny text-only Gemma 3 whose verdicts depend on what it reads."""
    from tests.engines.schooled import save_schooled

    return save_schooled(tmp_path_factory.mktemp("schooled"))


@pytest.fixture
def template() -> str:
    """The chat template of the checkpoints that answer."""
    return TEMPLATE


@pytest.fixture(scope="session")
def safe_adapter(tmp_path_factory: pytest.TempPathFactory, seeing_checkpoint: Path) -> Path:
    """An adapter for the seeing checkpoint under which it answers "safe"."""
    return save_adapter(tmp_path_factory.mktemp("adapter"), seeing_checkpoint)


# In the contract's shape: one user turn that holds it all, the arguments, Gemma's turns.
TEMPLATE = """{{ bos_token }}<start_of_turn>user
{% if custom_policy %}{{ custom_policy }}{% elif custom_taxonomy %}Taxonomy: {{ custom_taxonomy }}{% endif %}

<BEGIN CONVERSATION>
{% for message in messages -%}
{{ "user: " if message.role == "user" else "response: agent:  ### Answer: " }}
{%- for part in message.content -%}
{{ "<start_of_image>" if part.type == "image" else part.text | trim }}
{%- endfor %}

{% endfor -%}
<END CONVERSATION>
{{ request_categories }} {{ "/think" if enable_thinking else "/no_think" }}
Output:<end_of_turn>
<start_of_turn>model
{{ "" }}"""

ANSWER = "User Safety: unsafe"
SCORE = 0.75

_SPECIAL = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
_TURNS = ("<start_of_turn>", "<end_of_turn>")
_PICTURE = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
_WIDTH = 32
_CHAIN = ("\n", "User", " Safety", ":", " unsafe", "<end_of_turn>")


def gemma_tokenizer(corpus: str) -> Any:
    """Return a tokenizer with Gemma's special tokens and the words of *corpus*."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer: Any = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+|\W"), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    every_byte = [f"<0x{byte:02X}>" for byte in range(256)]
    special = [*_SPECIAL.values(), *_TURNS, *_PICTURE.values(), *every_byte]
    trainer = trainers.BpeTrainer(special_tokens=special, min_frequency=1, show_progress=False)
    tokenizer.train_from_iterator([corpus], trainer)
    make: Any = PreTrainedTokenizerFast
    return make(tokenizer_object=tokenizer, extra_special_tokens=_PICTURE, **_SPECIAL)


def save_checkpoint(folder: Path, *, seeing: bool, template: str = TEMPLATE) -> Path:
    """Save a tiny Gemma 3, with or without eyes, as its makers would."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3ForConditionalGeneration, Gemma3Processor

    torch.manual_seed(0)
    tokenizer = gemma_tokenizer(f"{ANSWER}\nResponse Safety: safe?")
    config = _config(tokenizer, seeing=seeing)
    model: Any = Gemma3ForConditionalGeneration(config) if seeing else Gemma3ForCausalLM(config)
    _teach(model, tokenizer)
    model.save_pretrained(folder)
    if seeing:
        make: Any = Gemma3Processor
        make(_pictures(), tokenizer, chat_template=template, image_seq_length=4).save_pretrained(folder)
    else:
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
    return folder


def save_adapter(folder: Path, checkpoint: Path) -> Path:
    """Save an adapter that makes "safe" likelier than "unsafe", with peft."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model: Any = Gemma3ForConditionalGeneration.from_pretrained(checkpoint)
    recipe = LoraConfig(r=1, lora_alpha=1, target_modules=["o_proj", "lm_head"])
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5 for it by its old name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        adapted: Any = get_peft_model(model, recipe)
    head = adapted.get_base_model().lm_head
    with torch.no_grad():
        head.lora_A["default"].weight.copy_(torch.eye(_WIDTH)[None, _CHAIN.index(":")])
        head.lora_B["default"].weight[tokenizer.encode(" safe", add_special_tokens=False)[0]] = 5.0
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def _config(tokenizer: Any, *, seeing: bool) -> Any:
    from transformers import Gemma3Config, Gemma3TextConfig, SiglipVisionConfig

    text: Any = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=_WIDTH,
        intermediate_size=_WIDTH,
        num_hidden_layers=2,
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    if not seeing:
        return text
    size: Any = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return Gemma3Config(
        text_config=text,
        vision_config=SiglipVisionConfig(**size, image_size=16, patch_size=8),
        mm_tokens_per_image=4,
        image_token_index=tokenizer.image_token_id,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        tie_word_embeddings=False,
    )


def _pictures() -> Any:
    from transformers import Gemma3ImageProcessorPil

    make: Any = Gemma3ImageProcessorPil
    return make(size={"height": 16, "width": 16})


def _teach(model: Any, tokenizer: Any) -> None:
    """Set *model*'s weights so that each token of _CHAIN is followed by the next, and "?" by itself.

    Attention and feed-forward say nothing, so the output layer sees the last token alone; of "unsafe" and
    "safe" it takes the first with probability SCORE.
    """
    import torch

    def token(text: str) -> int:
        return int(tokenizer.encode(text, add_special_tokens=False)[0])

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")) and "vision" not in name:
                weight.zero_()
        embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        embedding.zero_()
        head.zero_()
        steps = [*pairwise(_CHAIN), (" safe", _CHAIN[-1]), ("?", "?")]
        for place, (before, after) in enumerate(steps):
            embedding[token(before), place] = 1.0
            head[token(after), place] = 5.0
        odds = math.log(SCORE / (1 - SCORE))
        head[token(" safe"), _CHAIN.index(":")] = 5.0 - odds / math.sqrt(_WIDTH)
