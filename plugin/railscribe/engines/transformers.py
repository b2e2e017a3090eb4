"""The safety model in this process, through Hugging Face transformers; an adapter on it through peft.

Rules

1. The prompt is the checkpoint's own chat template, given the contract's arguments; it is never typed again
   here. A template that does not know an argument would ignore it without a word, so it is refused.
2. Loading and generating run on one thread of the engine's own, one request after the other.
3. A request nobody waits for any more stops at its next token.
4. A checkpoint without eyes refuses pictures (cause: modality); it never skips one.

A subclass may override ``_load``, ``_prepare`` and ``_tokenise``; all three run on the engine's thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, ClassVar, TypeVar

from PIL import Image as Pillow
from PIL import ImageOps
from typing_extensions import Self

from railscribe.engines.base import Engine
from railscribe.engines.checkpoint import Loaded, load_checkpoint, make_greedy
from railscribe.engines.sampling import label_positions, token_budget, unsafe_share
from railscribe.errors import (
    ContextLengthError,
    EngineRefusedError,
    EngineUnavailableError,
    MissingExtraError,
    ModalityError,
    SettingsError,
)
from railscribe.nemotron import chat_messages, template_kwargs
from railscribe.settings import Settings
from railscribe.values import Completion, EngineInfo, Image, ImageReading, ImageUse, Request, Side

__all__ = ["Loaded", "Prepared", "TransformersEngine", "as_seen", "load_checkpoint"]

T = TypeVar("T")

_OFF = (False, "/no_categories")
"""Values of the contract's arguments that a template need not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request as this engine can read it, and what became of its picture."""

    request: Request
    image: ImageReading | None = None
    neutralised: tuple[str, ...] = ()


class TransformersEngine(Engine):
    """Runs a checkpoint whose chat template takes the contract's arguments."""

    name: ClassVar[str] = "transformers"
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    def __init__(
        self,
        *,
        model: str,
        timeout_s: float,
        revision: str | None = None,
        adapter: str | None = None,
        dtype: str = "auto",
        device: str = "auto",
    ) -> None:
        super().__init__(timeout_s=timeout_s)
        self._model = model
        self._revision = revision
        self._adapter = adapter
        self._dtype = dtype
        self._device = device
        self._loaded: Loaded | None = None
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"railscribe-{self.name}")
        self._closed = threading.Event()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Build the engine that *settings* describe; nothing is loaded yet.

        Raises:
            SettingsError: no model is named.
            MissingExtraError: a package is not installed.
        """
        if not settings.model:
            raise SettingsError(
                "The transformers engine needs a model.",
                hint="Set --model or RAILSCRIBE_MODEL to a local folder or a hub name, such as "
                "nvidia/Nemotron-3.5-Content-Safety.",
            )
        cls._require(*cls.packages, *(("peft",) if settings.adapter else ()))
        return cls(
            model=settings.model,
            revision=settings.revision,
            adapter=settings.adapter,
            dtype=settings.dtype,
            device=settings.device,
            timeout_s=settings.timeout_s,
        )

    @classmethod
    def _require(cls, *packages: str) -> None:
        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            raise MissingExtraError(
                f"The {cls.name} engine needs {', '.join(missing)}.",
                hint=f"pip install 'railscribe[{cls.name}]'",
            )

    @property
    def info(self) -> EngineInfo:
        loaded = self._loaded
        return EngineInfo(
            name=self.name,
            model=self._model,
            revision=loaded.revision if loaded else self._revision,
            adapter_digest=loaded.adapter_digest if loaded else None,
            template_digest=hashlib.sha256(loaded.template.encode()).hexdigest() if loaded else None,
            backend="transformers",
            backend_version=version("transformers"),
            dtype=str(loaded.model.dtype).removeprefix("torch.") if loaded else None,
        )

    async def aclose(self) -> None:
        self._closed.set()
        self._worker.shutdown(wait=False, cancel_futures=True)
        self._loaded = None

    async def _start(self) -> None:
        await self._on_worker(self._weights)

    async def _complete(self, request: Request) -> Completion:
        abandoned = threading.Event()
        try:
            return await self._on_worker(lambda: self._run(request, abandoned))
        finally:
            abandoned.set()

    async def _on_worker(self, work: Callable[[], T]) -> T:
        if self._closed.is_set():
            raise EngineUnavailableError(f"The {self.name} engine is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    # From here on everything runs on the engine's thread.
    def _weights(self) -> Loaded:
        if self._loaded is None:
            loaded = self._load()
            make_greedy(loaded.model, loaded.tokenizer)
            self._loaded = loaded
        return self._loaded

    def _run(self, request: Request, abandoned: threading.Event) -> Completion:
        loaded = self._weights()
        prepared = self._prepare(request)
        inputs = self._tokenise(prepared.request)
        prompt_tokens = int(inputs["input_ids"].shape[1])
        budget = token_budget(request)
        limit = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and prompt_tokens + budget > limit:
            raise ContextLengthError(
                f"The prompt has {prompt_tokens} tokens, the reply up to {budget}; the model reads {limit}."
            )
        reply = _generate(loaded, inputs, budget, lambda: abandoned.is_set() or self._closed.is_set())
        return Completion(
            text=reply.text,
            finish_reason="stop" if reply.ended else "length",
            scores=reply.scores,
            image=prepared.image,
            neutralised=prepared.neutralised,
            prompt_tokens=prompt_tokens,
            completion_tokens=reply.tokens,
        )

    def _load(self) -> Loaded:
        """Return the checkpoint that the settings name, its adapter on it."""
        return load_checkpoint(
            self._model,
            revision=self._revision,
            adapter=self._adapter,
            dtype=self._dtype,
            device=self._device,
        )

    def _prepare(self, request: Request) -> Prepared:
        """Return *request* as the model can read it (rule 4)."""
        if request.image is None:
            return Prepared(request=request)
        if self._weights().processor is None:
            raise ModalityError("The checkpoint judges text only.")
        if request.image.data is None:
            raise ModalityError("The picture is given by an address, and this engine fetches none.")
        return Prepared(request=request, image=ImageReading(use=ImageUse.SEEN))

    def _tokenise(self, request: Request) -> Mapping[str, Any]:
        """Return the model's inputs for *request*: ``input_ids``, ``attention_mask``, pixels…"""
        loaded = self._weights()
        kwargs = template_kwargs(request)
        ignored = [
            name for name, value in kwargs.items() if value not in _OFF and name not in loaded.template
        ]
        if ignored:
            raise EngineRefusedError(f"The checkpoint's chat template does not take {', '.join(ignored)}.")
        prompt = (loaded.processor or loaded.tokenizer).apply_chat_template(
            chat_messages(request, images_as="part"),
            chat_template=loaded.template,
            add_generation_prompt=True,
            tokenize=False,
            **kwargs,
        )
        # The template wrote the special tokens too.
        how = {"return_tensors": "pt", "add_special_tokens": False}
        if request.image is None:
            return dict(loaded.tokenizer(prompt, **how))
        return dict(loaded.processor(text=prompt, images=[[as_seen(request.image)]], **how))


