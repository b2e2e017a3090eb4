"""A checkpoint on its way into memory: the model, what turns text and pictures into its inputs, its adapter.

Rules

1. Only safetensors are loaded, never pickles, and no code that comes with a checkpoint.
2. What is loaded is whole. transformers and peft fill weights that a file lacks with random ones and only
   log it; here that is a failure.
3. Decoding is greedy, whatever the checkpoint's own generation defaults are.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from railscribe.errors import EngineUnavailableError

_WEIGHTS = "adapter_model.safetensors"
DEFAULT_ADAPTER = "default"
"""The name of the adapter that is on unless a request asks for another; peft's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A checkpoint in memory."""

    model: Any
    tokenizer: Any
    processor: Any = None
    """Takes the pictures; ``None`` for a checkpoint without eyes."""
    template: str
    """The chat template, Jinja."""
    revision: str | None = None
    adapter_digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each adapter's weights, by its name."""


def load_checkpoint(
    model: str,
    *,
    revision: str | None,
    adapters: Mapping[str, str],
    dtype: str,
    device: str,
    template: str | None = None,
    quantize: str | None = None,
) -> Loaded:
    """Return the checkpoint at *model*, a folder or a hub name, with *adapters*, folders by name, on it.

    *template* takes the place of the checkpoint's own chat template; *quantize* is ``8bit`` or ``4bit`` for
    weights so small, through bitsandbytes.

    Raises:
        EngineUnavailableError: it is not there or cannot be used; the message says what to do.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig

    try:
        with quiet_unless_watched():
            config = AutoConfig.from_pretrained(model, revision=revision)
            network, tokenizer, processor = _from_pretrained(model, config, revision, dtype, quantize)
    except ImportError as error:
        raise EngineUnavailableError(
            f"The checkpoint {model!r} needs a package that is not installed ({error.name}).",
            hint="pip install 'railscribe[transformers]'",
        ) from error
    except (OSError, RuntimeError, SafetensorError, ValueError) as error:
        raise EngineUnavailableError(
            f"The checkpoint {model!r} cannot be loaded ({type(error).__name__}).",
            hint="Name a folder with config.json and safetensors, or a hub name that can be fetched.",
        ) from error
    template = template or (processor or tokenizer).chat_template
    if not isinstance(template, str):
        raise EngineUnavailableError(f"The checkpoint {model!r} has no chat template.")
    digests = {}
    for name, folder in adapters.items():
        network, digests[name] = with_adapter(network, Path(folder), name)
    if quantize is None:  # bitsandbytes has put its weights in place already
        network = network.to(_device(device))
    return Loaded(
        model=network.eval(),
        tokenizer=tokenizer,
        processor=processor,
        template=template,
        revision=getattr(config, "_commit_hash", None) or revision,
        adapter_digests=digests,
    )


def with_adapter(model: Any, folder: Path, name: str = DEFAULT_ADAPTER) -> tuple[Any, str]:
    """Return *model* with the peft adapter in *folder* on it as *name*, and the SHA-256 of the adapter's weights.

    Raises:
        EngineUnavailableError: there is none, or it is another model's.
    """
    weights = folder / _WEIGHTS
    if not weights.is_file():
        raise EngineUnavailableError(
            f"There is no adapter in {folder}.", hint=f"Name a folder with {_WEIGHTS}."
        )
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="pt") as file:
            stored = set(file.keys())
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5 for it by its old name; nothing a user could mend.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)  # refused below
            if isinstance(model, PeftModel):
                model.load_adapter(str(folder), adapter_name=name)
                adapted = model
            else:
                adapted = PeftModel.from_pretrained(model, str(folder), adapter_name=name)
    except (OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise EngineUnavailableError(
            f"The adapter in {folder} cannot be put on the model ({type(error).__name__})."
        ) from error
    needed = set(get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=False))
    if any(name in needed or "lora_" in name for name in needed ^ stored):  # rule 2
        raise EngineUnavailableError(f"The adapter in {folder} was made for another model.")
    return adapted, hashlib.sha256(weights.read_bytes()).hexdigest()


def make_greedy(model: Any, tokenizer: Any) -> None:
    """Let *model* decode greedily (rule 3) up to the checkpoint's end tokens or Gemma's end of a turn."""
    import transformers

    own = model.generation_config.eos_token_id
    ends = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id}
    turn = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    if turn != tokenizer.unk_token_id:
        ends.add(turn)
    stops = sorted(end for end in ends if end is not None)
    make: Any = transformers.GenerationConfig
    greedy = make(do_sample=False, eos_token_id=stops, pad_token_id=stops[0])
    # An adapted model is two, and it goes by peft's task type which of them is heeded.
    for layer in (model, getattr(model, "get_base_model", lambda: model)()):
        layer.generation_config = greedy


@contextmanager
def quiet_unless_watched() -> Iterator[None]:
    """Keep transformers' progress bars to a terminal."""
    from transformers.utils import logging as progress

    logging: Any = progress  # untyped
    hide = logging.is_progress_bar_enabled() and not sys.stderr.isatty()
    if hide:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if hide:
            logging.enable_progress_bar()


def _from_pretrained(
    model: str, config: Any, revision: str | None, dtype: str, quantize: str | None
) -> tuple[Any, Any, Any]:
    """Return network, tokenizer and, where the checkpoint has eyes, processor (rules 1 and 2)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

    has_eyes = getattr(config, "vision_config", None) is not None
    kind: Any = AutoModelForImageTextToText if has_eyes else AutoModelForCausalLM
    network, loading = kind.from_pretrained(
        model,
        config=config,
        revision=revision,
        dtype=dtype if dtype == "auto" else getattr(torch, dtype),
        use_safetensors=True,
        output_loading_info=True,
        **_quantized(quantize, dtype),
    )
    if loading["missing_keys"] or loading["mismatched_keys"]:
        raise ValueError("the checkpoint lacks weights")
    if not has_eyes:
        return network, AutoTokenizer.from_pretrained(model, revision=revision), None
    any_processor: Any = AutoProcessor
    processor = any_processor.from_pretrained(model, revision=revision)
    return network, processor.tokenizer, processor


def _quantized(quantize: str | None, dtype: str) -> dict[str, Any]:
    import torch
    from transformers import BitsAndBytesConfig

    if quantize is None:
        return {}
    make: Any = BitsAndBytesConfig
    if quantize == "8bit":
        return {"quantization_config": make(load_in_8bit=True)}
    compute = torch.bfloat16 if dtype == "auto" else getattr(torch, dtype)
    return {
        "quantization_config": make(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute
        )
    }


def _device(name: str) -> str:
    import torch

    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