def as_seen(image: Image) -> Pillow.Image:
    """Return the pixels of *image* as a person sees them: upright, and on white paper where transparent."""
    with Pillow.open(io.BytesIO(image.data or b"")) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGBA")
    paper = Pillow.new("RGBA", upright.size, "white")
    paper.alpha_composite(upright)
    return paper.convert("RGB")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    text: str
    ended: bool
    """Whether the model itself ended it."""
    tokens: int
    scores: Mapping[Side, float]


def _generate(
    loaded: Loaded, inputs: Mapping[str, Any], budget: int, abandoned: Callable[[], bool]
) -> _Reply:
    """Return the model's greedy reply to *inputs*, cut short once *abandoned*."""
    import torch

    model, tokenizer = loaded.model, loaded.tokenizer
    labels = _label_tokens(tokenizer)
    logits_written: list[list[float]] = []  # of the labels only: whole rows fill gigabytes over a long trace

    def watch(_ids: Any, logits: Any) -> Any:
        logits_written.append(logits[0, list(labels.values())].tolist())
        return logits

    def enough(ids: Any, _scores: Any, **_: Any) -> Any:
        return torch.full((ids.shape[0],), abandoned(), device=ids.device, dtype=torch.bool)

    with torch.inference_mode():
        output = model.generate(
            **{name: _placed(value, model) for name, value in inputs.items()},
            max_new_tokens=budget,
            logits_processor=[watch],
            stopping_criteria=[enough],
        )
    ids = output[0, inputs["input_ids"].shape[1] :].tolist()
    ended = bool(ids) and ids[-1] in model.generation_config.eos_token_id
    written = ids[:-1] if ended else ids
    return _Reply(
        text=tokenizer.decode(written, clean_up_tokenization_spaces=False),
        ended=ended,
        tokens=len(ids),
        scores=_scores([tokenizer.decode([token]) for token in written], labels, logits_written),
    )


def _placed(value: Any, model: Any) -> Any:
    """Return the tensor *value* where *model* is, pixels in its precision."""
    return value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)


def _label_tokens(tokenizer: Any) -> dict[str, int]:
    """Return the tokens that can begin a label, by their text."""
    ids = [
        tokenizer.encode(word, add_special_tokens=False)[0] for word in (" safe", "safe", " unsafe", "unsafe")
    ]
    return {tokenizer.decode([token]): token for token in ids}


def _scores(
    tokens: Sequence[str], labels: Mapping[str, int], logits: Sequence[Sequence[float]]
) -> dict[Side, float]:
    """Return the score of each label among *tokens*; *logits* are those of *labels* at each of them."""
    scores = {}
    for side, position in label_positions(tokens).items():
        if tokens[position] not in labels:
            continue  # the model said something else here, so these odds mean nothing
        top = max(logits[position])
        likely = {label: math.exp(logit - top) for label, logit in zip(labels, logits[position], strict=True)}
        share = unsafe_share(likely)
        if share is not None:
            scores[side] = share
    return scores
